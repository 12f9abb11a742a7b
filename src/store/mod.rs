//! Storage. SQL appears in this folder and nowhere else.
//!
//! A change is one [`WriteTx`]: it takes the next policy version, reads, decides nothing, writes, and
//! [`WriteTx::commit`] adds a row of the change feed in the same transaction. What must be read together is
//! read in one [`ReadTx`]. What exists now is in `directory` and `members`; what happened is in `ledger`.
//!
//! The same SQL runs on `SQLite` and on `PostgreSQL`, through sqlx's `Any` driver: parameters are `$1`, columns
//! are BIGINT or TEXT (a truth value is 0 or 1), a cast, a function or a keyword that only one of the two knows
//! is not used. What differs between them is in `sqlite` and `postgres`: how to open, and how other processes
//! hear of a change.
//!
//! Several processes may share one `PostgreSQL`. Then nothing that a process remembers is the truth: read it in
//! the transaction that acts on it. Whatever must happen once among them happens in a [`WriteTx`], which only
//! one process has at a time: look whether it is still to be done, do it, commit. Rows that must be unique
//! without a change of the policy are claimed by `INSERT ... ON CONFLICT DO NOTHING` and the number of rows it
//! says, as [`ledger`] does with assertions.

pub mod api_tokens;
pub mod audit;
pub mod directory;
pub(crate) mod error;
mod identities;
pub mod issued;
pub mod leaked;
pub mod ledger;
pub mod members;
pub mod policy;
mod postgres;
pub mod replay;
pub mod retry;
pub mod revocation;
pub(crate) mod rows;
pub mod search;
pub mod sessions;
pub mod signing_keys;
pub mod sources;
mod sqlite;
pub mod standing;
pub mod traffic;

use crate::store::error::migration_error;
use crate::store::rows::{number, seconds};
use std::fs::File;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Any, AnyConnection, AnyPool, Transaction};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::domain::time::UnixSeconds;
use crate::store::replay::Replays;
use crate::store_location::{DatabaseUrl, StoreLocation};

pub use crate::store::error::StoreError;
pub use crate::store::postgres::Notices;
pub use crate::store::sqlite::backup;

/// Changes kept for gateways that resume. One that was away for longer gets a snapshot.
pub const CHANGES_KEPT: u64 = 10_000;

/// How long a statement waits for another connection's write, and a caller for a connection.
const WAIT: Duration = Duration::from_secs(5);

pub(crate) static MIGRATOR: Migrator = sqlx::migrate!("src/store/migrations");

/// The store of one control plane.
#[derive(Debug)]
pub struct Store {
    /// One connection: changes are made one after the other.
    writer: AnyPool,
    /// For the rows beside the policy: assertions used, last uses.
    ledger: AnyPool,
    readers: AnyPool,
    /// Whose turn it is to write. A queue is fair, and nobody polls for a lock of the database or holds a
    /// connection while waiting for one.
    turn: Arc<Mutex<()>>,
    replays: Replays,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Sqlite {
        /// Held while the store is open. The operating system lets go of it however the process ends.
        lock: File,
    },
    Postgres(DatabaseUrl),
}

/// A consistent view: everything read in it is as of one moment.
pub struct ReadTx(Transaction<'static, Any>);

/// A change in the making. Dropped without [`WriteTx::commit`], it never happened.
pub struct WriteTx {
    read: ReadTx,
    /// The version that the change will be.
    version: i64,
    /// Whether other processes are to be told.
    shared: bool,
    _turn: OwnedMutexGuard<()>,
}

/// Something in the making that the trail tells of and that is no change of the policy. Dropped without
/// [`NoteTx::commit`], it never happened.
pub struct NoteTx(WriteTx);

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
    pub async fn open_beside(location: &StoreLocation) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let store = match location {
            StoreLocation::Sqlite(path) => sqlite::open_beside(path).await,
            StoreLocation::Postgres(url) => postgres::open_beside(url).await,
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

    /// Begins a change. One change is made at a time, by whichever process; others wait here.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn write(&self) -> Result<WriteTx, StoreError> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let mut read = ReadTx(self.begin_change().await?);
        // INVARIANT: the counter is a row of this transaction, not a sequence: versions have no gaps, and
        // nobody sees a version before all the versions below it. It is raised first: its row is the lock
        // that keeps the changes of all processes one after the other.
        let version = sqlx::query_scalar(
            "UPDATE policy_version SET version = version + 1 WHERE only_row = 1 RETURNING version",
        )
        .fetch_one(read.connection())
        .await?;
        Ok(WriteTx {
            read,
            version,
            shared: self.is_shared(),
            _turn: turn,
        })
    }

    /// Begins what the trail tells of and no gateway hears of: it has its turn among the changes, since the trail
    /// is one chain, and makes no version.
    pub(crate) async fn note(&self) -> Result<NoteTx, StoreError> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let mut read = ReadTx(self.begin_change().await?);
        // The row that keeps the changes of all processes apart is taken, and left as it is.
        let version = sqlx::query_scalar(
            "UPDATE policy_version SET version = version WHERE only_row = 1 RETURNING version",
        )
        .fetch_one(read.connection())
        .await?;
        Ok(NoteTx(WriteTx {
            read,
            version,
            shared: self.is_shared(),
            _turn: turn,
        }))
    }

    async fn begin_change(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        match self.kind {
            Kind::Sqlite { .. } => self.writer.begin_with("BEGIN IMMEDIATE").await,
            Kind::Postgres(_) => self.writer.begin().await,
        }
    }

    /// Begins a transaction beside the policy: no version, and nobody is told.
    async fn begin_ledger(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        match self.kind {
            Kind::Sqlite { .. } => self.ledger.begin_with("BEGIN IMMEDIATE").await,
            Kind::Postgres(_) => self.ledger.begin().await,
        }
    }

    /// Waits for the turn to write a row beside the policy. `PostgreSQL` orders such writes by itself.
    async fn ledger_turn(&self) -> Option<OwnedMutexGuard<()>> {
        match self.kind {
            Kind::Sqlite { .. } => Some(Arc::clone(&self.turn).lock_owned().await),
            Kind::Postgres(_) => None,
        }
    }

    /// Begins a consistent view.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn read(&self) -> Result<ReadTx, StoreError> {
        // Readers' connections read only, and in PostgreSQL as of one moment: their openers have set them so.
        Ok(ReadTx(self.readers.begin().await?))
    }

    /// Whether other processes may use this store at the same time.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        matches!(self.kind, Kind::Postgres(_))
    }

    /// Word of the changes that other processes make.
    #[must_use]
    pub fn notices(&self) -> Notices {
        match &self.kind {
            Kind::Sqlite { .. } => Notices::silent(),
            Kind::Postgres(url) => Notices::of(url.clone()),
        }
    }

    /// Closes the connections, which folds a write-ahead log into its file, and gives up the lock.
    pub async fn close(&self) {
        self.readers.close().await;
        self.ledger.close().await;
        self.writer.close().await;
        if let Kind::Sqlite { lock } = &self.kind {
            // Whoever still holds this store can do nothing with it; the next one need not wait for them.
            let _ = lock.unlock();
        }
    }
}

impl ReadTx {
    fn connection(&mut self) -> &mut AnyConnection {
        &mut self.0
    }
}

impl Deref for WriteTx {
    type Target = ReadTx;

    fn deref(&self) -> &ReadTx {
        &self.read
    }
}

impl DerefMut for WriteTx {
    fn deref_mut(&mut self) -> &mut ReadTx {
        &mut self.read
    }
}

impl WriteTx {
    /// Makes the change durable as the next policy version, with `body` as what gateways are told of it.
    /// Answers the version.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Full`]: nothing of the change is kept.
    /// [`StoreError::Unconfirmed`]: the database was lost between the commit and its answer.
    pub async fn commit(mut self, body: &str, at: UnixSeconds) -> Result<u64, StoreError> {
        let version = self.version;
        sqlx::query("INSERT INTO policy_changes (version, body, at) VALUES ($1, $2, $3)")
            .bind(version)
            .bind(body)
            .bind(seconds(at))
            .execute(self.connection())
            .await?;
        sqlx::query("DELETE FROM policy_changes WHERE version <= $1")
            .bind(version.saturating_sub_unsigned(CHANGES_KEPT))
            .execute(self.connection())
            .await?;
        if self.shared {
            postgres::notify(self.connection(), version).await?;
        }
        let committed = self.read.0.commit().await;
        committed.map_err(|error| {
            // A file that does not take a commit does not have it; a server may, and its word was lost.
            if self.shared && error.as_database_error().is_none() {
                StoreError::Unconfirmed(error)
            } else {
                error.into()
            }
        })?;
        number(version, "policy_version")
    }
}

impl NoteTx {
    fn connection(&mut self) -> &mut AnyConnection {
        self.0.connection()
    }

    /// Adds a row to the trail, as [`WriteTx::append_audit`] does.
    pub(crate) async fn append_audit(
        &mut self,
        row: &crate::model::audit::AuditRow,
    ) -> Result<(), StoreError> {
        self.0.append_audit(row).await
    }

    /// Makes it durable.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        Ok(self.0.read.0.commit().await?)
    }
}
