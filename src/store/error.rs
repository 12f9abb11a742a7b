//! Errors of the store.

use super::schema::MIGRATOR;
use crate::store_location::StoreLocation;
use sqlx::migrate::MigrateError;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why an operation of the store failed. The messages name a store without its password.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("cannot write to the store `{}`: {problem}; choose another path or change its permissions", path.display())]
    NotWritable { path: PathBuf, problem: io::Error },
    #[error("cannot read the store `{}`: {problem}", path.display())]
    NotReadable { path: PathBuf, problem: io::Error },
    #[error(
        "the store `{store}` has schema version {found}, this build needs {known}; use the build that serves from it"
    )]
    OtherSchema {
        store: StoreLocation,
        found: i64,
        known: i64,
    },
    #[error("the store `{}` is in use by another portcullis process; stop that process or choose another path", .0.display())]
    Locked(PathBuf),
    #[error("cannot connect to the store `{store}`: {problem}; {hint}")]
    NotReached {
        store: StoreLocation,
        problem: sqlx::Error,
        hint: &'static str,
    },
    #[error("cannot use the store `{store}`: {problem}")]
    Unsuitable { store: StoreLocation, problem: String },
    #[error(
        "the store `{store}` was written by a newer portcullis: it has schema version {found}, this build knows {known}; run the newer build"
    )]
    NewerSchema {
        store: StoreLocation,
        found: i64,
        known: i64,
    },
    #[error("`{store}` is not a portcullis store: {problem}")]
    NotAStore {
        store: StoreLocation,
        problem: MigrateError,
    },
    #[error("cannot copy the store `{}`: {problem}", .path.display())]
    NotCopied { path: PathBuf, problem: sqlx::Error },
    #[error("store corrupted: invalid row in `{0}`")]
    Corrupted(&'static str),
    #[error("store unavailable: {0}")]
    Unavailable(sqlx::Error),
    #[error("no space left for the store: {0}; free disk space")]
    Full(sqlx::Error),
    #[error("connection to the store lost during a commit; the change may have been committed: {0}")]
    Unconfirmed(sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if is_out_of_space(&error) {
            Self::Full(error)
        } else {
            Self::Unavailable(error)
        }
    }
}

impl StoreError {
    /// Every value of [`Self::failure`].
    pub const FAILURES: [&'static str; 3] = ["full", "unavailable", "unconfirmed"];

    /// Whether the store cannot be reached, as opposed to a failure of one statement.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Unconfirmed(_))
    }

    /// The kind of failure as a metric label, for failures that are not about the content of the store.
    #[must_use]
    pub const fn failure(&self) -> Option<&'static str> {
        match self {
            Self::Full(_) => Some("full"),
            Self::Unavailable(_) => Some("unavailable"),
            Self::Unconfirmed(_) => Some("unconfirmed"),
            _ => None,
        }
    }
}

/// The error of a failed migration.
pub(crate) fn migration_error(store: StoreLocation, error: MigrateError) -> StoreError {
    let known = MIGRATOR.iter().map(|step| step.version).max().unwrap_or_default();
    match error {
        MigrateError::VersionMissing(found) if found > known => {
            StoreError::NewerSchema { store, found, known }
        }
        // Not about the content of the store: the disk is full, memory ran out, the network is down.
        MigrateError::Execute(error) if !is_not_a_database(&error) => error.into(),
        problem => StoreError::NotAStore { store, problem },
    }
}

/// Whether the file is no database (`SQLITE_NOTADB`).
pub(crate) fn is_not_a_database(error: &sqlx::Error) -> bool {
    has_code(error, &["26"])
}

/// Whether there is no space left: `SQLITE_FULL`, and `disk_full` of `PostgreSQL`.
pub(crate) fn is_out_of_space(error: &sqlx::Error) -> bool {
    has_code(error, &["13", "53100"])
}

pub(crate) fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| codes.contains(&&*code))
}
