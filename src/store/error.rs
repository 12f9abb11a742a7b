//! Why the store cannot be used.

use super::schema::MIGRATOR;
use crate::store_location::StoreLocation;
use sqlx::migrate::MigrateError;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why the store cannot be used. The sentences are shown to people. A store is named without its password.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("the store `{}` cannot be written: {problem}; choose another path or change its permissions", path.display())]
    NotWritable { path: PathBuf, problem: io::Error },
    #[error("the store `{}` cannot be read: {problem}", path.display())]
    NotReadable { path: PathBuf, problem: io::Error },
    #[error(
        "the store `{store}` has schema step {found}, and this build knows {known}; use the build that serves from it"
    )]
    OtherSchema {
        store: StoreLocation,
        found: i64,
        known: i64,
    },
    #[error("the store `{}` is in use by another portcullis process; stop that one or choose another path", .0.display())]
    Locked(PathBuf),
    #[error("the store `{store}` cannot be reached: {problem}; {hint}")]
    NotReached {
        store: StoreLocation,
        problem: sqlx::Error,
        hint: &'static str,
    },
    #[error("the store `{store}` cannot be used: {problem}")]
    Unsuitable { store: StoreLocation, problem: String },
    #[error(
        "the store `{store}` was written by a newer portcullis: it has schema step {found}, and this build knows {known}; run the newer build"
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
    #[error("the store `{}` cannot be copied: {problem}", .path.display())]
    NotCopied { path: PathBuf, problem: sqlx::Error },
    #[error("the store is damaged: a row of {0} does not make sense")]
    Damaged(&'static str),
    #[error("the store is not available: {0}")]
    Unavailable(sqlx::Error),
    #[error("the store has no room left: {0}; make room on its disk")]
    Full(sqlx::Error),
    /// The database was lost between a commit and its answer.
    #[error("the store was lost while it confirmed a change, which may be kept or not: {0}")]
    Unconfirmed(sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if is_about_room(&error) {
            Self::Full(error)
        } else {
            Self::Unavailable(error)
        }
    }
}

impl StoreError {
    /// Every word of [`Self::failure`].
    pub const FAILURES: [&'static str; 3] = ["full", "unavailable", "unconfirmed"];

    /// What kind of failure it is, in one word, where it is not about what the store holds.
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

/// What went wrong while the schema was brought up to date.
pub(crate) fn migration_error(store: StoreLocation, error: MigrateError) -> StoreError {
    let known = MIGRATOR.iter().map(|step| step.version).max().unwrap_or_default();
    match error {
        MigrateError::VersionMissing(found) if found > known => {
            StoreError::NewerSchema { store, found, known }
        }
        // Not about what the store holds: the disk is full, memory ran out, the network is down.
        MigrateError::Execute(error) if !is_about_the_file(&error) => error.into(),
        problem => StoreError::NotAStore { store, problem },
    }
}

/// Whether the file is no database at all (`SQLITE_NOTADB`).
pub(crate) fn is_about_the_file(error: &sqlx::Error) -> bool {
    has_code(error, &["26"])
}

/// Whether there is no room: `SQLITE_FULL`, and `disk_full` of `PostgreSQL`.
pub(crate) fn is_about_room(error: &sqlx::Error) -> bool {
    has_code(error, &["13", "53100"])
}

pub(crate) fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| codes.contains(&&*code))
}
