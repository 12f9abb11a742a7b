//! portcullis: an OAuth 2.0 enforcement gateway with a bundled control plane.
//!
//! Two planes and one shared core. The modules in the order to read them in:

// The rules: who may do what, as values and pure functions.
pub mod domain;

// What passes between the planes, and how it does so inside one process.
pub mod feed;
pub mod fleet;
pub mod report;
pub mod snapshot;

// The data plane: a reverse proxy around `domain::decide`.
pub mod gateway;

// The control plane: tokens, apps, sources, revocation; and what it remembers.
pub mod control;
pub mod store;
pub mod store_location;

// What the listeners share: bounded connections, TLS, and the HTTP server of everything but the gateway.
pub mod connections;
pub mod http_server;
pub mod tls;

// The edges: files, time, documents fetched, logs and metrics, tasks, the command line.
pub mod cli;
pub mod clock;
pub mod config;
pub mod discovery;
pub mod fetched;
pub mod http_client;
pub mod json_problem;
pub mod key_sets;
pub mod model;
pub mod pem_file;
pub mod task_monitor;
pub mod telemetry;
