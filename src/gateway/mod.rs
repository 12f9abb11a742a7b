//! The data plane: a shell around `decide`. The life of a request, folder by folder:
//!
//! - `listen` accepts a connection, gives it a permit, performs the TLS handshake with `wire`, and reads HTTP/1 heads and
//!   HTTP/2 streams from it.
//! - `read` checks the head, finds route, credential and source, and holds the body.
//! - `serve` leads the request through: `decide` with the policy and the verified tokens of `state`, then a denial or a permit.
//! - `forward` sends a permitted request to a server of an upstream and relays the response. It also writes denials.
//! - `link` keeps policy and keys current, and reports what became of each source's requests. `observe` counts and logs.
//!
//! `build` makes all of it from the config, and `server` starts, changes and ends it; `probe` looks at it from outside.
//! `explain` writes down why a request is denied, and `offline` leads a request through `read` and `decide` without
//! serving it.
//!
//! This folder does not know the control plane or its store: all it learns comes through the snapshot.

pub(crate) mod build;
pub mod explain;
pub mod forward;
pub mod link;
pub mod listen;
pub mod observe;
pub mod offline;
pub mod probe;
pub mod read;
pub mod serve;
pub mod server;
pub mod start_error;
pub mod state;
pub mod wire;

/// Parsers that only a connection reaches, for tests of what they cost.
#[cfg(feature = "test-util")]
pub mod parsers {
    pub use super::read::raw_head::{end_of_head, parse};
}
