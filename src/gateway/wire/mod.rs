//! Bytes on connections: sockets, TLS, chunked framing, and one request at a time over HTTP/1 or HTTP/2.

pub(crate) mod buffered;
pub(crate) mod chunks;
pub mod head_lines;
pub mod http1_stream;
pub mod http2_stream;
pub mod own_fields;
pub(crate) mod proxy_header;
pub mod session;
pub mod socket;
pub mod trace_context;
pub mod transport_metrics;
