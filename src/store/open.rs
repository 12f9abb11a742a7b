//! Opening a store: to serve from it, to read it, or to change it next to its server.

use sqlx::migrate::MigrateError;

use super::database::{Kind, Store};
use super::error::{StoreError, migration_error};
use super::postgres;
use super::postgres::Notices;
use super::schema::MIGRATOR;
use super::sqlite;
use crate::store_location::StoreLocation;

impl Store {
    /// Opens a store, making it where there is none and bringing its schema up to date.
    ///
    /// # Errors
    /// [`StoreError`] in a sentence that says what to do.
    pub async fn open(location: &StoreLocation) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        match location {
            StoreLocation::Sqlite(path) => sqlite::open(path).await,
            StoreLocation::Postgres(url) => postgres::open(url).await,
        }
    }

    /// Opens a store to read it beside the processes that serve from it. Its schema is left as it is.
    ///
    /// # Errors
    /// [`StoreError::OtherSchema`] where another build made it; [`StoreError`] where it cannot be opened.
    pub async fn open_to_read(location: &StoreLocation) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let store = match location {
            StoreLocation::Sqlite(path) => sqlite::open_to_read(path).await,
            StoreLocation::Postgres(url) => postgres::open_to_read(url).await,
        }?;
        store.of_this_schema(location).await
    }

    /// Opens a store to change it beside the processes that serve from it: they take over what is changed as
    /// soon as they look. Its schema is left as it is, and nothing is made where there is no store.
    ///
    /// # Errors
    /// [`StoreError::OtherSchema`] where another build made it; [`StoreError`] where it cannot be opened.
    pub async fn open_for_admin(location: &StoreLocation) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let store = match location {
            StoreLocation::Sqlite(path) => sqlite::open_for_admin(path).await,
            StoreLocation::Postgres(url) => postgres::open_for_admin(url).await,
        }?;
        store.of_this_schema(location).await
    }

    /// The store, if this build made its schema.
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

    /// Versions that other processes commit.
    #[must_use]
    pub fn notices(&self) -> Notices {
        match &self.kind {
            Kind::Sqlite { .. } => Notices::silent(),
            Kind::Postgres(url) => Notices::of(url.clone()),
        }
    }
}
