//! OAuth apps and their public keys.

mod app;
mod key_expiry;
