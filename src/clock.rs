//! The only file that reads the time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::UnixSeconds;

/// Where the present moment comes from.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// A clock that tests set by hand.
    Manual(ManualClock),
    /// A clock that a test makes of a function of its own.
    #[cfg(feature = "test-util")]
    Made(MadeClock),
}

/// What tells the time to a test.
#[cfg(feature = "test-util")]
#[derive(Clone)]
pub struct MadeClock(Arc<dyn Fn() -> UnixSeconds + Send + Sync>);

#[cfg(feature = "test-util")]
impl MadeClock {
    /// A clock that shows what `now` says.
    pub fn of(now: impl Fn() -> UnixSeconds + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }
}

#[cfg(feature = "test-util")]
impl std::fmt::Debug for MadeClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MadeClock")
    }
}

/// A clock that stands still until it is moved.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    now: Arc<AtomicU64>,
    /// The latest moment it was ever set to.
    furthest: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: UnixSeconds) -> Self {
        Self {
            now: Arc::new(AtomicU64::new(now.0)),
            furthest: Arc::new(AtomicU64::new(now.0)),
        }
    }

    /// Sets the clock.
    pub fn set(&self, now: UnixSeconds) {
        self.now.store(now.0, Ordering::SeqCst);
        self.furthest.fetch_max(now.0, Ordering::SeqCst);
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
            Self::Manual(clock) => UnixSeconds(clock.now.load(Ordering::SeqCst)),
            #[cfg(feature = "test-util")]
            Self::Made(clock) => (clock.0)(),
        }
    }

    /// How far a clock has gone that nobody sets, from a beginning of its own: what limits count in.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        static BEGINNING: LazyLock<Instant> = LazyLock::new(instant);
        match self {
            Self::System => BEGINNING.elapsed(),
            Self::Manual(clock) => Duration::from_secs(clock.furthest.load(Ordering::SeqCst)),
            #[cfg(feature = "test-util")]
            Self::Made(clock) => Duration::from_secs((clock.0)().0),
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
