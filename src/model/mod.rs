//! What the control plane manages: apps, sources, members and the rest, without SQL or JSON.

pub mod account;
pub mod api_token;
pub mod app;
pub mod audit;
pub mod credential;
pub mod edge;
pub mod leak;
pub mod member;
pub mod page;
pub mod search;
pub mod session;
pub mod source;
pub mod traffic;
pub mod workspace;
