//! OAuth endpoints (RFC 6749, 7009, 7662, 8414).

pub(crate) mod client_request;
pub(crate) mod error;
pub(crate) mod introspect;
pub(crate) mod metadata;
pub(crate) mod revoke;
pub(crate) mod token;
