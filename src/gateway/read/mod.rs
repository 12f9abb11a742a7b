//! What a request says: its head, credential, source and body, read strictly and once.

pub mod body;
pub mod head;
pub(crate) mod json_blocks;
pub(crate) mod query;
pub(crate) mod raw_head;
pub mod scan;
pub(crate) mod scan_error;
pub(crate) mod stray_keys;
