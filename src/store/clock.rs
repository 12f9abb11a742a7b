//! The trusted time that survives restarts, and the clock of the database.

use super::database::{Kind, Store};
use super::error::StoreError;
use super::rows::{moment, seconds};
use crate::domain::time::UnixSeconds;

impl Store {
    /// The stored trusted time; 1970 if none is stored.
    pub(crate) async fn clock_mark(&self) -> Result<UnixSeconds, StoreError> {
        let trusted: i64 = sqlx::query_scalar("SELECT trusted FROM clock_mark WHERE only_row = 1")
            .fetch_one(&self.readers)
            .await?;
        moment(trusted, "clock_mark")
    }

    /// Stores the trusted time. An earlier time replaces a later one only with `lowered`.
    pub(crate) async fn keep_clock_mark(
        &self,
        trusted: UnixSeconds,
        lowered: bool,
    ) -> Result<(), StoreError> {
        let _turn = self.ledger_turn().await;
        sqlx::query("UPDATE clock_mark SET trusted = $1 WHERE only_row = 1 AND (trusted < $1 OR $2 = 1)")
            .bind(seconds(trusted))
            .bind(i64::from(lowered))
            .execute(&self.ledger)
            .await?;
        Ok(())
    }

    /// The database's clock if several processes share the database; `None` for a file.
    pub(crate) async fn database_time(&self) -> Result<Option<UnixSeconds>, StoreError> {
        match self.kind {
            Kind::Sqlite { .. } => Ok(None),
            Kind::Postgres(_) => Ok(Some(super::postgres::time(&self.readers).await?)),
        }
    }
}
