//! Signing keys in the store, with the times that define their use.

use sqlx::FromRow;
use zeroize::Zeroizing;

use super::database::{ReadTx, WriteTx};
use super::error::StoreError;
use super::rows::{moment, seconds};
use crate::domain::ids::KeyId;
use crate::domain::key::Algorithm;
use crate::domain::time::UnixSeconds;

/// A stored signing key. It has no `Debug`.
#[derive(Clone)]
pub struct SigningKeyRecord {
    pub id: KeyId,
    pub algorithm: Algorithm,
    /// PKCS#8, DER in base64; encrypted if `sealed_with` is set.
    pub secret: Zeroizing<String>,
    /// The id of the key encryption key; `None` if the secret is not encrypted.
    pub sealed_with: Option<String>,
    /// The public half, a JWK in JSON. May be empty until the key is first loaded.
    pub public: String,
    pub created_at: UnixSeconds,
    /// The time from which it signs new tokens. Before, it is only published.
    pub signs_from: UnixSeconds,
    /// The time until which it signs, if a next key exists.
    pub signs_until: Option<UnixSeconds>,
    /// When its last token expires.
    pub ends_at: Option<UnixSeconds>,
}

#[derive(FromRow)]
struct Row {
    id: String,
    algorithm: String,
    secret: String,
    sealed_with: Option<String>,
    public: String,
    created_at: i64,
    signs_from: i64,
    signs_until: Option<i64>,
    ends_at: Option<i64>,
}

impl TryFrom<Row> for SigningKeyRecord {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        const TABLE: &str = "signing_keys";
        let secret = Zeroizing::new(row.secret);
        let optional = |at: Option<i64>| at.map(|at| moment(at, TABLE)).transpose();
        Ok(Self {
            id: KeyId::parse(&row.id).map_err(|_| StoreError::Corrupted(TABLE))?,
            algorithm: Algorithm::parse(&row.algorithm).ok_or(StoreError::Corrupted(TABLE))?,
            secret,
            sealed_with: row.sealed_with,
            public: row.public,
            created_at: moment(row.created_at, TABLE)?,
            signs_from: moment(row.signs_from, TABLE)?,
            signs_until: optional(row.signs_until)?,
            ends_at: optional(row.ends_at)?,
        })
    }
}

impl ReadTx {
    /// Every signing key, in the order in which they sign.
    pub(crate) async fn signing_keys(&mut self) -> Result<Vec<SigningKeyRecord>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, algorithm, secret, sealed_with, public, created_at, signs_from, signs_until, ends_at \
             FROM signing_keys ORDER BY signs_from, created_at, id",
        )
        .fetch_all(self.connection())
        .await?;
        rows.into_iter().map(SigningKeyRecord::try_from).collect()
    }

    /// The public half of every signing key. A key is published until it is deleted, regardless of the clock:
    /// leaving it out for a while would make its tokens invalid.
    pub(crate) async fn published_keys(&mut self) -> Result<Vec<String>, StoreError> {
        Ok(
            sqlx::query_scalar("SELECT public FROM signing_keys ORDER BY signs_from, created_at, id")
                .fetch_all(self.connection())
                .await?,
        )
    }
}

impl WriteTx {
    pub(crate) async fn insert_signing_key(&mut self, key: &SigningKeyRecord) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO signing_keys (id, algorithm, secret, sealed_with, public, created_at, signs_from, \
             signs_until, ends_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(key.id.as_str())
        .bind(key.algorithm.as_str())
        .bind(key.secret.as_str())
        .bind(key.sealed_with.as_deref())
        .bind(key.public.as_str())
        .bind(seconds(key.created_at))
        .bind(seconds(key.signs_from))
        .bind(key.signs_until.map(seconds))
        .bind(key.ends_at.map(seconds))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Stores what can change: the encryption of the secret, and the times.
    pub(crate) async fn update_signing_key(&mut self, key: &SigningKeyRecord) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE signing_keys SET secret = $2, sealed_with = $3, public = $4, signs_from = $5, \
             signs_until = $6, ends_at = $7 WHERE id = $1",
        )
        .bind(key.id.as_str())
        .bind(key.secret.as_str())
        .bind(key.sealed_with.as_deref())
        .bind(key.public.as_str())
        .bind(seconds(key.signs_from))
        .bind(key.signs_until.map(seconds))
        .bind(key.ends_at.map(seconds))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    pub(crate) async fn delete_signing_key(&mut self, id: &KeyId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM signing_keys WHERE id = $1")
            .bind(id.as_str())
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
