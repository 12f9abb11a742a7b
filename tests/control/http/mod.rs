//! The HTTP layer: connections, memory, rate limits, the API as a whole.

mod connections;
mod management_api;
mod memory;
mod openapi;
mod rate_limits;
mod server;
mod text_limits;
mod tls;
