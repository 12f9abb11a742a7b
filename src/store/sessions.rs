//! Who is signed in: sessions, the browsers people signed in from, and their identities at outside providers.
//! Secrets are kept as their SHA-256.
//!
//! None of this is policy: what no gateway hears of is written beside it, and what must happen together with a
//! change is written in that change.

use crate::model::session::SessionRecord;
use sqlx::FromRow;

use super::accounts::account_id;
use super::database::{ReadTx, Store, WriteTx};
use super::error::StoreError;
use super::rows::{moment, seconds};
use crate::domain::ids::{AccountId, MemberId, WorkspaceId};
use crate::domain::time::UnixSeconds;
use crate::model::audit::AuditRow;

/// Sessions that one person has at most. One more ends the oldest.
const SESSIONS_MAX: i64 = 50;

/// Browsers remembered for one person at most.
const BROWSERS_MAX: i64 = 20;

/// Rows that one purge removes at most.
const PURGE_ROWS: i64 = 1_000;

/// Invitations that one sign-on accepts at most; the next one accepts the rest.
const INVITATIONS_AT_ONCE: i64 = 100;

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
    /// Begins a session, unless the password that opened it (`proved_by`) is not the person's any more. Answers
    /// whether it was begun. The trail tells of it if it was.
    pub(crate) async fn insert_session(
        &self,
        hash: &str,
        session: &SessionRecord,
        proved_by: Option<&str>,
        event: &AuditRow,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin_audit().await?;
        // A statement that writes: it waits for a change of the password that is under way, and then sees it.
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

    /// The session with this hash, if it has not ended at `now`, was seen after `seen_after`, and its person is
    /// a member of anything.
    pub(crate) async fn session(
        &self,
        hash: &str,
        now: UnixSeconds,
        seen_after: UnixSeconds,
    ) -> Result<Option<SessionRecord>, StoreError> {
        let row: Option<SessionRow> = sqlx::query_as(
            "SELECT s.id, s.account, a.email, a.verified_at, s.created_at, s.last_seen_at, s.expires_at, s.method, \
             s.user_agent, s.address FROM sessions s JOIN accounts a ON a.id = s.account \
             WHERE s.hash = $1 AND s.expires_at > $2 AND s.last_seen_at > $3 AND EXISTS \
             (SELECT m.id FROM members m WHERE m.account = s.account AND m.joined_at IS NOT NULL)",
        )
        .bind(hash)
        .bind(seconds(now))
        .bind(seconds(seen_after))
        .fetch_optional(&self.readers)
        .await?;
        row.map(SessionRecord::try_from).transpose()
    }

    /// The person's sessions that have not ended, newest first.
    pub(crate) async fn sessions_of(
        &self,
        account: &AccountId,
        now: UnixSeconds,
        seen_after: UnixSeconds,
    ) -> Result<Vec<SessionRecord>, StoreError> {
        let rows: Vec<SessionRow> = sqlx::query_as(
            "SELECT s.id, s.account, a.email, a.verified_at, s.created_at, s.last_seen_at, s.expires_at, s.method, \
             s.user_agent, s.address FROM sessions s JOIN accounts a ON a.id = s.account \
             WHERE s.account = $1 AND s.expires_at > $2 AND s.last_seen_at > $3 \
             ORDER BY s.created_at DESC, s.id DESC LIMIT $4",
        )
        .bind(account.as_str())
        .bind(seconds(now))
        .bind(seconds(seen_after))
        .bind(SESSIONS_MAX)
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter().map(SessionRecord::try_from).collect()
    }

    /// Notes that a session was used.
    pub(crate) async fn touch_session(&self, hash: &str, now: UnixSeconds) -> Result<(), StoreError> {
        let _turn = self.ledger_turn().await;
        sqlx::query("UPDATE sessions SET last_seen_at = $2 WHERE hash = $1 AND last_seen_at < $2")
            .bind(hash)
            .bind(seconds(now))
            .execute(&self.ledger)
            .await?;
        Ok(())
    }

    /// Ends one of a person's sessions. Answers whether there was one, which the trail tells of then.
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

    /// The account that has signed in from the browser with this secret, with its address.
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

    /// Remembers a browser that a person signed in from.
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

    /// Notes a sign-on that was sent to a provider, under the hash of its state.
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

    /// Takes a sign-on out. Of several callers, exactly one gets it.
    pub(crate) async fn take_sign_on(&self, state_hash: &str, now: UnixSeconds) -> Result<bool, StoreError> {
        let _turn = self.ledger_turn().await;
        let taken = sqlx::query("DELETE FROM sign_ons WHERE state_hash = $1 AND expires_at > $2")
            .bind(state_hash)
            .bind(seconds(now))
            .execute(&self.ledger)
            .await?;
        Ok(taken.rows_affected() == 1)
    }

    /// Drops what expired before `passed` or was last used before `seen_after`, up to a bound. Answers whether there may
    /// be more. These rows permit something: one that is gone is refused, whatever the clock does next.
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
    /// Any one membership that the person has joined.
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
            .map(|id| WorkspaceId::parse(&id).map_err(|_| StoreError::Damaged("members")))
            .transpose()
    }

    /// Where the address has been invited and nobody has joined yet, by invitations that are good at `now`.
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
        let damaged = |_| StoreError::Damaged("members");
        rows.into_iter()
            .map(|(workspace, id)| {
                let workspace = WorkspaceId::parse(&workspace).map_err(damaged)?;
                Ok((workspace, MemberId::parse(&id).map_err(damaged)?))
            })
            .collect()
    }

    /// Whether a person's session has not ended at `now`.
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

    /// The person's address.
    pub(crate) async fn email_of(&mut self, account: &AccountId) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar("SELECT email FROM accounts WHERE id = $1")
            .bind(account.as_str())
            .fetch_optional(self.connection())
            .await?)
    }
}

impl WriteTx {
    /// Ends all of a person's sessions together with the change, and forgets the browsers they used. Answers how many
    /// sessions there were.
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
