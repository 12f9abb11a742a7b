//! Bytes on connections: sockets, TLS, chunked framing, connection limits.

pub(crate) mod buffered;
pub mod certificates;
pub(crate) mod chunks;
pub(crate) mod proxy_header;
pub(crate) mod socket;
pub mod tls;
pub mod transport_metrics;
