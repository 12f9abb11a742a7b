//! An edge's link to control planes in other processes.

mod client;
pub(crate) mod folder;
mod identity;
pub mod link;
pub mod metrics;
mod reports;
mod session;
