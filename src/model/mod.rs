//! What the control plane manages: apps, sources, members and the rest, without SQL or JSON.

pub(crate) mod api_token;
pub(crate) mod app;
pub(crate) mod audit;
pub(crate) mod credential;
pub(crate) mod leak;
pub(crate) mod member;
pub(crate) mod page;
pub(crate) mod search;
pub(crate) mod session;
pub(crate) mod source;
pub(crate) mod traffic;
pub(crate) mod workspace;
