//! API tokens of members, stored as hashes.

use crate::model::api_token::{ApiTokenDetails, MemberApiToken};
use sqlx::FromRow;

use super::database::{ReadTx, WriteTx};
use super::error::StoreError;
use super::members::{MemberRow, memberships};
use super::rows::all;
use super::rows::{moment, number, seconds};
use crate::domain::ids::{AccountId, MemberId, WorkspaceId};
use crate::domain::name::Name;
use crate::domain::time::UnixSeconds;
use crate::model::member::Member;
use crate::model::page::Page;

/// A new API token, with its hash.
#[derive(Debug)]
pub struct ApiTokenRecord {
    pub member: MemberId,
    pub hash: String,
    pub details: ApiTokenDetails,
}

#[derive(FromRow)]
struct ApiTokenRow {
    id: String,
    name: String,
    prefix: String,
    created_at: i64,
    last_used_at: Option<i64>,
    expires_at: Option<i64>,
}

impl TryFrom<ApiTokenRow> for ApiTokenDetails {
    type Error = StoreError;

    fn try_from(row: ApiTokenRow) -> Result<Self, StoreError> {
        let at = |column: Option<i64>| column.map(|at| moment(at, "api_tokens")).transpose();
        Ok(Self {
            id: row.id,
            name: Name::kept(&row.name).map_err(|_| StoreError::Corrupted("api_tokens"))?,
            prefix: row.prefix,
            created_at: moment(row.created_at, "api_tokens")?,
            last_used_at: at(row.last_used_at)?,
            expires_at: at(row.expires_at)?,
        })
    }
}

#[derive(FromRow)]
struct MemberTokenRow {
    member: String,
    email: String,
    #[sqlx(flatten)]
    token: ApiTokenRow,
}

impl TryFrom<MemberTokenRow> for MemberApiToken {
    type Error = StoreError;

    fn try_from(row: MemberTokenRow) -> Result<Self, StoreError> {
        Ok(Self {
            member: MemberId::parse(&row.member).map_err(|_| StoreError::Corrupted("api_tokens"))?,
            email: row.email,
            details: row.token.try_into()?,
        })
    }
}

impl ReadTx {
    /// The token's id and its member, if the token has not expired at `now`.
    pub(crate) async fn api_token(
        &mut self,
        hash: &str,
        now: UnixSeconds,
    ) -> Result<Option<(String, Member)>, StoreError> {
        #[derive(FromRow)]
        struct Row {
            token: String,
            #[sqlx(flatten)]
            member: MemberRow,
        }
        let row: Option<Row> = sqlx::query_as(
            "SELECT t.id AS token, m.id, m.workspace, m.account, a.email, m.revision, m.created_at, m.joined_at \
             FROM api_tokens t JOIN members m ON m.id = t.member JOIN accounts a ON a.id = m.account \
             WHERE t.hash = $1 AND (t.expires_at IS NULL OR t.expires_at > $2) AND m.joined_at IS NOT NULL",
        )
        .bind(hash)
        .bind(seconds(now))
        .fetch_optional(self.connection())
        .await?;
        match row {
            None => Ok(None),
            Some(row) => Ok(Some((row.token, self.with_grants(row.member).await?))),
        }
    }

    /// One page of a member's API tokens.
    pub(crate) async fn api_tokens(
        &mut self,
        member: &MemberId,
        page: Page<'_>,
    ) -> Result<Vec<ApiTokenDetails>, StoreError> {
        let rows: Vec<ApiTokenRow> = sqlx::query_as(
            "SELECT id, name, prefix, created_at, last_used_at, expires_at FROM api_tokens \
             WHERE member = $1 AND id > $2 ORDER BY id LIMIT $3",
        )
        .bind(member.as_str())
        .bind(page.after)
        .bind(i64::from(page.limit))
        .fetch_all(self.connection())
        .await?;
        all(rows)
    }

    /// One page of the API tokens of all members of a workspace.
    pub(crate) async fn api_tokens_of_workspace(
        &mut self,
        workspace: &WorkspaceId,
        page: Page<'_>,
    ) -> Result<Vec<MemberApiToken>, StoreError> {
        let rows: Vec<MemberTokenRow> = sqlx::query_as(
            "SELECT t.id, t.name, t.prefix, t.created_at, t.last_used_at, t.expires_at, t.member, a.email \
             FROM api_tokens t JOIN members m ON m.id = t.member JOIN accounts a ON a.id = m.account \
             WHERE m.workspace = $1 AND t.id > $2 ORDER BY t.id LIMIT $3",
        )
        .bind(workspace.as_str())
        .bind(page.after)
        .bind(i64::from(page.limit))
        .fetch_all(self.connection())
        .await?;
        all(rows)
    }

    /// One API token of a workspace.
    pub(crate) async fn api_token_in(
        &mut self,
        workspace: &WorkspaceId,
        id: &str,
    ) -> Result<Option<MemberApiToken>, StoreError> {
        let row: Option<MemberTokenRow> = sqlx::query_as(
            "SELECT t.id, t.name, t.prefix, t.created_at, t.last_used_at, t.expires_at, t.member, a.email \
             FROM api_tokens t JOIN members m ON m.id = t.member JOIN accounts a ON a.id = m.account \
             WHERE m.workspace = $1 AND t.id = $2",
        )
        .bind(workspace.as_str())
        .bind(id)
        .fetch_optional(self.connection())
        .await?;
        row.map(MemberApiToken::try_from).transpose()
    }

    /// One API token of a workspace, by its hash.
    pub(crate) async fn api_token_by_hash(
        &mut self,
        workspace: &WorkspaceId,
        hash: &str,
    ) -> Result<Option<MemberApiToken>, StoreError> {
        let row: Option<MemberTokenRow> = sqlx::query_as(
            "SELECT t.id, t.name, t.prefix, t.created_at, t.last_used_at, t.expires_at, t.member, a.email \
             FROM api_tokens t JOIN members m ON m.id = t.member JOIN accounts a ON a.id = m.account \
             WHERE m.workspace = $1 AND t.hash = $2",
        )
        .bind(workspace.as_str())
        .bind(hash)
        .fetch_optional(self.connection())
        .await?;
        row.map(MemberApiToken::try_from).transpose()
    }

    /// How many API tokens a member has.
    pub(crate) async fn api_token_count(&mut self, member: &MemberId) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM api_tokens WHERE member = $1")
            .bind(member.as_str())
            .fetch_one(self.connection())
            .await?;
        number(count, "api_tokens")
    }

    /// Memberships of an account that have API tokens, up to `limit`.
    pub(crate) async fn members_with_api_tokens(
        &mut self,
        account: &AccountId,
        limit: u32,
    ) -> Result<Vec<(WorkspaceId, MemberId)>, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT m.workspace, m.id FROM members m WHERE m.account = $1 AND EXISTS \
             (SELECT t.id FROM api_tokens t WHERE t.member = m.id) ORDER BY m.workspace LIMIT $2",
        )
        .bind(account.as_str())
        .bind(i64::from(limit))
        .fetch_all(self.connection())
        .await?;
        memberships(rows)
    }

    /// The workspace of a member.
    pub(crate) async fn workspace_of(&mut self, id: &MemberId) -> Result<Option<WorkspaceId>, StoreError> {
        let found: Option<String> = sqlx::query_scalar("SELECT workspace FROM members WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(self.connection())
            .await?;
        found
            .map(|id| WorkspaceId::parse(&id).map_err(|_| StoreError::Corrupted("members")))
            .transpose()
    }
}

impl WriteTx {
    pub(crate) async fn insert_api_token(&mut self, token: &ApiTokenRecord) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO api_tokens (id, member, name, hash, prefix, created_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(token.details.id.as_str())
        .bind(token.member.as_str())
        .bind(token.details.name.as_str())
        .bind(token.hash.as_str())
        .bind(token.details.prefix.as_str())
        .bind(seconds(token.details.created_at))
        .bind(token.details.expires_at.map(seconds))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    pub(crate) async fn delete_api_token(&mut self, id: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM api_tokens WHERE id = $1")
            .bind(id)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Deletes all API tokens of a membership. Returns their ids.
    pub(crate) async fn delete_api_tokens_of(
        &mut self,
        member: &MemberId,
    ) -> Result<Vec<String>, StoreError> {
        Ok(
            sqlx::query_scalar("DELETE FROM api_tokens WHERE member = $1 RETURNING id")
                .bind(member.as_str())
                .fetch_all(self.connection())
                .await?,
        )
    }
}
