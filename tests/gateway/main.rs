//! The gateway over real sockets: real listeners and upstreams on free ports, hand-written snapshots
//! through the feed, no control plane.
//!
//! Nothing here waits for a fixed time or depends on the order of the tests. A denial is always two
//! claims: what the client was answered, and that the upstream saw nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking, its helpers too"
)]

#[path = "../support/answer.rs"]
mod answer;
#[path = "../support/certs.rs"]
mod certs;
#[path = "../support/client.rs"]
mod client;
#[path = "../support/forge.rs"]
mod forge;
#[path = "../support/frames.rs"]
mod frames;
#[path = "../support/gateway.rs"]
mod gateway;
#[path = "../support/key_server.rs"]
mod key_server;
#[path = "../support/scratch.rs"]
mod scratch;
#[path = "../support/secrets.rs"]
mod secrets;
#[path = "../support/test_key.rs"]
mod test_key;
#[path = "../support/upstream.rs"]
mod upstream;
#[path = "../support/wait.rs"]
mod wait;
#[path = "../support/wire.rs"]
mod wire;

mod accepted_forms;
mod addresses;
mod bodies;
mod canonical;
mod clients;
mod connections;
mod cors;
mod denials;
mod draining;
mod explained;
mod fetching;
mod foreign_credentials;
mod forwarding;
mod http2;
mod identity;
mod issuers;
mod json_texts;
mod key_sets;
mod large_bodies;
mod limits;
mod methods;
mod other_places;
mod panics;
mod pipelining;
mod pixels;
mod policy;
mod providers;
mod proxy_protocol;
mod response_framing;
mod rows;
mod sentences;
mod stray_keys;
mod strictness;
mod tally;
mod tls;
mod tokens;
mod torture;
mod upstream_faults;
mod upstreams;
