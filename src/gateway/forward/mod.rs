//! To the upstream and back.

pub mod connection;
pub mod exchange;
pub mod failure;
mod http1_response;
mod idle;
mod probe;
mod request_head;
pub mod respond;
pub mod upstream;
mod upstream_server;
