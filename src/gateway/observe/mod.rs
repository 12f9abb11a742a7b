//! Metrics and the access log.

pub mod access_log;
pub(crate) mod cut;
pub mod metrics;
pub mod upstream_metrics;
