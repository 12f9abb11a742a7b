//! What a request says: its head, route, credential, source and body, read strictly and once.

pub(crate) mod absolute_form;
pub mod body;
pub mod body_keys;
pub mod client_facts;
pub mod content;
pub mod cors;
pub mod credential;
pub mod foreign;
pub mod head;
pub(crate) mod inflate;
pub mod json;
pub(crate) mod large_bodies;
pub(crate) mod pixel;
pub(crate) mod query;
pub(crate) mod raw_head;
pub mod refusal;
pub mod route;
pub mod source;
pub(crate) mod spelling;
pub mod stray_keys;
