//! The control plane over real HTTP, on a store of its own in a temporary folder.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    reason = "a test may fail by panicking, its helpers too"
)]

mod apps;
mod audit;
mod limits;
mod management;
mod publish;
mod revoke;
mod service;
mod sources;
mod store;
mod support;
mod token;
mod token_refused;
mod traffic;
mod upgrade;
