//! Signals: HUP, USR2, TERM and INT.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::Failure;

/// Signals that change what runs.
pub(super) struct Signals {
    /// HUP: read the config again.
    pub(super) reload: Signal,
    /// USR2: start this program again and hand everything to it.
    pub(super) upgrade: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Failure> {
        Ok(Self {
            reload: signal(SignalKind::hangup()).map_err(Failure::internal)?,
            upgrade: signal(SignalKind::user_defined2()).map_err(Failure::internal)?,
        })
    }
}

/// TERM and INT, from the moment this is made. Make it first: a test or operator may end the process once it is ready.
pub(super) struct Ending {
    terminate: Signal,
    interrupt: Signal,
}

impl Ending {
    pub(super) fn new() -> Result<Self, Failure> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(Failure::internal)?,
            interrupt: signal(SignalKind::interrupt()).map_err(Failure::internal)?,
        })
    }

    /// Resolves when the process is asked to end.
    pub(super) async fn asked(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Drain,
            _ = self.interrupt.recv() => Asked::AtOnce,
        }
    }
}

/// What a signal asked for.
pub(super) enum Asked {
    Drain,
    AtOnce,
}

impl Asked {
    pub(super) fn with(self, ending: Ending) -> End {
        match self {
            Self::Drain => End::Drained(ending),
            Self::AtOnce => End::AtOnce,
        }
    }
}

/// How the process is to end.
pub(super) enum End {
    /// After TERM: requests under way are answered. A second signal ends it at once.
    Drained(Ending),
    /// After INT.
    AtOnce,
}
