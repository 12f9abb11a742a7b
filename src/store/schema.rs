//! The schema, in numbered steps.

use sqlx::migrate::Migrator;

/// The steps that bring a store to the schema of this build.
pub(crate) static MIGRATOR: Migrator = sqlx::migrate!("src/store/migrations");
