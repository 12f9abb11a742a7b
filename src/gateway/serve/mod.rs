//! One request from its head to its answer. `decide` is called here.

pub(crate) mod admit;
pub(crate) mod admitted_request;
pub(crate) mod current;
pub(crate) mod known_facts;
pub(crate) mod local_responses;
mod note_denial;
pub mod request;
