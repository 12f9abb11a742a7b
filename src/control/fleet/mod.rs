//! The feed of the gateways: snapshots and changes, in the order of versions.

pub mod publish;
