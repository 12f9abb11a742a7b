//! To and from the control plane and issuers: policy updates, key sets, reports.

pub(crate) mod file_stamp;
pub mod jwks;
pub(crate) mod key_file;
pub mod remote;
pub mod subscribe;
pub(crate) mod tally;
