//! `portcullis admin`: bootstrap and recovery on the store.

mod audit;
pub(crate) mod backup;
pub(crate) mod commands;
pub(crate) mod edges;
mod fleet;
mod restore;
mod signing_keys;
pub(crate) mod store_access;
