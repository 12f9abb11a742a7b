//! Sources: connections, enforcement, search, and what gateways counted of them.

pub(crate) mod search;
pub(crate) mod source;
pub(crate) mod traffic;
