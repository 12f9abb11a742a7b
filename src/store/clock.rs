//! The time that has certainly passed, kept over restarts, and the clock of the database.

use super::database::{Kind, Store};
use super::error::StoreError;
use super::rows::{moment, seconds};
use crate::domain::time::UnixSeconds;

impl Store {
    /// The trusted time that was kept last; 1970 where none was.
    pub(crate) async fn clock_mark(&self) -> Result<UnixSeconds, StoreError> {
        let trusted: i64 = sqlx::query_scalar("SELECT trusted FROM clock_mark WHERE only_row = 1")
            .fetch_one(&self.readers)
            .await?;
        moment(trusted, "clock_mark")
    }

    /// Keeps the trusted time. One that is earlier than the one kept takes its place where it is to be `lowered`.
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

    /// What the database's clock shows, where several processes share the database; none for a file.
    pub(crate) async fn database_time(&self) -> Result<Option<UnixSeconds>, StoreError> {
        match self.kind {
            Kind::Sqlite { .. } => Ok(None),
            Kind::Postgres(_) => Ok(Some(super::postgres::time(&self.readers).await?)),
        }
    }
}
