//! Sources: connections, enforcement, search and traffic counts.

mod readiness;
mod search;
mod source;
mod traffic;
