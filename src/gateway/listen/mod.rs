//! Who connects, and how: accepting connections, and the requests on them.

pub mod connection;
pub(crate) mod http1;
pub(crate) mod http2;
pub mod listener;
pub mod sockets;
