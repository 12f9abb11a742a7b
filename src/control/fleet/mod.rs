//! The feed of the gateways: snapshots and changes, in the order of versions.

mod denials;
pub(crate) mod edge_metrics;
pub mod edges;
pub(crate) mod hub;
pub mod instance_state;
pub mod instances;
pub mod publish;
pub(crate) mod sessions;
pub mod settings;
pub(crate) mod stored_policy;
