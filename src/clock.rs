//! The only file that reads the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::UnixSeconds;

/// Where the present moment comes from.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// A clock that tests set by hand.
    Manual(ManualClock),
}

/// A clock that stands still until it is moved.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: UnixSeconds) -> Self {
        Self(Arc::new(AtomicU64::new(now.0)))
    }

    /// Sets the clock.
    pub fn set(&self, now: UnixSeconds) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl Clock {
    /// The present moment. A system clock before 1970 reads as 1970.
    #[must_use]
    pub fn now(&self) -> UnixSeconds {
        match self {
            #[expect(
                clippy::disallowed_methods,
                reason = "the one place that reads the wall clock"
            )]
            Self::System => UnixSeconds(
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |d| d.as_secs()),
            ),
            Self::Manual(clock) => UnixSeconds(clock.0.load(Ordering::SeqCst)),
        }
    }
}

/// The monotonic moment, for measuring how long something took or may still take.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the monotonic clock"
)]
pub fn instant() -> Instant {
    Instant::now()
}
