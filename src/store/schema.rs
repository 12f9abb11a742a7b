//! The schema migrations.

use sqlx::migrate::Migrator;

/// The migrations that bring a store to the schema of this build.
pub(crate) static MIGRATOR: Migrator = sqlx::migrate!("src/store/migrations");
