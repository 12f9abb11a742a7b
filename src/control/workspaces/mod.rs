//! Workspaces, their members and roles.

pub(crate) mod members;
pub(crate) mod roles;
pub(crate) mod workspace;
