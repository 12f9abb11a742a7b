//! The change feed, replay protection, and when keys were last used.

use super::database::{ReadTx, Store};
use super::error::StoreError;
use super::rows::{moment, number, seconds};
use crate::domain::ids::KeyId;
use crate::domain::time::UnixSeconds;
use crate::fleet::position::{PolicyChain, Position};

/// The most rows that one purge deletes, so that it does not block writers for long.
const PURGE_ROWS: u32 = 1_000;

/// One version of the change feed.
#[derive(Debug)]
pub struct FeedEntry {
    pub version: u64,
    /// The chain up to this version.
    pub chain: PolicyChain,
    pub body: String,
    pub at: UnixSeconds,
}

impl Store {
    /// Deletes used assertions and revocations that expired before `ended_before`, up to a bound. Returns whether
    /// there may be more.
    pub(crate) async fn purge(&self, ended_before: UnixSeconds) -> Result<bool, StoreError> {
        let before = seconds(ended_before);
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

    /// Records when app keys and API tokens were last used, in one transaction.
    pub(crate) async fn record_uses(
        &self,
        app_keys: &[(KeyId, UnixSeconds)],
        api_tokens: &[(String, UnixSeconds)],
    ) -> Result<(), StoreError> {
        // Always in the same order, so that two processes cannot deadlock.
        let mut app_keys: Vec<_> = app_keys.iter().collect();
        app_keys.sort_by_key(|(key, _)| key.as_str());
        let mut api_tokens: Vec<_> = api_tokens.iter().collect();
        api_tokens.sort_by_key(|(token, _)| token.as_str());
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

    /// Up to `limit` versions after `position`, in order. None where the feed does not lead there from `position`: it
    /// no longer reaches back so far, or the database has another history.
    pub(crate) async fn changes_after(
        &self,
        position: Position,
        limit: u32,
    ) -> Result<Option<Vec<FeedEntry>>, StoreError> {
        const TABLE: &str = "policy_changes";
        let rows: Vec<(i64, String, i64, String)> = sqlx::query_as(
            "SELECT version, body, at, chain FROM policy_changes WHERE version >= $1 ORDER BY version LIMIT $2",
        )
        .bind(i64::try_from(position.version).unwrap_or(i64::MAX))
        .bind(i64::from(limit) + 1)
        .fetch_all(&self.readers)
        .await?;
        let mut entries = rows.into_iter().map(|(version, body, at, chain)| {
            Ok(FeedEntry {
                version: number(version, TABLE)?,
                chain: chain.parse().map_err(|_| StoreError::Corrupted(TABLE))?,
                at: moment(at, TABLE)?,
                body,
            })
        });
        if position.version == 0 {
            if position != Position::START {
                return Ok(None);
            }
        } else {
            // The version itself is kept as long as the one after it.
            match entries.next().transpose()? {
                Some(own) if own.version == position.version && own.chain == position.chain => {}
                _ => return Ok(None),
            }
        }
        let entries: Vec<FeedEntry> = entries.collect::<Result<_, StoreError>>()?;
        let gap = entries
            .first()
            .is_some_and(|first| first.version != position.version + 1);
        Ok((!gap).then_some(entries))
    }
}

impl ReadTx {
    /// The newest position of this view.
    pub(crate) async fn policy_position(&mut self) -> Result<Position, StoreError> {
        let (version, chain): (i64, String) =
            sqlx::query_as("SELECT version, chain FROM policy_version WHERE only_row = 1")
                .fetch_one(self.connection())
                .await?;
        Ok(Position {
            version: number(version, "policy_version")?,
            chain: chain
                .parse()
                .map_err(|_| StoreError::Corrupted("policy_version"))?,
        })
    }

    /// The policy version of this view.
    pub(crate) async fn policy_version(&mut self) -> Result<u64, StoreError> {
        let version: i64 = sqlx::query_scalar("SELECT version FROM policy_version WHERE only_row = 1")
            .fetch_one(self.connection())
            .await?;
        number(version, "policy_version")
    }
}
