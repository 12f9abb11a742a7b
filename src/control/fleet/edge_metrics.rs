//! Metrics about the fleet: how many instances are in each state, how far the last one is behind, and how long changes take
//! to be acknowledged by all.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntGauge, IntGaugeVec, Opts, Registry};

/// The states of an instance, in the words of the API.
pub(crate) const STATES: [&str; 5] = ["current", "behind", "lapsed", "refusing", "unbounded"];

/// Changes that may wait for their last acknowledgement. More are not measured.
const WAITING_MAX: usize = 4_096;

/// From one millisecond to ten minutes.
const BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0,
];

/// The metrics of a control plane about the instances that are connected to it.
pub(crate) struct EdgeMetrics {
    edges: IntGaugeVec,
    lag: IntGauge,
    in_force: Histogram,
    /// Versions whose last acknowledgement is awaited, with when they were committed on the clock since boot.
    waiting: Mutex<VecDeque<(u64, Duration)>>,
}

impl EdgeMetrics {
    /// # Errors
    /// A name or bucket is not allowed.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let edges = IntGaugeVec::new(
            Opts::new(
                "portcullis_edges",
                "Running gateways that this control plane feeds, by state; the bundled one counts as well.",
            ),
            &["state"],
        )?;
        for state in STATES {
            edges.with_label_values(&[state]);
        }
        Ok(Self {
            edges,
            lag: IntGauge::new(
                "portcullis_edge_lag_versions",
                "Policy versions that the last gateway is behind which has not lapsed.",
            )?,
            in_force: Histogram::with_opts(
                HistogramOpts::new(
                    "portcullis_edge_in_force_seconds",
                    "Time from a commit until the last connected gateway acknowledged it.",
                )
                .buckets(BUCKETS.to_vec()),
            )?,
            waiting: Mutex::default(),
        })
    }

    /// # Errors
    /// A name is taken already.
    pub(crate) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.edges.clone()))?;
        registry.register(Box::new(self.lag.clone()))?;
        registry.register(Box::new(self.in_force.clone()))
    }

    /// Shows instances by state, and by how many versions the last one is behind.
    pub(crate) fn show<'w>(&self, states: impl Iterator<Item = &'w str>, lag: u64) {
        let mut counts = [0_i64; STATES.len()];
        for state in states {
            let at = STATES.iter().position(|word| *word == state);
            if let Some(count) = at.and_then(|at| counts.get_mut(at)) {
                *count += 1;
            }
        }
        for (state, count) in STATES.iter().zip(counts) {
            self.edges.with_label_values(&[*state]).set(count);
        }
        self.lag.set(i64::try_from(lag).unwrap_or(i64::MAX));
    }

    /// Notes that a version was committed at `at`.
    pub(crate) fn committed(&self, version: u64, at: Duration) {
        let mut waiting = self.lock();
        let is_new = waiting.back().is_none_or(|(last, _)| *last < version);
        if is_new && waiting.len() < WAITING_MAX {
            waiting.push_back((version, at));
        }
    }

    /// Whether an acknowledgement is awaited.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.lock().is_empty()
    }

    /// Notes at `now` that `lowest` or a later version is in force at every gateway; none where there is no gateway.
    pub(crate) fn acknowledged(&self, lowest: Option<u64>, now: Duration) {
        let mut waiting = self.lock();
        let Some(lowest) = lowest else {
            waiting.clear();
            return;
        };
        while let Some((version, at)) = waiting.front().copied()
            && version <= lowest
        {
            self.in_force.observe(now.saturating_sub(at).as_secs_f64());
            waiting.pop_front();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(u64, Duration)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_counts_once_its_last_acknowledgement_came() {
        let metrics = EdgeMetrics::new().unwrap();
        metrics.committed(7, Duration::from_secs(10));
        metrics.committed(8, Duration::from_secs(11));
        metrics.acknowledged(Some(6), Duration::from_secs(12));
        assert_eq!(metrics.in_force.get_sample_count(), 0);
        metrics.acknowledged(Some(7), Duration::from_secs(12));
        assert_eq!(metrics.in_force.get_sample_count(), 1);
        assert!((metrics.in_force.get_sample_sum() - 2.0).abs() < 1e-9);
        assert!(metrics.is_waiting());
        metrics.acknowledged(None, Duration::from_secs(13));
        assert!(!metrics.is_waiting());
        assert_eq!(metrics.in_force.get_sample_count(), 1);
    }
}
