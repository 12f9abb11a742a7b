//! Edges and policy versions in the API.

pub(crate) mod edges;
pub(crate) mod in_force;
