//! The pages of the console, one file per resource.

pub(crate) mod account;
pub(crate) mod api_tokens;
pub(crate) mod app;
pub(crate) mod app_keys;
pub(crate) mod app_settings;
pub(crate) mod apps;
pub(crate) mod audit;
pub(crate) mod client;
pub(crate) mod edges;
pub(crate) mod join;
pub(crate) mod leaked;
pub(crate) mod members;
pub(crate) mod overview;
pub(crate) mod revoke_all;
pub(crate) mod sign_in;
pub(crate) mod signing_keys;
pub(crate) mod source;
pub(crate) mod source_oauth;
pub(crate) mod sources;
