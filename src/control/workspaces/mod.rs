//! Workspaces, and who belongs to them with which roles.

pub(crate) mod members;
pub(crate) mod roles;
pub(crate) mod workspace;
