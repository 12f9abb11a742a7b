//! What is fuzzed, one file a target: a plain function over bytes that panics where a promise is broken.
//!
//! cargo-fuzz (`fuzz/fuzz_targets`) and the runner of the test suite (`tests/fuzz/main.rs`) call the same
//! functions. Nearly all of them compare what we read with what a second, slower or foreign reader sees.

#![allow(
    dead_code,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a target says by panicking that it found something, and each binary uses some of them"
)]

#[path = "../../support/forge.rs"]
mod forge;
#[path = "../../decide/model.rs"]
mod model;
#[path = "../../decide/reference.rs"]
mod reference;
#[path = "../../decide/request.rs"]
mod request;
#[path = "../../support/secrets.rs"]
mod secrets;
#[path = "../../decide/signers.rs"]
mod signers;
#[path = "../../support/test_key.rs"]
mod test_key;
#[path = "../../decide/worlds.rs"]
mod worlds;

mod common;

pub mod assertion;
pub mod claims;
pub mod config;
pub mod decide;
pub mod form;
pub mod gzip;
pub mod head;
pub mod path;
pub mod scan;
pub mod snapshot;
pub mod token;
pub mod upstream;
