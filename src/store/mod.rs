//! The store: SQL is in this folder and nowhere else.
//!
//! A change is one [`WriteTx`]. It takes the next policy version, reads and writes rows; [`WriteTx::commit`] adds a
//! row of the change feed in the same transaction. A [`ReadTx`] is a consistent view: everything read in it has one
//! policy version. No rule is here: the callers in [`crate::control`] decide.
//!
//! The same SQL runs on `SQLite` and on `PostgreSQL`, through sqlx's `Any` driver. Parameters are `$1`, columns are
//! BIGINT or TEXT (booleans are 0 or 1), and no statement uses a cast, a function or a keyword that only one of the
//! two has. The differences are in `sqlite` and `postgres`: how to open a store, and how processes notify each other
//! of changes.
//!
//! Several processes may share one `PostgreSQL` database. State that a process caches may then be out of date: read
//! it again in the transaction that depends on it. What must happen once among all processes happens in a
//! [`WriteTx`], which only one process has at a time: check, act, commit. Rows that must be unique but are not part
//! of the policy use `INSERT ... ON CONFLICT DO NOTHING` and the number of affected rows, as [`replay`] does.
//!
//! The *ledger* is everything that is not policy and needs no policy version: used assertions, last uses, counts,
//! sessions. It has connections of its own, so that it does not wait for changes.

pub mod accounts;
pub mod api_tokens;
pub mod audit;
mod clock;
pub mod credential_status;
pub(crate) mod database;
pub mod directory;
pub mod edges;
pub(crate) mod error;
pub mod idempotency;
mod identities;
pub mod issued;
pub mod leaked;
pub mod ledger;
pub mod members;
pub(crate) mod open;
pub mod policy;
mod postgres;
pub mod replay;
pub mod revocation;
pub(crate) mod rows;
mod schema;
pub mod search;
pub mod sessions;
pub mod signing_keys;
pub mod sources;
mod sqlite;
pub mod traffic;

pub use crate::store::database::{AuditTx, CHANGES_KEPT, ReadTx, Store, WriteTx};
pub use crate::store::error::StoreError;
pub use crate::store::postgres::Notifications;
pub use crate::store::sqlite::{backup, replace};
