//! What gateways receive: snapshots and changes, in the order of versions.

pub mod publish;
