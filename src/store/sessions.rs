//! Sessions, known browsers and sign-ons in progress. Secrets are stored as their SHA-256.
//!
//! These are ledger rows: no gateway needs them. What must happen together with a change is written in its
//! transaction.

use crate::model::session::SessionRecord;
use sqlx::FromRow;

use super::accounts::account_id;
use super::database::{ReadTx, Store, WriteTx};
use super::error::StoreError;
use super::members::memberships;
use super::rows::{moment, seconds};
use crate::domain::ids::{AccountId, MemberId, WorkspaceId};
use crate::domain::time::UnixSeconds;
use crate::model::audit::AuditRow;

/// The most sessions of one account. A further one deletes the oldest.
const SESSIONS_MAX: i64 = 50;

/// The most known browsers of one account.
const BROWSERS_MAX: i64 = 20;

/// The most rows that one purge deletes.
const PURGE_ROWS: i64 = 1_000;

/// The most invitations that one sign-on accepts; the next one accepts the rest.
const INVITATIONS_AT_ONCE: i64 = 100;

/// Selects the columns of a [`SessionRow`].
macro_rules! select_sessions {
    ($rest:literal) => {
        concat!(
            "SELECT s.id, s.account, a.email, a.verified_at, s.created_at, s.last_seen_at, s.expires_at, s.method, \
             s.user_agent, s.address FROM sessions s JOIN accounts a ON a.id = s.account ",
            $rest
        )
    };
}

#[derive(FromRow)]
struct SessionRow {
    id: String,
    account: String,
    email: String,
    verified_at: Option<i64>,
    created_at: i64,
    last_seen_at: i64,
    expires_at: i64,
    method: String,
    user_agent: String,
    address: String,
}

impl TryFrom<SessionRow> for SessionRecord {
    type Error = StoreError;

    fn try_from(row: SessionRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            account: account_id(&row.account)?,
            email: row.email,
            verified: row.verified_at.is_some(),
            created_at: moment(row.created_at, "sessions")?,
            last_seen_at: moment(row.last_seen_at, "sessions")?,
            expires_at: moment(row.expires_at, "sessions")?,
            method: row.method,
            user_agent: row.user_agent,
            address: row.address,
        })
    }
}

impl Store {
    /// Opens a session, unless the account's password has changed from `proved_by`. Returns whether it was opened;
    /// the audit event is written only then.
    pub(crate) async fn insert_session(
        &self,
        hash: &str,
        session: &SessionRecord,
        proved_by: Option<&str>,
        event: &AuditRow,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin_audit().await?;
        // An UPDATE waits for a concurrent password change and then sees it.
        let still = sqlx::query(
            "UPDATE accounts SET password_hash = password_hash WHERE id = $1 AND ($2 = '' OR password_hash = $2)",
        )
        .bind(session.account.as_str())
        .bind(proved_by.unwrap_or_default())
        .execute(tx.connection())
        .await?;
        if still.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query(
            "DELETE FROM sessions WHERE account = $1 AND id NOT IN \
             (SELECT id FROM sessions WHERE account = $1 ORDER BY created_at DESC, id DESC LIMIT $2)",
        )
        .bind(session.account.as_str())
        .bind(SESSIONS_MAX - 1)
        .execute(tx.connection())
        .await?;
        sqlx::query(
            "INSERT INTO sessions (hash, id, account, created_at, last_seen_at, expires_at, method, \
             user_agent, address) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(hash)
        .bind(session.id.as_str())
        .bind(session.account.as_str())
        .bind(seconds(session.created_at))
        .bind(seconds(session.last_seen_at))
        .bind(seconds(session.expires_at))
        .bind(session.method.as_str())
        .bind(session.user_agent.as_str())
        .bind(session.address.as_str())
        .execute(tx.connection())
        .await?;
        tx.append_audit(event).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The session with this hash, if it has not expired at `now`, was used after `seen_after`, and its account has a
    /// membership.
    pub(crate) async fn session(
        &self,
        hash: &str,
        now: UnixSeconds,
        seen_after: UnixSeconds,
    ) -> Result<Option<SessionRecord>, StoreError> {
        let row: Option<SessionRow> = sqlx::query_as(select_sessions!(
            "WHERE s.hash = $1 AND s.expires_at > $2 AND s.last_seen_at > $3 AND EXISTS \
             (SELECT m.id FROM members m WHERE m.account = s.account AND m.joined_at IS NOT NULL)"
        ))
        .bind(hash)
        .bind(seconds(now))
        .bind(seconds(seen_after))
        .fetch_optional(&self.readers)
        .await?;
        row.map(SessionRecord::try_from).transpose()
    }

    /// The account's sessions that have not expired, newest first.
    pub(crate) async fn sessions_of(
        &self,
        account: &AccountId,
        now: UnixSeconds,
        seen_after: UnixSeconds,
    ) -> Result<Vec<SessionRecord>, StoreError> {
        let rows: Vec<SessionRow> = sqlx::query_as(select_sessions!(
            "WHERE s.account = $1 AND s.expires_at > $2 AND s.last_seen_at > $3 \
             ORDER BY s.created_at DESC, s.id DESC LIMIT $4"
        ))
        .bind(account.as_str())
        .bind(seconds(now))
        .bind(seconds(seen_after))
        .bind(SESSIONS_MAX)
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter().map(SessionRecord::try_from).collect()
    }

    /// Records that a session was used.
    pub(crate) async fn touch_session(&self, hash: &str, now: UnixSeconds) -> Result<(), StoreError> {
        let _turn = self.ledger_turn().await;
        sqlx::query("UPDATE sessions SET last_seen_at = $2 WHERE hash = $1 AND last_seen_at < $2")
            .bind(hash)
            .bind(seconds(now))
            .execute(&self.ledger)
            .await?;
        Ok(())
    }

    /// Deletes one of an account's sessions. Returns whether there was one; the audit event is written only then.
    pub(crate) async fn delete_session(
        &self,
        account: &AccountId,
        id: &str,
        event: &AuditRow,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin_audit().await?;
        let deleted = sqlx::query("DELETE FROM sessions WHERE account = $1 AND id = $2")
            .bind(account.as_str())
            .bind(id)
            .execute(tx.connection())
            .await?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        tx.append_audit(event).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The account that has signed in from the browser with this secret, and its email address.
    pub(crate) async fn known_browser(
        &self,
        hash: &str,
        now: UnixSeconds,
    ) -> Result<Option<(AccountId, String)>, StoreError> {
        let found: Option<(String, String)> = sqlx::query_as(
            "SELECT a.id, a.email FROM known_browsers b JOIN accounts a ON a.id = b.account \
             WHERE b.hash = $1 AND b.expires_at > $2",
        )
        .bind(hash)
        .bind(seconds(now))
        .fetch_optional(&self.readers)
        .await?;
        found.map(|(id, email)| Ok((account_id(&id)?, email))).transpose()
    }

    /// Stores a browser that an account signed in from.
    pub(crate) async fn insert_known_browser(
        &self,
        hash: &str,
        account: &AccountId,
        expires_at: UnixSeconds,
    ) -> Result<(), StoreError> {
        let _turn = self.ledger_turn().await;
        let mut tx = self.begin_ledger().await?;
        sqlx::query(
            "DELETE FROM known_browsers WHERE account = $1 AND hash NOT IN \
             (SELECT hash FROM known_browsers WHERE account = $1 ORDER BY expires_at DESC, hash LIMIT $2)",
        )
        .bind(account.as_str())
        .bind(BROWSERS_MAX - 1)
        .execute(&mut *tx)
        .await?;
        sqlx::query("INSERT INTO known_browsers (hash, account, expires_at) VALUES ($1, $2, $3)")
            .bind(hash)
            .bind(account.as_str())
            .bind(seconds(expires_at))
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Stores a sign-on in progress, under the hash of its `state`.
    pub(crate) async fn insert_sign_on(
        &self,
        state_hash: &str,
        expires_at: UnixSeconds,
    ) -> Result<(), StoreError> {
        let _turn = self.ledger_turn().await;
        sqlx::query("INSERT INTO sign_ons (state_hash, expires_at) VALUES ($1, $2)")
            .bind(state_hash)
            .bind(seconds(expires_at))
            .execute(&self.ledger)
            .await?;
        Ok(())
    }

    /// Deletes a sign-on in progress. Of several callers, exactly one gets `true`.
    pub(crate) async fn take_sign_on(&self, state_hash: &str, now: UnixSeconds) -> Result<bool, StoreError> {
        let _turn = self.ledger_turn().await;
        let taken = sqlx::query("DELETE FROM sign_ons WHERE state_hash = $1 AND expires_at > $2")
            .bind(state_hash)
            .bind(seconds(now))
            .execute(&self.ledger)
            .await?;
        Ok(taken.rows_affected() == 1)
    }

    /// Deletes what expired before `passed` or was last used before `seen_after`, up to a bound. Returns whether
    /// there may be more. These rows grant access: once deleted, they are rejected even if the clock is set back.
    pub(crate) async fn purge_sessions(
        &self,
        passed: UnixSeconds,
        seen_after: UnixSeconds,
    ) -> Result<bool, StoreError> {
        let _turn = self.ledger_turn().await;
        let sessions = sqlx::query(
            "DELETE FROM sessions WHERE hash IN (SELECT hash FROM sessions \
             WHERE expires_at <= $1 OR last_seen_at <= $2 LIMIT $3)",
        )
        .bind(seconds(passed))
        .bind(seconds(seen_after))
        .bind(PURGE_ROWS)
        .execute(&self.ledger)
        .await?;
        let mut most = sessions.rows_affected();
        for text in [
            "DELETE FROM known_browsers WHERE hash IN \
             (SELECT hash FROM known_browsers WHERE expires_at <= $1 LIMIT $2)",
            "DELETE FROM sign_ons WHERE state_hash IN \
             (SELECT state_hash FROM sign_ons WHERE expires_at <= $1 LIMIT $2)",
        ] {
            let deleted = sqlx::query(text)
                .bind(seconds(passed))
                .bind(PURGE_ROWS)
                .execute(&self.ledger)
                .await?;
            most = most.max(deleted.rows_affected());
        }
        Ok(most >= PURGE_ROWS.unsigned_abs())
    }
}

impl ReadTx {
    /// Any one membership that the account has joined.
    pub(crate) async fn any_membership(
        &mut self,
        account: &AccountId,
    ) -> Result<Option<WorkspaceId>, StoreError> {
        let found: Option<String> = sqlx::query_scalar(
            "SELECT workspace FROM members WHERE account = $1 AND joined_at IS NOT NULL \
             ORDER BY workspace LIMIT 1",
        )
        .bind(account.as_str())
        .fetch_optional(self.connection())
        .await?;
        found
            .map(|id| WorkspaceId::parse(&id).map_err(|_| StoreError::Corrupted("members")))
            .transpose()
    }

    /// Open invitations of the address that are valid at `now`.
    pub(crate) async fn invited_to(
        &mut self,
        email: &str,
        now: UnixSeconds,
    ) -> Result<Vec<(WorkspaceId, MemberId)>, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT m.workspace, m.id FROM accounts a JOIN members m ON m.account = a.id \
             JOIN invitations i ON i.member = m.id \
             WHERE a.email = $1 AND m.joined_at IS NULL AND i.expires_at > $2 ORDER BY m.id LIMIT $3",
        )
        .bind(email)
        .bind(seconds(now))
        .bind(INVITATIONS_AT_ONCE)
        .fetch_all(self.connection())
        .await?;
        memberships(rows)
    }

    /// Whether an account's session has not expired at `now`.
    pub(crate) async fn has_session(
        &mut self,
        account: &AccountId,
        id: &str,
        now: UnixSeconds,
    ) -> Result<bool, StoreError> {
        let found: Option<String> =
            sqlx::query_scalar("SELECT id FROM sessions WHERE account = $1 AND id = $2 AND expires_at > $3")
                .bind(account.as_str())
                .bind(id)
                .bind(seconds(now))
                .fetch_optional(self.connection())
                .await?;
        Ok(found.is_some())
    }

    /// The account's email address.
    pub(crate) async fn email_of(&mut self, account: &AccountId) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar("SELECT email FROM accounts WHERE id = $1")
            .bind(account.as_str())
            .fetch_optional(self.connection())
            .await?)
    }
}

impl WriteTx {
    /// Deletes all sessions and known browsers of an account, in the change's transaction. Returns how many sessions
    /// there were.
    pub(crate) async fn end_sessions(&mut self, account: &AccountId) -> Result<u64, StoreError> {
        let ended = sqlx::query("DELETE FROM sessions WHERE account = $1")
            .bind(account.as_str())
            .execute(self.connection())
            .await?;
        sqlx::query("DELETE FROM known_browsers WHERE account = $1")
            .bind(account.as_str())
            .execute(self.connection())
            .await?;
        Ok(ended.rows_affected())
    }
}
