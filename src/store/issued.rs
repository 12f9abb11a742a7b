//! How many tokens were issued, by app key, signing key and hour. The sums tell how many live tokens there are.

use super::database::{ReadTx, Store};
use super::error::StoreError;
use super::rows::{number, seconds};
use crate::domain::ids::{AppId, KeyId};
use crate::domain::time::UnixSeconds;
use crate::model::app::App;

/// Seconds that are counted together.
const HOUR: u64 = 3_600;

/// The most rows that one purge deletes.
const PURGE_ROWS: u32 = 1_000;

/// A group of tokens that are counted together: proved with one app key, signed with one signing key, issued within
/// one hour and expiring within one hour.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IssuedKey {
    pub app: AppId,
    /// The app key that proved the token requests.
    pub key: KeyId,
    pub signing_key: KeyId,
    issued_hour: u64,
    expires_hour: u64,
}

/// Tokens counted under one [`IssuedKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issued {
    pub count: u64,
    /// The latest `iat` of them.
    pub latest: UnixSeconds,
}

impl IssuedKey {
    pub fn new(
        app: &AppId,
        key: &KeyId,
        signing_key: &KeyId,
        issued_at: UnixSeconds,
        expires_at: UnixSeconds,
    ) -> Self {
        Self {
            app: app.clone(),
            key: key.clone(),
            signing_key: signing_key.clone(),
            issued_hour: issued_at.0 / HOUR,
            expires_hour: expires_at.0 / HOUR,
        }
    }
}

/// The hour of a time.
pub(super) fn hour(at: UnixSeconds) -> i64 {
    counted(at.0 / HOUR)
}

fn counted(hour: u64) -> i64 {
    i64::try_from(hour).unwrap_or(i64::MAX)
}

/// Joins a table of tokens with their app key, app and workspace, and keeps those that no cutoff of these revokes.
/// Tokens of a deleted key are deleted with it.
macro_rules! not_ended {
    ($tokens:literal) => {
        concat!(
            " JOIN app_keys k ON k.id = ",
            $tokens,
            ".app_key AND ",
            $tokens,
            ".issued_hour >= k.not_issued_before / 3600 \
             JOIN apps a ON a.id = ",
            $tokens,
            ".app AND ",
            $tokens,
            ".issued_hour >= a.not_issued_before / 3600 \
             JOIN workspaces w ON w.id = a.workspace AND ",
            $tokens,
            ".issued_hour >= w.not_issued_before / 3600 "
        )
    };
}

impl Store {
    /// Adds to the counts, and deletes counts of tokens that all expired before `ended_before`.
    pub(crate) async fn record_issued(
        &self,
        issued: &[(IssuedKey, Issued)],
        ended_before: UnixSeconds,
    ) -> Result<(), StoreError> {
        // Always in the same order, so that two processes cannot deadlock.
        let mut issued: Vec<_> = issued.iter().collect();
        issued.sort_unstable_by_key(|(key, _)| {
            (
                key.app.as_str(),
                key.key.as_str(),
                key.signing_key.as_str(),
                key.issued_hour,
                key.expires_hour,
            )
        });
        let _turn = self.ledger_turn().await;
        let mut tx = self.begin_ledger().await?;
        for (key, of_key) in issued {
            sqlx::query(
                "INSERT INTO issued_tokens \
                 (app, app_key, signing_key, issued_hour, expires_hour, issued, latest_issued_at) \
                 SELECT $1, k.id, s.id, $3, $4, $5, $7 FROM app_keys k JOIN signing_keys s ON s.id = $6 WHERE k.id = $2 \
                 ON CONFLICT (app, app_key, signing_key, issued_hour, expires_hour) \
                 DO UPDATE SET issued = issued_tokens.issued + excluded.issued, latest_issued_at = CASE \
                 WHEN excluded.latest_issued_at > issued_tokens.latest_issued_at \
                 THEN excluded.latest_issued_at ELSE issued_tokens.latest_issued_at END",
            )
            .bind(key.app.as_str())
            .bind(key.key.as_str())
            .bind(counted(key.issued_hour))
            .bind(counted(key.expires_hour))
            .bind(i64::try_from(of_key.count).unwrap_or(i64::MAX))
            .bind(key.signing_key.as_str())
            .bind(seconds(of_key.latest))
            .execute(&mut *tx)
            .await?;
        }
        sqlx::query(
            "DELETE FROM issued_tokens WHERE (app, app_key, signing_key, issued_hour, expires_hour) IN \
             (SELECT app, app_key, signing_key, issued_hour, expires_hour FROM issued_tokens \
             WHERE expires_hour < $1 LIMIT $2)",
        )
        .bind(hour(ended_before))
        .bind(i64::from(PURGE_ROWS))
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }
}

impl ReadTx {
    /// Tokens issued to an app that have not expired, revoked or not. Tokens of the last few seconds may be missing.
    pub(crate) async fn issued_tokens(&mut self, app: &AppId, now: UnixSeconds) -> Result<u64, StoreError> {
        let issued: Option<i64> = sqlx::query_scalar(
            "SELECT CAST(SUM(issued) AS BIGINT) FROM issued_tokens WHERE app = $1 AND expires_hour >= $2",
        )
        .bind(app.as_str())
        .bind(hour(now))
        .fetch_one(self.connection())
        .await?;
        number(issued.unwrap_or_default(), "issued_tokens")
    }

    /// Tokens of the app, proved by `key` or by any of its keys, that have neither expired nor been revoked. The
    /// result may be a few too high, never too low: counts are per hour, and a token revoked by its id alone stays in
    /// the count. A revoked token is listed for `leeway_s` longer than its lifetime.
    pub(crate) async fn live_tokens(
        &mut self,
        app: &App,
        key: Option<&KeyId>,
        now: UnixSeconds,
        leeway_s: u64,
    ) -> Result<u64, StoreError> {
        let issued: Option<i64> = sqlx::query_scalar(concat!(
            "SELECT CAST(SUM(i.issued) AS BIGINT) FROM issued_tokens i",
            not_ended!("i"),
            "WHERE i.app = $1 AND ($2 = '' OR i.app_key = $2) AND i.expires_hour >= $3",
        ))
        .bind(app.id.as_str())
        .bind(key.map_or("", KeyId::as_str))
        .bind(hour(now))
        .fetch_one(self.connection())
        .await?;
        // Only revoked tokens that are in the counts; others would hide live tokens.
        let revoked: i64 = sqlx::query_scalar(concat!(
            "SELECT COUNT(*) FROM revocations r",
            not_ended!("r"),
            "WHERE r.app = $1 AND ($2 = '' OR r.app_key = $2) AND r.expires_at >= $3",
        ))
        .bind(app.id.as_str())
        .bind(key.map_or("", KeyId::as_str))
        .bind(hour(now) * counted(HOUR) + counted(leeway_s))
        .fetch_one(self.connection())
        .await?;
        let issued = number(issued.unwrap_or_default(), "issued_tokens")?;
        Ok(issued.saturating_sub(number(revoked, "revocations")?))
    }

    /// For each signing key, the tokens that have not expired and were not revoked by a cutoff of their app, key or
    /// workspace. Tokens revoked one by one are included.
    pub(crate) async fn live_tokens_by_signing_key(
        &mut self,
        now: UnixSeconds,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        let rows: Vec<(String, i64)> = sqlx::query_as(concat!(
            "SELECT i.signing_key, CAST(SUM(i.issued) AS BIGINT) FROM issued_tokens i",
            not_ended!("i"),
            "WHERE i.expires_hour >= $1 GROUP BY i.signing_key",
        ))
        .bind(hour(now))
        .fetch_all(self.connection())
        .await?;
        rows.into_iter()
            .map(|(key, count)| Ok((key, number(count, "issued_tokens")?)))
            .collect()
    }
}
