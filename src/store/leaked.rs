//! Notices of tokens that were found in public, by the digest of each.

use crate::model::leak::LeakNotice;
use sqlx::FromRow;

use super::database::{ReadTx, Store, WriteTx};
use super::error::StoreError;
use super::rows::{moment, seconds};
use crate::domain::ids::{MemberId, WorkspaceId};
use crate::domain::time::UnixSeconds;
use crate::model::page::Page;

/// The most rows that one purge deletes, so that it does not block writers for long.
const PURGE_ROWS: i64 = 1_000;

/// An API token that was found in public.
#[derive(Debug)]
pub struct LeakedApiToken {
    pub id: String,
    pub name: String,
    pub member: MemberId,
    pub workspace: WorkspaceId,
}

/// Selects the columns of a [`Row`].
macro_rules! select_leaks {
    ($rest:literal) => {
        concat!(
            "SELECT id, workspace, kind, token_hash, token_id, owner, url, source, reporter, reported_at FROM leaked_tokens ",
            $rest
        )
    };
}

#[derive(FromRow)]
struct Row {
    id: String,
    workspace: String,
    kind: String,
    token_hash: String,
    token_id: String,
    owner: String,
    url: String,
    source: String,
    reporter: String,
    reported_at: i64,
}

impl TryFrom<Row> for LeakNotice {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            workspace: WorkspaceId::parse(&row.workspace)
                .map_err(|_| StoreError::Corrupted("leaked_tokens"))?,
            kind: row.kind,
            token_hash: row.token_hash,
            token_id: row.token_id,
            owner: row.owner,
            url: row.url,
            source: row.source,
            reporter: row.reporter,
            reported_at: moment(row.reported_at, "leaked_tokens")?,
        })
    }
}

impl ReadTx {
    /// The notices of a workspace that nobody has dismissed.
    pub(crate) async fn leaks(
        &mut self,
        workspace: &WorkspaceId,
        page: Page<'_>,
    ) -> Result<Vec<LeakNotice>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(select_leaks!(
            "WHERE workspace = $1 AND dismissed_at IS NULL AND id > $2 ORDER BY id LIMIT $3"
        ))
        .bind(workspace.as_str())
        .bind(page.after)
        .bind(i64::from(page.limit))
        .fetch_all(self.connection())
        .await?;
        rows.into_iter().map(LeakNotice::try_from).collect()
    }

    /// One notice, dismissed or not.
    pub(crate) async fn leak(
        &mut self,
        workspace: &WorkspaceId,
        id: &str,
    ) -> Result<Option<LeakNotice>, StoreError> {
        let row: Option<Row> = sqlx::query_as(select_leaks!("WHERE workspace = $1 AND id = $2"))
            .bind(workspace.as_str())
            .bind(id)
            .fetch_optional(self.connection())
            .await?;
        row.map(LeakNotice::try_from).transpose()
    }

    /// Whether a token with this digest was reported before.
    pub(crate) async fn has_leak(&mut self, token_hash: &str) -> Result<bool, StoreError> {
        let found: Option<i64> = sqlx::query_scalar("SELECT 1 FROM leaked_tokens WHERE token_hash = $1")
            .bind(token_hash)
            .fetch_optional(self.connection())
            .await?;
        Ok(found.is_some())
    }

    /// The API token with this hash, expired or not.
    pub(crate) async fn leaked_api_token(
        &mut self,
        hash: &str,
    ) -> Result<Option<LeakedApiToken>, StoreError> {
        let row: Option<(String, String, String, String)> = sqlx::query_as(
            "SELECT t.id, t.name, m.id, m.workspace FROM api_tokens t JOIN members m ON m.id = t.member \
             WHERE t.hash = $1",
        )
        .bind(hash)
        .fetch_optional(self.connection())
        .await?;
        row.map(|(id, name, member, workspace)| {
            let damaged = |_| StoreError::Corrupted("api_tokens");
            Ok(LeakedApiToken {
                id,
                name,
                member: MemberId::parse(&member).map_err(damaged)?,
                workspace: WorkspaceId::parse(&workspace).map_err(damaged)?,
            })
        })
        .transpose()
    }
}

impl Store {
    /// Deletes notices that were dismissed before `dismissed_before`, up to a bound. Returns whether there may be
    /// more.
    pub(crate) async fn purge_leaks(&self, dismissed_before: UnixSeconds) -> Result<bool, StoreError> {
        let _turn = self.ledger_turn().await;
        let removed = sqlx::query(
            "DELETE FROM leaked_tokens WHERE id IN \
             (SELECT id FROM leaked_tokens WHERE dismissed_at < $1 LIMIT $2)",
        )
        .bind(seconds(dismissed_before))
        .bind(PURGE_ROWS)
        .execute(&self.ledger)
        .await?;
        Ok(removed.rows_affected() >= PURGE_ROWS.unsigned_abs())
    }
}

impl WriteTx {
    /// Stores a notice. Returns whether the token had not been reported before.
    pub(crate) async fn insert_leak(&mut self, notice: &LeakNotice) -> Result<bool, StoreError> {
        let inserted = sqlx::query(
            "INSERT INTO leaked_tokens (id, workspace, kind, token_hash, token_id, owner, url, source, reporter, \
             reported_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (token_hash) DO NOTHING",
        )
        .bind(notice.id.as_str())
        .bind(notice.workspace.as_str())
        .bind(notice.kind.as_str())
        .bind(notice.token_hash.as_str())
        .bind(notice.token_id.as_str())
        .bind(notice.owner.as_str())
        .bind(notice.url.as_str())
        .bind(notice.source.as_str())
        .bind(notice.reporter.as_str())
        .bind(seconds(notice.reported_at))
        .execute(self.connection())
        .await?;
        Ok(inserted.rows_affected() == 1)
    }

    /// Dismisses a notice. The row is kept as long as the trail, so that a repeated report changes nothing.
    pub(crate) async fn dismiss_leak(&mut self, id: &str, at: UnixSeconds) -> Result<bool, StoreError> {
        let hidden =
            sqlx::query("UPDATE leaked_tokens SET dismissed_at = $2 WHERE id = $1 AND dismissed_at IS NULL")
                .bind(id)
                .bind(seconds(at))
                .execute(self.connection())
                .await?;
        Ok(hidden.rows_affected() == 1)
    }

    pub(crate) async fn delete_leaked_api_token(&mut self, id: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM api_tokens WHERE id = $1")
            .bind(id)
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
