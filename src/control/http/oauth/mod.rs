//! OAuth endpoints (RFC 6749, 7009, 7662, 8414, 8707).

pub(crate) mod client_log;
pub(crate) mod client_request;
pub(crate) mod error;
pub(crate) mod introspect;
pub(crate) mod metadata;
pub(crate) mod revoke;
pub(crate) mod token;
