//! The HTTP form of the rules: the listener, the routes, OAuth endpoints, management API and console.

pub(crate) mod api;
pub(crate) mod body;
pub(crate) mod connections;
pub(crate) mod console;
pub(crate) mod cookies;
pub mod edges;
pub(crate) mod leak_reports;
pub(crate) mod login;
pub(crate) mod memory;
pub(crate) mod metered;
pub(crate) mod oauth;
pub(crate) mod observed;
pub(crate) mod problem;
pub(crate) mod routes;
pub mod server;
pub(crate) mod session_cookies;
pub(crate) mod state;
