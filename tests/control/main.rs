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

mod account_takeover;
mod apps;
mod assertions;
mod audit;
mod changes;
mod client_endpoints;
mod client_log;
mod client_reads;
mod clock;
mod conditions;
mod connections;
mod credential_lifecycle;
mod credential_status;
mod database_tls;
mod denials;
mod large;
mod leaked;
mod limits;
mod management;
mod members;
mod memory;
mod metadata;
mod on_postgres;
mod openapi;
#[path = "../support/postgres.rs"]
mod postgres;
mod publish;
mod readiness;
mod repeated;
mod resources;
mod revoke;
mod revoke_all;
mod search;
#[path = "../support/secrets.rs"]
mod secrets;
mod service;
mod sessions;
mod shared;
mod sign_in_flood;
mod sign_on;
mod signing_keys;
mod sources;
mod store;
mod support;
mod texts;
mod token;
mod token_refused;
mod traffic;
mod upgrade;
