//! An edge's link to control planes in other processes.

mod client;
mod denials;
pub(crate) mod folder;
mod identity;
pub mod link;
pub mod metrics;
mod reports;
mod session;
pub mod setup_error;
