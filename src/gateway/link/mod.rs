//! To and from the control plane and issuers: policy updates, key sets, reports.

pub mod jwks;
pub mod subscribe;
pub(crate) mod tally;
