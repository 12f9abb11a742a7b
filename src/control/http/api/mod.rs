//! The management API: one file per resource.

pub(crate) mod apps;
pub(crate) mod audit;
pub(crate) mod caller;
pub(crate) mod conditions;
pub(crate) mod fleet;
pub(crate) mod json;
pub(crate) mod leaks;
pub(crate) mod list;
pub(crate) mod members;
pub(crate) mod openapi;
pub(crate) mod paging;
pub(crate) mod request;
pub(super) mod session;
pub(crate) mod sources;
pub(crate) mod table;
pub(crate) mod times;
pub(crate) mod tokens;
pub(crate) mod traffic;
pub(crate) mod trail_export;
pub(crate) mod workspaces;
