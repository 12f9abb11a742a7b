//! An edge's link to control planes in other processes.

mod client;
pub(crate) mod folder;
mod identity;
pub mod link;
mod reports;
mod session;
