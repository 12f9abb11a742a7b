//! Opening a store: to serve from it, to read it, or to change it next to its server.

use sqlx::migrate::MigrateError;

use super::database::{Kind, Store};
use super::error::{StoreError, migration_error};
use super::postgres;
use super::postgres::Notifications;
use super::schema::MIGRATOR;
use super::sqlite;
use crate::store_location::StoreLocation;

impl Store {
    /// Opens a store to serve from it. Creates it if it does not exist, and migrates its schema.
    ///
    /// # Errors
    /// [`StoreError`], which says what to do.
    pub async fn open(location: &StoreLocation) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        match location {
            StoreLocation::Sqlite(path) => sqlite::open(path).await,
            StoreLocation::Postgres(url) => postgres::open(url).await,
        }
    }

    /// Opens a store to read it next to the processes that serve from it. Does not migrate.
    ///
    /// # Errors
    /// [`StoreError::OtherSchema`] if another build migrated it; [`StoreError`] if it cannot be opened.
    pub async fn open_to_read(location: &StoreLocation) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let store = match location {
            StoreLocation::Sqlite(path) => sqlite::open_to_read(path).await,
            StoreLocation::Postgres(url) => postgres::open_to_read(url).await,
        }?;
        store.of_this_schema(location).await
    }

    /// Opens a store to change it next to the processes that serve from it. They apply the change when they next
    /// poll. Neither migrates nor creates a store.
    ///
    /// # Errors
    /// [`StoreError::OtherSchema`] if another build migrated it; [`StoreError`] if it cannot be opened.
    pub async fn open_for_admin(location: &StoreLocation) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let store = match location {
            StoreLocation::Sqlite(path) => sqlite::open_for_admin(path).await,
            StoreLocation::Postgres(url) => postgres::open_for_admin(url).await,
        }?;
        store.of_this_schema(location).await
    }

    /// The store, if its schema is the one of this build.
    async fn of_this_schema(self, location: &StoreLocation) -> Result<Self, StoreError> {
        let found: Result<Option<i64>, _> = sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations")
            .fetch_one(&self.readers)
            .await;
        let found = found.map_err(|error| migration_error(location.clone(), MigrateError::Execute(error)))?;
        let known = MIGRATOR.iter().map(|step| step.version).max();
        if found == known {
            return Ok(self);
        }
        Err(StoreError::OtherSchema {
            store: location.clone(),
            found: found.unwrap_or_default(),
            known: known.unwrap_or_default(),
        })
    }

    /// Policy versions that other processes commit.
    #[must_use]
    pub fn notifications(&self) -> Notifications {
        match &self.kind {
            Kind::Sqlite { .. } => Notifications::silent(),
            Kind::Postgres(url) => Notifications::of(url.clone()),
        }
    }
}
