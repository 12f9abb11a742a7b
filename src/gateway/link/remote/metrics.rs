//! What an edge counts of its link: snapshots fetched, by cause, and reports that were dropped.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// Why a whole snapshot was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resync {
    /// There was no usable policy on disk.
    First,
    /// The control plane's feed does not lead on from the position in force.
    Feed,
    /// The gateway refused a change.
    RefusedChange,
    /// The control plane has other changes under the same version.
    OtherHistory,
    /// The control plane named an earlier version several times in a row.
    EarlierVersion,
    /// So many changes followed the stored snapshot that a new one is shorter.
    LongLog,
    /// The state folder can be written again.
    Disk,
}

impl Resync {
    const ALL: [Self; 7] = [
        Self::First,
        Self::Feed,
        Self::RefusedChange,
        Self::OtherHistory,
        Self::EarlierVersion,
        Self::LongLog,
        Self::Disk,
    ];

    /// Whether the control plane may have lost changes that this edge has.
    pub(super) const fn may_have_lost(self) -> bool {
        matches!(self, Self::Feed | Self::OtherHistory | Self::EarlierVersion)
    }

    /// The word in the metric.
    const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Feed => "feed",
            Self::RefusedChange => "refused_change",
            Self::OtherHistory => "other_history",
            Self::EarlierVersion => "earlier_version",
            Self::LongLog => "long_log",
            Self::Disk => "disk",
        }
    }
}

/// The counters of one edge.
#[derive(Clone, Debug)]
pub struct LinkMetrics {
    resyncs: IntCounterVec,
    reports_dropped: IntCounter,
}

impl LinkMetrics {
    /// Registers the counters, each with 0.
    ///
    /// # Errors
    /// A name is taken already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let resyncs = IntCounterVec::new(
            Opts::new(
                "portcullis_policy_resyncs_total",
                "Whole snapshots that this edge asked its control planes for, by cause.",
            ),
            &["cause"],
        )?;
        for cause in Resync::ALL {
            resyncs.with_label_values(&[cause.as_str()]);
        }
        let reports_dropped = IntCounter::new(
            "portcullis_reports_dropped_total",
            "Reports of counted requests that no control plane took.",
        )?;
        registry.register(Box::new(resyncs.clone()))?;
        registry.register(Box::new(reports_dropped.clone()))?;
        Ok(Self {
            resyncs,
            reports_dropped,
        })
    }

    pub(super) fn resynced(&self, cause: Resync) {
        self.resyncs.with_label_values(&[cause.as_str()]).inc();
    }

    pub(super) fn report_dropped(&self) {
        self.reports_dropped.inc();
    }
}
