//! Revoked tokens, and the cutoffs of keys, apps and workspaces.

use super::database::{ReadTx, WriteTx};
use super::error::StoreError;
use super::issued::hour;
use super::rows::{moment, number, seconds};
use crate::domain::ids::{AppId, KeyId, WorkspaceId};
use crate::domain::time::UnixSeconds;

/// A revoked token.
#[derive(Debug)]
pub struct Revocation {
    pub issuer: String,
    pub token_id: String,
    pub expires_at: UnixSeconds,
    pub app: AppId,
    /// Unknown if only the token id was given.
    pub proof: Option<Proof>,
    pub at: UnixSeconds,
    pub reason: &'static str,
}

/// What a token was issued for.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The app key that proved the token request.
    pub key: KeyId,
    pub issued_at: UnixSeconds,
}

impl ReadTx {
    pub(crate) async fn is_revoked(&mut self, issuer: &str, token_id: &str) -> Result<bool, StoreError> {
        let found: Option<i64> =
            sqlx::query_scalar("SELECT 1 FROM revocations WHERE issuer = $1 AND token_id = $2")
                .bind(issuer)
                .bind(token_id)
                .fetch_optional(self.connection())
                .await?;
        Ok(found.is_some())
    }

    /// Whether an app has at least `count` revoked tokens that have not expired at `now`.
    pub(crate) async fn has_revocations(
        &mut self,
        app: &AppId,
        count: u64,
        now: UnixSeconds,
    ) -> Result<bool, StoreError> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let held: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM (SELECT token_id FROM revocations WHERE app = $1 AND expires_at > $2 LIMIT $3) AS held",
        )
        .bind(app.as_str())
        .bind(seconds(now))
        .bind(count)
        .fetch_one(self.connection())
        .await?;
        Ok(held >= count)
    }

    /// The workspaces with a cutoff, and their cutoffs.
    pub(crate) async fn workspace_cutoffs(&mut self) -> Result<Vec<(String, u64)>, StoreError> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT id, not_issued_before FROM workspaces WHERE not_issued_before > 0")
                .fetch_all(self.connection())
                .await?;
        rows.into_iter()
            .map(|(id, moment)| Ok((id, number(moment, "workspaces")?)))
            .collect()
    }

    /// The latest cutoff of any app or key of a workspace.
    pub(crate) async fn latest_cutoff_in(&mut self, id: &WorkspaceId) -> Result<UnixSeconds, StoreError> {
        let at: Option<i64> = sqlx::query_scalar("SELECT latest_cutoff FROM workspaces WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(self.connection())
            .await?;
        moment(at.unwrap_or(0), "workspaces")
    }

    /// The second after the latest `iat` in the future among the tokens of a workspace, or of one of its apps or keys:
    /// a clock was ahead when it was issued. 1970 where there is none.
    pub(crate) async fn issued_ahead(
        &mut self,
        workspace: &WorkspaceId,
        app: Option<&AppId>,
        key: Option<&KeyId>,
        now: UnixSeconds,
    ) -> Result<UnixSeconds, StoreError> {
        let latest: Option<i64> = sqlx::query_scalar(
            "SELECT MAX(i.latest_issued_at) FROM issued_tokens i JOIN apps a ON a.id = i.app \
             WHERE i.issued_hour >= $1 AND i.latest_issued_at > $5 AND a.workspace = $2 \
             AND ($3 = '' OR i.app = $3) AND ($4 = '' OR i.app_key = $4)",
        )
        .bind(hour(now))
        .bind(workspace.as_str())
        .bind(app.map_or("", AppId::as_str))
        .bind(key.map_or("", KeyId::as_str))
        .bind(seconds(now))
        .fetch_one(self.connection())
        .await?;
        match latest {
            Some(latest) => Ok(moment(latest, "issued_tokens")?.plus(1)),
            None => Ok(UnixSeconds(0)),
        }
    }

    /// The workspace's cutoff: tokens issued before it are revoked.
    pub(crate) async fn workspace_cutoff(&mut self, id: &WorkspaceId) -> Result<UnixSeconds, StoreError> {
        let at: Option<i64> = sqlx::query_scalar("SELECT not_issued_before FROM workspaces WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(self.connection())
            .await?;
        moment(at.unwrap_or(0), "workspaces")
    }
}

impl WriteTx {
    /// Adds a revoked token. Returns whether it was new.
    pub(crate) async fn insert_revocation(&mut self, revocation: &Revocation) -> Result<bool, StoreError> {
        let proof = revocation.proof.as_ref();
        let inserted = sqlx::query(
            "INSERT INTO revocations (issuer, token_id, expires_at, app, at, reason, app_key, issued_hour) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (issuer, token_id) DO NOTHING",
        )
        .bind(revocation.issuer.as_str())
        .bind(revocation.token_id.as_str())
        .bind(seconds(revocation.expires_at))
        .bind(revocation.app.as_str())
        .bind(seconds(revocation.at))
        .bind(revocation.reason)
        .bind(proof.map(|proof| proof.key.as_str()))
        .bind(proof.map(|proof| hour(proof.issued_at)))
        .execute(self.connection())
        .await?;
        Ok(inserted.rows_affected() == 1)
    }

    /// Raises the workspace's record of the latest cutoff of its apps and keys.
    pub(crate) async fn raise_latest_cutoff(
        &mut self,
        workspace: &WorkspaceId,
        moment: UnixSeconds,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE workspaces SET latest_cutoff = $2 WHERE id = $1 AND latest_cutoff < $2")
            .bind(workspace.as_str())
            .bind(seconds(moment))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Sets a key's cutoff: tokens that it proved before are revoked.
    pub(crate) async fn revoke_tokens_of_key(
        &mut self,
        key: &KeyId,
        before: UnixSeconds,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE app_keys SET not_issued_before = $2 WHERE id = $1")
            .bind(key.as_str())
            .bind(seconds(before))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Sets a workspace's cutoff: tokens issued to any of its apps before are revoked.
    pub(crate) async fn revoke_tokens_of_workspace(
        &mut self,
        workspace: &WorkspaceId,
        before: UnixSeconds,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE workspaces SET not_issued_before = $2 WHERE id = $1")
            .bind(workspace.as_str())
            .bind(seconds(before))
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
