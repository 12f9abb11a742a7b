//! Signing keys: rotation, encryption and publication.

mod encryption;
mod lifecycle;
