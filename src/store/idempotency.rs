//! Idempotency keys, and which resource the first request with each of them made.

use super::database::{ReadTx, Store, WriteTx};
use super::error::StoreError;
use super::rows::{number, seconds};
use crate::domain::ids::MemberId;
use crate::domain::time::UnixSeconds;

/// The most rows that one purge deletes, so that it does not block writers for long.
const PURGE_ROWS: i64 = 1_000;

/// An idempotency key to store.
pub struct IdempotencyRecord<'a> {
    pub digest: &'a str,
    pub member: &'a MemberId,
    pub body_digest: &'a str,
    pub resource_id: &'a str,
    pub expires_at: UnixSeconds,
}

impl Store {
    /// Deletes keys that expired before `ended_before`, up to a bound. Returns whether there may be more.
    pub(crate) async fn purge_idempotency_keys(&self, ended_before: UnixSeconds) -> Result<bool, StoreError> {
        let _turn = self.ledger_turn().await;
        let mut tx = self.begin_ledger().await?;
        let removed = sqlx::query(
            "DELETE FROM idempotency_keys WHERE digest IN \
             (SELECT digest FROM idempotency_keys WHERE expires_at < $1 LIMIT $2)",
        )
        .bind(seconds(ended_before))
        .bind(PURGE_ROWS)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(removed.rows_affected() >= PURGE_ROWS.unsigned_abs())
    }
}

impl ReadTx {
    /// The digest of the request body that came with a key, and the resource that the request made.
    pub(crate) async fn idempotency_key(
        &mut self,
        digest: &str,
        now: UnixSeconds,
    ) -> Result<Option<(String, String)>, StoreError> {
        Ok(sqlx::query_as(
            "SELECT body_digest, resource_id FROM idempotency_keys WHERE digest = $1 AND expires_at > $2",
        )
        .bind(digest)
        .bind(seconds(now))
        .fetch_optional(self.connection())
        .await?)
    }

    /// How many keys are stored for a member.
    pub(crate) async fn idempotency_keys_of(&mut self, member: &MemberId) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM idempotency_keys WHERE member = $1")
            .bind(member.as_str())
            .fetch_one(self.connection())
            .await?;
        number(count, "idempotency_keys")
    }
}

impl WriteTx {
    /// Stores a key. Returns whether it was new.
    pub(crate) async fn insert_idempotency_key(
        &mut self,
        row: &IdempotencyRecord<'_>,
        now: UnixSeconds,
    ) -> Result<bool, StoreError> {
        sqlx::query("DELETE FROM idempotency_keys WHERE digest = $1 AND expires_at <= $2")
            .bind(row.digest)
            .bind(seconds(now))
            .execute(self.connection())
            .await?;
        let inserted = sqlx::query(
            "INSERT INTO idempotency_keys (digest, member, body_digest, resource_id, expires_at) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (digest) DO NOTHING",
        )
        .bind(row.digest)
        .bind(row.member.as_str())
        .bind(row.body_digest)
        .bind(row.resource_id)
        .bind(seconds(row.expires_at))
        .execute(self.connection())
        .await?;
        Ok(inserted.rows_affected() == 1)
    }
}
