//! Whether what decisions rest on is current: key sets of outside issuers and the policy file, as metrics.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::domain::time::UnixSeconds;

/// Where keys and policy come from.
#[derive(Clone)]
pub struct OriginMetrics {
    key_set_fetches: IntCounterVec,
    key_set_fetched_at: IntGaugeVec,
    is_policy_file_good: IntGauge,
}

impl OriginMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// A name is taken already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            key_set_fetches: IntCounterVec::new(
                Opts::new("portcullis_jwks_fetch_total", "Fetches of outside key sets."),
                &["issuer", "result"],
            )?,
            key_set_fetched_at: IntGaugeVec::new(
                Opts::new(
                    "portcullis_jwks_last_success_timestamp_seconds",
                    "When the key set of each outside issuer was last fetched, in Unix seconds; 0 before the first time.",
                ),
                &["issuer"],
            )?,
            is_policy_file_good: IntGauge::new(
                "portcullis_policy_file_last_load_successful",
                "0 if the policy file on disk is missing or was refused and an earlier policy is in force, else 1; 1 without a policy file.",
            )?,
        };
        metrics.is_policy_file_good.set(1);
        registry.register(Box::new(metrics.key_set_fetches.clone()))?;
        registry.register(Box::new(metrics.key_set_fetched_at.clone()))?;
        registry.register(Box::new(metrics.is_policy_file_good.clone()))?;
        Ok(metrics)
    }

    /// Shows the series of an outside issuer, before the first fetch of its key set.
    pub fn expect_issuer(&self, issuer: &str) {
        for result in ["ok", "error"] {
            self.key_set_fetches.with_label_values(&[issuer, result]);
        }
        self.key_set_fetched_at.with_label_values(&[issuer]);
    }

    /// Counts one fetch of an outside key set, which ended `at` this moment.
    pub fn key_set_fetched(&self, issuer: &str, good: bool, at: UnixSeconds) {
        let result = if good { "ok" } else { "error" };
        self.key_set_fetches.with_label_values(&[issuer, result]).inc();
        if good {
            let at = i64::try_from(at.0).unwrap_or(i64::MAX);
            self.key_set_fetched_at.with_label_values(&[issuer]).set(at);
        }
    }

    /// Says whether the policy file on disk is the one in force.
    pub fn policy_file_read(&self, good: bool) {
        self.is_policy_file_good.set(i64::from(good));
    }
}
