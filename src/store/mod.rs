//! Storage. SQL appears in this folder and nowhere else.
//!
//! A change is one [`WriteTx`]: it reads, decides nothing, writes, and [`WriteTx::commit`] gives it the next
//! policy version and a row of the change feed in the same transaction. What must be read together is read
//! in one [`ReadTx`]. What exists now is in `directory` and `members`; what happened is in `ledger`.
//!
//! `SQLite` in WAL mode, three sets of connections: one writer whose commits are on disk before they are
//! acknowledged (`synchronous = FULL`), one for the ledger rows that may be lost with the machine's power but
//! not with the process (`NORMAL`), and readers that never wait for either.

pub mod audit;
pub mod directory;
pub mod ledger;
pub mod members;
pub mod replay;
pub mod sources;
pub mod traffic;

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, SqliteConnection, Transaction};
use thiserror::Error;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::domain::time::UnixSeconds;
use replay::Replays;

/// Changes kept for gateways that resume. One that was away for longer gets a snapshot.
pub const CHANGES_KEPT: u64 = 10_000;

/// Connections that only read.
const READERS: u32 = 4;

/// How long a statement waits for another connection's write before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

static MIGRATOR: Migrator = sqlx::migrate!("src/store/migrations");

/// Why the store cannot be used. The sentences are shown to people.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("the store `{}` cannot be written: {problem}; choose another path or change its permissions", path.display())]
    NotWritable { path: PathBuf, problem: io::Error },
    #[error("the store `{}` is in use by another portcullis process; stop that one or choose another path", .0.display())]
    Locked(PathBuf),
    #[error("the store `{}` was written by a newer portcullis: it has schema step {found}, and this build knows {known}; run the newer build", path.display())]
    NewerSchema { path: PathBuf, found: i64, known: i64 },
    #[error("the file `{}` is not a portcullis store: {problem}", path.display())]
    NotAStore { path: PathBuf, problem: MigrateError },
    #[error("the store is damaged: a row of {0} does not make sense")]
    Damaged(&'static str),
    #[error("the store is not available: {0}")]
    Unavailable(#[from] sqlx::Error),
}

/// The store of one control plane.
#[derive(Debug)]
pub struct Store {
    writer: SqlitePool,
    ledger: SqlitePool,
    readers: SqlitePool,
    /// Whose turn it is to write. `SQLite` lets one connection write and makes the others poll; a queue is
    /// fair, and nobody sleeps longer than they must.
    turn: Arc<Mutex<()>>,
    /// Held while the store is open. The operating system lets go of it however the process ends.
    lock: File,
    replays: Replays,
}

/// A consistent view: everything read in it is as of one moment.
pub struct ReadTx(Transaction<'static, Sqlite>);

/// A change in the making. Dropped without [`WriteTx::commit`], it never happened.
pub struct WriteTx {
    read: ReadTx,
    _turn: OwnedMutexGuard<()>,
}

impl Store {
    /// Opens the store at `path`, making it where there is none and bringing its schema up to date.
    ///
    /// # Errors
    /// [`StoreError`] in a sentence that says what to do.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let lock = prepare_files(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let writer = pool(1, options.clone().synchronous(SqliteSynchronous::Full)).await;
        let writer = writer.map_err(|error| opening_error(path, MigrateError::Execute(error)))?;
        MIGRATOR
            .run(&writer)
            .await
            .map_err(|error| opening_error(path, error))?;
        let ledger = pool(1, options.clone().synchronous(SqliteSynchronous::Normal)).await?;
        let readers = pool(READERS, options.pragma("query_only", "1")).await?;
        let turn = Arc::default();
        Ok(Self {
            writer,
            replays: Replays::start(ledger.clone(), Some(Arc::clone(&turn))),
            ledger,
            readers,
            turn,
            lock,
        })
    }

    /// Begins a change. One change is made at a time; others wait here.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn write(&self) -> Result<WriteTx, StoreError> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        Ok(WriteTx {
            read: ReadTx(self.writer.begin_with("BEGIN IMMEDIATE").await?),
            _turn: turn,
        })
    }

    /// Begins a consistent view.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn read(&self) -> Result<ReadTx, StoreError> {
        Ok(ReadTx(self.readers.begin().await?))
    }

    /// Closes the connections, which folds the write-ahead log into the file, and gives up the lock.
    pub async fn close(&self) {
        self.readers.close().await;
        self.ledger.close().await;
        self.writer.close().await;
        // Whoever still holds this store can do nothing with it; the next one need not wait for them.
        let _ = self.lock.unlock();
    }
}

impl ReadTx {
    fn connection(&mut self) -> &mut SqliteConnection {
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
    /// [`StoreError::Unavailable`]; nothing of the change is kept then.
    pub async fn commit(mut self, body: &str, at: UnixSeconds) -> Result<u64, StoreError> {
        // INVARIANT: the counter is a row of this transaction, not a sequence: versions have no gaps, and
        // nobody sees a version before all the versions below it.
        let version: i64 = sqlx::query_scalar(
            "UPDATE policy_version SET version = version + 1 WHERE only_row = 1 RETURNING version",
        )
        .fetch_one(self.connection())
        .await?;
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
        self.read.0.commit().await?;
        number(version, "policy_version")
    }
}

/// Makes the folder and the file where they are missing, readable by their owner alone, and takes the lock.
fn prepare_files(path: &Path) -> Result<File, StoreError> {
    let not_writable = |problem| StoreError::NotWritable {
        path: path.to_owned(),
        problem,
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(not_writable)?;
    }
    let private = |path: &Path| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
    };
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock = private(Path::new(&lock_path)).map_err(not_writable)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(StoreError::Locked(path.to_owned())),
        Err(TryLockError::Error(problem)) => return Err(not_writable(problem)),
    }
    // SQLite gives its log and index files the mode of the database file.
    private(path).map_err(not_writable)?;
    Ok(lock)
}

async fn pool(connections: u32, options: SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(BUSY_TIMEOUT)
        // The connections are in this process: there is no network that could have cut them.
        .test_before_acquire(false)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_with(options)
        .await
}

fn opening_error(path: &Path, error: MigrateError) -> StoreError {
    let known = MIGRATOR.iter().map(|step| step.version).max().unwrap_or_default();
    match error {
        MigrateError::VersionMissing(found) if found > known => StoreError::NewerSchema {
            path: path.to_owned(),
            found,
            known,
        },
        // Anything that is not about the file's content: the disk is full, memory ran out.
        MigrateError::Execute(error)
            if error
                .as_database_error()
                .is_none_or(|error| !is_another_kind(error)) =>
        {
            StoreError::Unavailable(error)
        }
        problem => StoreError::NotAStore {
            path: path.to_owned(),
            problem,
        },
    }
}

/// Whether the file is no database at all (`SQLITE_NOTADB`).
fn is_another_kind(error: &dyn DatabaseError) -> bool {
    error.code().as_deref() == Some("26")
}

/// A moment as the columns hold it. The year 292 billion is far enough.
fn seconds(moment: UnixSeconds) -> i64 {
    i64::try_from(moment.0).unwrap_or(i64::MAX)
}

fn moment(column: i64, table: &'static str) -> Result<UnixSeconds, StoreError> {
    number(column, table).map(UnixSeconds)
}

fn number(column: i64, table: &'static str) -> Result<u64, StoreError> {
    u64::try_from(column).map_err(|_| StoreError::Damaged(table))
}
