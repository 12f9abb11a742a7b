//! Workspaces: members, roles and permissions.

mod members;
mod permissions;
mod roles;
