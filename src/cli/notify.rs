//! Tells systemd how the service is: `READY`, `RELOADING`, `STOPPING` and the watchdog (sd_notify(3)).

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior};

const NOTIFY_FAILED: &str = "failed to notify systemd (sd_notify)";

/// The service manager, where the environment names one (`NOTIFY_SOCKET`).
pub(super) struct Supervisor {
    watchdog: Option<Interval>,
}

impl Supervisor {
    /// The one that the environment names. Call it on a runtime.
    pub(super) fn from_environment() -> Self {
        let every = sd_notify::watchdog_enabled().map(|within| (within / 2).max(Duration::from_millis(1)));
        let watchdog = every.map(|every| {
            let mut ticks = tokio::time::interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        Self { watchdog }
    }

    /// This process serves, and is the one to send signals to: after an upgrade it is another one.
    pub(super) fn ready(&self) {
        notify(&[NotifyState::Ready, NotifyState::MainPid(std::process::id())]);
    }

    pub(super) fn reloading(&self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            notify(&[NotifyState::Reloading, now]);
        }
    }

    pub(super) fn stopping(&self) {
        notify(&[NotifyState::Stopping]);
    }

    /// Tells the watchdog that this process lives, each time that it is due. Never resolves.
    pub(super) async fn keep_alive(&mut self) {
        let Some(ticks) = &mut self.watchdog else {
            return std::future::pending().await;
        };
        loop {
            ticks.tick().await;
            notify(&[NotifyState::Watchdog]);
        }
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "{NOTIFY_FAILED}");
    }
}
