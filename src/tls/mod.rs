//! TLS of the listeners of both planes: certificates from files, the handshake, and its metrics.

pub mod acceptor;
pub mod certificates;
pub mod metrics;
