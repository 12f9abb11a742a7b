//! OAuth apps and their public keys.

pub(crate) mod app;
pub(crate) mod audit;
pub(crate) mod details;
pub(crate) mod fields;
