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

pub mod accounts;
pub mod api_tokens;
pub mod audit;
mod clock;
pub mod credential_status;
pub(crate) mod database;
pub mod directory;
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
pub use crate::store::postgres::Notices;
pub use crate::store::sqlite::backup;
