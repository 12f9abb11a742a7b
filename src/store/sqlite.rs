//! The store in a file: `SQLite` in WAL mode, for one process at a time.
//!
//! Three sets of connections: one writer whose commits are on disk before they are confirmed (`synchronous = FULL`);
//! one for ledger rows, which survive a crash of the process but perhaps not of the machine (`NORMAL`); and readers,
//! which never wait for either.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::MigrateError;
use sqlx::{AnyConnection, AnyPool, ConnectOptions as _, Connection as _};

use super::database::{Kind, Store, WAIT};
use super::error::{StoreError, migration_error};
use super::replay::Replays;
use super::rows::number;
use super::schema::MIGRATOR;
use crate::store_location::StoreLocation;

/// Connections that only read.
const READERS: u32 = 4;

const WRITER: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL";
const LEDGER: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL";
const READER: &str = "PRAGMA journal_mode = WAL; PRAGMA query_only = 1";

pub(super) async fn open(path: &Path) -> Result<Store, StoreError> {
    let lock = prepare_files(path)?;
    let options = options(path)?;
    let failed = |error| migration_error(StoreLocation::Sqlite(path.to_owned()), error);
    // A pool would retry opening a file that is no database.
    migrate(&options).await.map_err(failed)?;
    connected(&options, lock).await
}

/// Without the lock: `SQLite` serialises the writes of two processes, since each transaction begins with a write
/// lock.
pub(super) async fn open_for_admin(path: &Path) -> Result<Store, StoreError> {
    let file = existing(path)?;
    connected(&options(path)?, file).await
}

async fn connected(options: &AnyConnectOptions, lock: File) -> Result<Store, StoreError> {
    let turn = Arc::default();
    let ledger = pool(1, options, LEDGER).await?;
    Ok(Store {
        writer: pool(1, options, WRITER).await?,
        replays: Replays::start(ledger.clone(), Some(Arc::clone(&turn))),
        ledger,
        readers: pool(READERS, options, READER).await?,
        turn,
        kind: Kind::Sqlite { lock },
    })
}

/// The file of a store that must exist: `SQLite` would create an empty one.
fn existing(path: &Path) -> Result<File, StoreError> {
    File::open(path).map_err(|problem| StoreError::NotReadable {
        path: path.to_owned(),
        problem,
    })
}

pub(super) async fn open_to_read(path: &Path) -> Result<Store, StoreError> {
    let lock = existing(path)?;
    let readers = pool(READERS, &options(path)?, READER).await?;
    let turn = Arc::default();
    Ok(Store {
        writer: readers.clone(),
        replays: Replays::start(readers.clone(), Some(Arc::clone(&turn))),
        ledger: readers.clone(),
        readers,
        turn,
        kind: Kind::Sqlite { lock },
    })
}

async fn migrate(options: &AnyConnectOptions) -> Result<(), MigrateError> {
    let mut connection = options.connect().await?;
    sqlx::raw_sql(WRITER).execute(&mut connection).await?;
    MIGRATOR.run(&mut connection).await?;
    Ok(connection.close().await?)
}

/// The driver takes a URL with percent-encoded paths. By default it waits five seconds for another connection's write
/// and enforces foreign keys.
fn options(path: &Path) -> Result<AnyConnectOptions, StoreError> {
    let mut url = "sqlite:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() {
            url.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(url, "%{byte:02X}");
        }
    }
    Ok(url.parse()?)
}

async fn pool(
    connections: u32,
    options: &AnyConnectOptions,
    pragmas: &'static str,
) -> Result<AnyPool, sqlx::Error> {
    AnyPoolOptions::new()
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(WAIT)
        // The connections are in this process: no network can cut them.
        .test_before_acquire(false)
        .max_lifetime(None)
        .idle_timeout(None)
        .after_connect(move |connection: &mut AnyConnection, _| {
            Box::pin(async move {
                sqlx::raw_sql(pragmas).execute(connection).await?;
                Ok(())
            })
        })
        .after_release(|connection: &mut AnyConnection, _| Box::pin(is_out_of_transactions(connection)))
        .connect_with(options.clone())
        .await
}

/// Whether a returned connection can be reused. If the disk is full, `SQLite` rolls back a transaction without being
/// asked. The driver's own rollback then fails, and the driver would consider the connection in that transaction
/// forever.
async fn is_out_of_transactions(connection: &mut AnyConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // A rollback may be in progress: it has finished when the next command has.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

/// Copies the store at `from`, which may be in use, to the new file `to`, readable only by its owner. The copy is
/// consistent. Returns its policy version.
///
/// # Errors
/// [`StoreError`]; nothing is left at `to` then, and an existing file is unchanged.
pub async fn backup(from: &Path, to: &Path) -> Result<u64, StoreError> {
    sqlx::any::install_default_drivers();
    let not_written = |problem| StoreError::NotWritable {
        path: to.to_owned(),
        problem,
    };
    let text = to
        .to_str()
        .ok_or_else(|| not_written(std::io::ErrorKind::InvalidFilename.into()))?;
    let mut new = OpenOptions::new();
    let file = new.write(true).create_new(true).mode(0o600).open(to);
    let file = file.map_err(not_written)?;
    let copied = async {
        let mut store = options(from)?.connect().await?;
        // An empty file would pass as a store; a real one always has this row.
        sqlx::query("SELECT version FROM policy_version")
            .fetch_one(&mut store)
            .await?;
        sqlx::query("VACUUM INTO $1")
            .bind(text)
            .execute(&mut store)
            .await?;
        store.close().await?;
        let mut copy = options(to)?.connect().await?;
        let version: i64 = sqlx::query_scalar("SELECT version FROM policy_version")
            .fetch_one(&mut copy)
            .await?;
        copy.close().await?;
        Ok(version)
    };
    let copied: Result<i64, StoreError> = copied.await;
    let done = copied.map_err(|error| match error {
        StoreError::Unavailable(problem) | StoreError::Full(problem) => StoreError::NotCopied {
            path: from.to_owned(),
            problem,
        },
        other => other,
    });
    let done = done.and_then(|version| {
        file.sync_all().map_err(not_written)?;
        number(version, "policy_version")
    });
    if done.is_err() {
        let _ = std::fs::remove_file(to);
    }
    done
}

/// Puts a copy of the store at `from` in the place of the store at `path`, which no process may have open. Returns where
/// the store before it is, if there was one.
///
/// # Errors
/// [`StoreError`]; the store at `path` is unchanged then.
pub async fn replace(path: &Path, from: &Path) -> Result<Option<PathBuf>, StoreError> {
    let beside = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let not_writable = |problem| StoreError::NotWritable {
        path: path.to_owned(),
        problem,
    };
    let fresh = beside(".restoring");
    let _ = std::fs::remove_file(&fresh);
    backup(from, &fresh).await?;
    let kept = beside(".before-restore");
    let existed = path.exists();
    if existed {
        // With its log, which may hold the last changes.
        for ending in ["-wal", "-shm"] {
            let mut to = kept.as_os_str().to_owned();
            to.push(ending);
            match std::fs::rename(beside(ending), &to) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    let _ = std::fs::remove_file(&to);
                }
                Err(problem) => return Err(not_writable(problem)),
            }
        }
        std::fs::rename(path, &kept).map_err(not_writable)?;
    }
    std::fs::rename(&fresh, path).map_err(not_writable)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(not_writable)?;
    }
    Ok(existed.then_some(kept))
}

/// Creates the folder and the file if they do not exist, readable only by their owner, and takes the lock.
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
