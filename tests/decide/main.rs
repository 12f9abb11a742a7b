//! Decisions as pure functions: what is permitted, what is denied, and for which reason. No socket, no
//! runtime, no clock.
//!
//! Read `cases/` first (data, one file per answer), then `order` and `reference`. `model` is the plain
//! form of a world that cases, reference and properties share; `signers` holds the keys.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test may fail by panicking"
)]

mod allocations;
mod cases;
mod explained;
#[path = "../support/forge.rs"]
mod forge;
mod issuers;
mod keys;
mod model;
mod order;
mod properties;
mod reference;
mod request;
#[path = "../support/secrets.rs"]
mod secrets;
mod signers;
#[path = "../support/test_key.rs"]
mod test_key;
mod token_bounds;
mod tokens;
mod vectors;
mod worlds;
