//! Both planes as they are shipped: the built binary, real sockets, the released SDKs.
//!
//! Nothing here calls the library, except the maker of key pairs. What a test knows it reads where a user would: standard output, the env
//! file, the management API, the logs, and what arrives at an upstream.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test may fail by panicking, and tells one story from start to end"
)]

#[path = "../support"]
mod support {
    pub mod answer;
    pub mod certs;
    pub mod load;
    pub mod postgres;
    pub mod process;
    pub mod product;
    pub mod recorder;
    pub mod scratch;
    pub mod sdk;
    pub mod secrets;
    pub mod test_key;
    pub mod web;
    pub mod wire;
}

mod access_log;
mod admin;
mod agreement;
mod app_keys;
mod check_online;
mod cli;
mod clients;
mod descriptors;
mod diff;
mod edge_latency;
mod edge_link;
mod edges;
mod enforced_everywhere;
mod explain;
mod fleet_settings;
mod kills;
mod lifecycle;
mod listener_tls;
mod many;
mod many_store;
mod mixed_load;
mod named_files;
mod observability;
mod outages;
mod panics;
mod quickstart;
mod reload;
mod sdks;
mod secrets;
mod signing_keys;
mod state;
mod store_full;
mod terminal;
mod upgrade;
