//! What happened: signing keys made, assertions used, tokens revoked, and the change feed.

use sqlx::FromRow;
use zeroize::Zeroizing;

use super::{ReadTx, Store, StoreError, WriteTx, moment, number, seconds};
use crate::domain::ids::{AppId, KeyId};
use crate::domain::key::Algorithm;
use crate::domain::time::UnixSeconds;

/// Rows that one purge removes at most, so that it never holds up a writer for long.
const PURGE_ROWS: u32 = 1_000;

/// How long expired rows are kept on, in seconds: a clock that is set back a little must not bring an
/// assertion back to life.
const PURGE_AFTER_S: u64 = 60;

/// A signing key at rest. It has no `Debug`.
pub struct SigningKeyRecord {
    pub id: KeyId,
    pub algorithm: Algorithm,
    /// PKCS#8, DER in base64.
    pub pkcs8: Zeroizing<String>,
    /// Whether new tokens are signed with it. The others are published until their last token has expired.
    pub active: bool,
    pub created_at: UnixSeconds,
}

/// A revoked token.
#[derive(Debug)]
pub struct Revocation {
    pub issuer: String,
    pub token_id: String,
    pub expires_at: UnixSeconds,
    pub app: AppId,
    pub at: UnixSeconds,
    pub reason: &'static str,
}

/// A revocation as gateways are told of it.
#[derive(Debug)]
pub struct PolicyRevocation {
    pub issuer: String,
    pub token_id: String,
    pub expires_at: UnixSeconds,
}

/// One version of the change feed.
#[derive(Debug)]
pub struct FeedEntry {
    pub version: u64,
    pub body: String,
    pub at: UnixSeconds,
}

impl Store {
    /// Drops assertions and revocations that have ended by `now`, up to a bound. Answers whether there may be
    /// more.
    pub(crate) async fn purge(&self, now: UnixSeconds) -> Result<bool, StoreError> {
        let before = seconds(now.minus(PURGE_AFTER_S));
        let _turn = self.ledger_turn().await;
        let assertions = sqlx::query(
            "DELETE FROM used_assertions WHERE digest IN \
             (SELECT digest FROM used_assertions WHERE expires_at < $1 LIMIT $2)",
        )
        .bind(before)
        .bind(i64::from(PURGE_ROWS))
        .execute(&self.ledger)
        .await?;
        let revocations = sqlx::query(
            "DELETE FROM revocations WHERE (issuer, token_id) IN \
             (SELECT issuer, token_id FROM revocations WHERE expires_at < $1 LIMIT $2)",
        )
        .bind(before)
        .bind(i64::from(PURGE_ROWS))
        .execute(&self.ledger)
        .await?;
        Ok(assertions.rows_affected().max(revocations.rows_affected()) >= u64::from(PURGE_ROWS))
    }

    /// Notes when app keys and API tokens were last used, all in one transaction.
    pub(crate) async fn note_uses(
        &self,
        app_keys: &[(KeyId, UnixSeconds)],
        api_tokens: &[(String, UnixSeconds)],
    ) -> Result<(), StoreError> {
        let _turn = self.ledger_turn().await;
        let mut tx = self.begin_ledger().await?;
        for (key, at) in app_keys {
            sqlx::query("UPDATE app_keys SET last_used_at = $2 WHERE id = $1")
                .bind(key.as_str())
                .bind(seconds(*at))
                .execute(&mut *tx)
                .await?;
        }
        for (token, at) in api_tokens {
            sqlx::query("UPDATE api_tokens SET last_used_at = $2 WHERE id = $1")
                .bind(token.as_str())
                .bind(seconds(*at))
                .execute(&mut *tx)
                .await?;
        }
        Ok(tx.commit().await?)
    }

    /// Up to `limit` versions after `version`, in order. The first is a later one than the next where the
    /// feed no longer reaches back so far.
    pub(crate) async fn feed_after(&self, version: u64, limit: u32) -> Result<Vec<FeedEntry>, StoreError> {
        let rows: Vec<(i64, String, i64)> = sqlx::query_as(
            "SELECT version, body, at FROM policy_changes WHERE version > $1 ORDER BY version LIMIT $2",
        )
        .bind(i64::try_from(version).unwrap_or(i64::MAX))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter()
            .map(|(version, body, at)| {
                let (version, at) = (number(version, "policy_changes")?, moment(at, "policy_changes")?);
                Ok(FeedEntry { version, body, at })
            })
            .collect()
    }
}

impl ReadTx {
    /// The policy version of this view.
    pub(crate) async fn policy_version(&mut self) -> Result<u64, StoreError> {
        let version: i64 = sqlx::query_scalar("SELECT version FROM policy_version WHERE only_row = 1")
            .fetch_one(self.connection())
            .await?;
        number(version, "policy_version")
    }

    /// Every signing key, oldest first.
    pub(crate) async fn signing_keys(&mut self) -> Result<Vec<SigningKeyRecord>, StoreError> {
        #[derive(FromRow)]
        struct Row {
            id: String,
            algorithm: String,
            pkcs8: String,
            active: i64,
            created_at: i64,
        }
        let rows: Vec<Row> = sqlx::query_as("SELECT * FROM signing_keys ORDER BY created_at, id")
            .fetch_all(self.connection())
            .await?;
        let damaged = || StoreError::Damaged("signing_keys");
        rows.into_iter()
            .map(|row| {
                Ok(SigningKeyRecord {
                    id: KeyId::parse(&row.id).map_err(|_| damaged())?,
                    algorithm: Algorithm::parse(&row.algorithm).ok_or_else(damaged)?,
                    pkcs8: Zeroizing::new(row.pkcs8),
                    active: row.active == 1,
                    created_at: moment(row.created_at, "signing_keys")?,
                })
            })
            .collect()
    }

    pub(crate) async fn is_revoked(&mut self, issuer: &str, token_id: &str) -> Result<bool, StoreError> {
        let found: Option<i64> =
            sqlx::query_scalar("SELECT 1 FROM revocations WHERE issuer = $1 AND token_id = $2")
                .bind(issuer)
                .bind(token_id)
                .fetch_optional(self.connection())
                .await?;
        Ok(found.is_some())
    }

    /// Every revocation that still matters at `now`, for a snapshot.
    pub(crate) async fn policy_revocations(
        &mut self,
        now: UnixSeconds,
    ) -> Result<Vec<PolicyRevocation>, StoreError> {
        let rows: Vec<(String, String, i64)> =
            sqlx::query_as("SELECT issuer, token_id, expires_at FROM revocations WHERE expires_at > $1")
                .bind(seconds(now))
                .fetch_all(self.connection())
                .await?;
        rows.into_iter()
            .map(|(issuer, token_id, expires_at)| {
                Ok(PolicyRevocation {
                    issuer,
                    token_id,
                    expires_at: moment(expires_at, "revocations")?,
                })
            })
            .collect()
    }
}

impl WriteTx {
    pub(crate) async fn insert_signing_key(&mut self, key: &SigningKeyRecord) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO signing_keys (id, algorithm, pkcs8, active, created_at) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(key.id.as_str())
        .bind(key.algorithm.as_str())
        .bind(key.pkcs8.as_str())
        .bind(i64::from(key.active))
        .bind(seconds(key.created_at))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Takes every signing key out of use for new tokens. They stay published.
    pub(crate) async fn retire_signing_keys(&mut self) -> Result<(), StoreError> {
        sqlx::query("UPDATE signing_keys SET active = 0")
            .execute(self.connection())
            .await?;
        Ok(())
    }

    pub(crate) async fn insert_revocation(&mut self, revocation: &Revocation) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO revocations (issuer, token_id, expires_at, app, at, reason) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(revocation.issuer.as_str())
        .bind(revocation.token_id.as_str())
        .bind(seconds(revocation.expires_at))
        .bind(revocation.app.as_str())
        .bind(seconds(revocation.at))
        .bind(revocation.reason)
        .execute(self.connection())
        .await?;
        Ok(())
    }
}
