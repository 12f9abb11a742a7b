//! `portcullis admin`: bootstrap and recovery on the store.

pub(crate) mod backup;
pub(crate) mod commands;
pub(crate) mod edges;
mod fleet;
mod signing_keys;
pub(crate) mod store_access;
