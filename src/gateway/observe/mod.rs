//! Metrics and the access log.

pub mod access_log;
pub mod access_record;
pub(crate) mod cut;
pub mod metrics;
pub mod origin_metrics;
pub mod upstream_metrics;
