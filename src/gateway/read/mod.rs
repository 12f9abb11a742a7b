//! What a request says: its head, route, credential, source and body, read strictly and once.

pub mod body;
pub mod client_facts;
pub mod content;
pub mod credential;
pub mod head;
pub mod json;
pub(crate) mod large_bodies;
pub(crate) mod query;
pub(crate) mod raw_head;
pub mod route;
pub mod source;
pub(crate) mod spelling;
pub(crate) mod stray_keys;
