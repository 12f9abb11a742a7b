//! What a request says: its head, credential, source and body, read strictly and once.

pub mod body;
pub mod head;
pub(crate) mod json_blocks;
pub(crate) mod json_containers;
pub mod json_scalars;
pub(crate) mod key_spelling;
pub(crate) mod large_bodies;
pub(crate) mod query;
pub(crate) mod raw_head;
pub mod scan;
pub mod scan_error;
pub(crate) mod stray_keys;
