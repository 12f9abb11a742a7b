//! The web console as it is shipped: the built binary, a real browser, and requests that no browser would send.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test may fail by panicking"
)]

#[path = "../support"]
#[allow(dead_code, reason = "the helpers are shared with other suites")]
mod support {
    pub mod answer;
    pub mod process;
    pub mod product;
    pub mod recorder;
    pub mod scratch;
    pub mod secrets;
    pub mod test_key;
    pub mod web;
    pub mod wire;
}

mod account;
mod audit;
mod browser;
mod edges;
mod guards;
mod keys;
mod many;
mod picker;
mod roles;
mod samples;
mod search;
mod sources;
mod store;
mod visitor;
