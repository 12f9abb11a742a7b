//! Sources: connections, enforcement, search and traffic counts.

pub(crate) mod search;
pub(crate) mod source;
pub mod traffic;
