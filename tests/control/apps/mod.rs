//! OAuth apps and their public keys.

mod app;
