//! The only file that reads the time.

pub mod guard;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::UnixSeconds;

/// The source of the current time.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// A clock that a test sets.
    Manual(ManualClock),
    /// A clock that calls a function of a test.
    #[cfg(feature = "test-util")]
    Made(MadeClock),
}

/// A clock that calls a function of a test.
#[cfg(feature = "test-util")]
#[derive(Clone)]
pub struct MadeClock(Arc<dyn Fn() -> UnixSeconds + Send + Sync>);

#[cfg(feature = "test-util")]
impl MadeClock {
    /// A clock that shows what `now` returns.
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

/// A clock that changes only when a test sets it.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    now: Arc<AtomicU64>,
    /// What the monotonic clocks show: the latest time that was ever set.
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

    /// Sets the clock. If this is later than every time before, the monotonic clocks advance to it.
    pub fn set(&self, now: UnixSeconds) {
        self.now.store(now.0, Ordering::SeqCst);
        self.furthest.fetch_max(now.0, Ordering::SeqCst);
    }

    /// Advances all clocks by `seconds`.
    pub fn advance(&self, seconds: u64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
        self.furthest.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Sets the wall clock only; the monotonic clocks stay.
    pub fn jump(&self, now: UnixSeconds) {
        self.now.store(now.0, Ordering::SeqCst);
    }
}

impl Clock {
    /// The current time. A system clock before 1970 reads as 1970.
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

    /// The present moment in milliseconds since 1970, for log lines.
    #[must_use]
    pub fn unix_millis(&self) -> u64 {
        match self {
            #[expect(
                clippy::disallowed_methods,
                reason = "the one place that reads the wall clock"
            )]
            Self::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
            _ => self.now().0.saturating_mul(1_000),
        }
    }

    /// Time on the monotonic clock since an arbitrary start. Rate limits use it, because nobody can set it.
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

    /// The time since boot, suspension included. Nobody can set it, and it never stops.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        match self {
            Self::System => since_boot(),
            Self::Manual(_) => self.elapsed(),
            #[cfg(feature = "test-util")]
            Self::Made(_) => self.elapsed(),
        }
    }

    /// Whether this is the system's clock. Only that one is compared with the clocks of other machines.
    #[must_use]
    pub const fn is_system(&self) -> bool {
        matches!(self, Self::System)
    }
}

/// `Instant` stops while the machine is suspended (`CLOCK_MONOTONIC`).
#[cfg(target_os = "linux")]
fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanoseconds.unwrap_or_default())
}

#[cfg(not(target_os = "linux"))]
fn since_boot() -> Duration {
    static BEGINNING: LazyLock<Instant> = LazyLock::new(instant);
    BEGINNING.elapsed()
}

/// The current time on the monotonic clock, to measure durations.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the monotonic clock"
)]
pub fn instant() -> Instant {
    Instant::now()
}
