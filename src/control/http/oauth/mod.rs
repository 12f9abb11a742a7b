//! OAuth endpoints (RFC 6749, 7009, 7662, 8414).

pub(crate) mod metadata;
