//! How far instances are, as the API and the console show it.

use std::time::Duration;

use crate::domain::ids::EdgeId;
use crate::domain::time::UnixSeconds;

/// How far one instance is, as the API shows it.
#[derive(Clone, Debug)]
pub struct InstanceState {
    pub edge: Option<EdgeId>,
    pub name: String,
    pub instance: String,
    pub build: String,
    pub version: u64,
    pub heard_at: UnixSeconds,
    /// When it refuses what is enforced unless it is renewed; none for one that goes on without a fresh policy.
    pub lapses_at: Option<UnixSeconds>,
    pub has_lapsed: bool,
    pub refused: Option<String>,
}

impl InstanceState {
    /// The state in a word, where `newest` is the newest version.
    #[must_use]
    pub fn word(&self, newest: u64) -> &'static str {
        match self {
            Self { refused: Some(_), .. } => "refusing",
            Self { has_lapsed: true, .. } => "lapsed",
            Self { version, .. } if *version >= newest => "current",
            Self { lapses_at: None, .. } => "unbounded",
            _ => "behind",
        }
    }
}

/// Whether a version is in force, instance by instance.
#[derive(Clone, Debug, Default)]
pub struct EdgesInForce {
    pub in_force: usize,
    pub lapsed: usize,
    pub pending: Vec<InstanceState>,
    /// Those of `pending` that never lapse.
    pub unbounded: usize,
    pub waited: Duration,
}

impl EdgesInForce {
    /// Whether no instance accepts by an older version any more.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.pending.is_empty()
    }

    /// When it will be complete at the latest; none where it is, and where an instance that never lapses is behind.
    #[must_use]
    pub fn complete_by(&self) -> Option<UnixSeconds> {
        if self.unbounded > 0 {
            return None;
        }
        self.pending.iter().filter_map(|state| state.lapses_at).max()
    }
}
