//! The keys that sign access tokens: the ring of them and their rotation.

pub(crate) mod key_ring;
pub(crate) mod rotation;
pub(crate) mod signing_key;
