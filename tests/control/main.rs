//! The control plane over real HTTP, each test on a store of its own.
//!
//! Every test runs on `SQLite` and on `PostgreSQL`: `on_postgres::whole_suite` runs this binary once more with
//! `PORTCULLIS_TEST_STORE=postgres`, which is also how one test is run there.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    reason = "a test may fail by panicking, its helpers too"
)]

mod accounts;
#[path = "../support/answer.rs"]
mod answer;
mod apps;
mod audit;
#[path = "../support/certs.rs"]
mod certs;
mod changes;
#[path = "../support/client.rs"]
mod client;
mod fleet;
mod http;
mod on_postgres;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/scratch.rs"]
mod scratch;
#[path = "../support/secrets.rs"]
mod secrets;
mod signing_keys;
mod sources;
mod store;
mod support;
#[path = "../support/test_key.rs"]
mod test_key;
mod tokens;
#[path = "../support/wait.rs"]
mod wait;
#[path = "../support/wire.rs"]
mod wire;
mod workspaces;
