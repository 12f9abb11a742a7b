//! Tokens: issue, revocation, introspection and leaked tokens.

mod accepted_requests;
mod assertions;
mod client_endpoints;
mod client_log;
mod client_reads;
mod independent_library;
mod leaked;
mod metadata;
mod rejected_requests;
mod resources;
mod revoke;
mod revoke_all;
