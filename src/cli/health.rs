//! What `/readyz` and `/metrics` learn of the whole process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;

use crate::control::Control;
use crate::gateway::probe::Probe;
use crate::telemetry::Health;

/// The health of the whole process. A control plane alone is ready when it listens.
pub(super) struct Whole {
    pub(super) probe: Option<Probe>,
    pub(super) control: Arc<ArcSwapOption<Control>>,
    /// Set once the process is to end: whatever looks at `/readyz` should send requests elsewhere.
    pub(super) is_ending: Arc<AtomicBool>,
}

impl Health for Whole {
    fn refresh(&self) {
        if let Some(probe) = &self.probe {
            probe.refresh();
        }
        if let Some(control) = self.control.load().as_ref() {
            control.refresh_metrics();
        }
    }

    fn ready(&self) -> Result<(), &'static str> {
        if self.is_ending.load(Ordering::Relaxed) {
            return Err("it is ending");
        }
        self.probe.as_ref().map_or(Ok(()), Probe::ready)
    }

    fn warning(&self) -> Option<&'static str> {
        let of_control = self
            .control
            .load()
            .as_ref()
            .and_then(|control| control.clock_warning());
        of_control.or_else(|| self.probe.as_ref().and_then(Probe::clock_warning))
    }
}
