//! Measures how much time has certainly passed, so that a clock that jumps deletes nothing too early.
//!
//! A row that ends something (a revocation, a used assertion, an old signing key) may be deleted only after that thing
//! has expired. A wall clock alone does not show that, because it may jump ahead and back. So a [`ClockGuard`] keeps a
//! *trusted time*. It is never ahead of the wall clock, and only two things advance it:
//!
//! - the time since boot, suspension included, that passes while the guard runs;
//! - a whole day in which the wall clock and the time since boot advanced equally: it then becomes the wall clock's time.
//!
//! The trusted time is kept in the store, so that a restart with a wrong clock is noticed. If the clock
//! is ahead of it at a start, that may be an error or a long stop. So for a day only the time since that start counts.
//! While the wall clock is behind the trusted time, or differs from the database's clock, nothing is deleted.
//!
//! A row is deleted when it expired [`KEPT_AFTER_END_S`] before the trusted time: it is kept for at least one day after
//! its expiry, on the wall clock and in running time.

use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{IntCounter, IntGauge, Opts, Registry};

use super::Clock;
use crate::domain::time::UnixSeconds;

/// How long a row that ends something is kept after its expiry, in seconds: a day, and an hour for the tolerances.
pub const KEPT_AFTER_END_S: u64 = 25 * 3_600;

/// The largest difference between two clocks that agree. It allows for slewing and small corrections.
const TOLERANCE_MS: u64 = 60_000;

/// How long the wall clock must advance steadily before the guard believes it.
const STEADY_MS: u64 = 86_400_000;

/// What the clocks of a process show at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    pub wall: UnixSeconds,
    /// Since an arbitrary start, the same for the whole process; suspension counts.
    pub uptime: Duration,
    /// The clock of the database that several processes share, if it was read.
    pub database: Option<UnixSeconds>,
}

/// How the wall clock compares with the trusted time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockState {
    /// It agrees.
    #[default]
    Settled,
    /// It is ahead since the start of the process, as after a long stop.
    Starting,
    /// It is ahead, and has jumped.
    Jumped,
    /// It is behind.
    Behind,
    /// It differs from the database's clock.
    DiffersFromDatabase,
}

impl ClockState {
    /// Whether the trusted time does not advance, so that no old row may be deleted.
    const fn is_frozen(self) -> bool {
        matches!(self, Self::Behind | Self::DiffersFromDatabase)
    }

    /// The warning for operators; `None` if the clock is in order.
    #[must_use]
    pub const fn warning(self) -> Option<&'static str> {
        match self {
            Self::Settled | Self::Starting => None,
            Self::Jumped => Some(
                "the system clock jumped; what expires by its new time is kept until it has been steady for a day",
            ),
            Self::Behind => Some(
                "the system clock is behind the latest time known; no expired row is deleted until it is set right or has been steady for a day",
            ),
            Self::DiffersFromDatabase => Some(
                "the system clock differs from the database's clock; no expired row is deleted until they agree",
            ),
        }
    }
}

/// The result of one reading of the clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockLook {
    pub state: ClockState,
    /// What expired before this time has certainly expired; 1970 while nothing may be deleted.
    pub passed: UnixSeconds,
    /// The trusted time to keep in the store; `None` while there is none, or while it does not advance.
    pub mark: Option<UnixSeconds>,
    /// How many seconds the wall clock is ahead of the trusted time: negative if it is behind, zero if there is no
    /// trusted time yet.
    pub ahead_s: i64,
    /// Whether the wall clock jumped since the reading before.
    pub jumped: bool,
}

impl ClockLook {
    /// Rows that expired before this time may be deleted.
    #[must_use]
    pub const fn ended_before(&self) -> UnixSeconds {
        self.passed.minus(KEPT_AFTER_END_S)
    }
}

/// A time on both clocks, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Both {
    wall: u64,
    uptime: u64,
}

impl Both {
    /// How much more the wall clock advanced than the time since boot, from `self` to `later`.
    fn step(self, later: Self) -> i64 {
        difference(later.wall, self.wall).saturating_sub(difference(later.uptime, self.uptime))
    }
}

/// Keeps the trusted time of one process. Pure: it reads no clock.
#[derive(Debug)]
pub struct ClockGuard {
    /// The trusted time, in milliseconds since 1970.
    trusted: u64,
    /// Since when the wall clock has advanced steadily.
    anchor: Option<Both>,
    last: Option<Both>,
    has_jumped: bool,
    /// Whether the store had a trusted time, or a day of steady running has given one.
    has_mark: bool,
    differs_from_database: bool,
    state: ClockState,
}

impl ClockGuard {
    /// A guard that starts with the trusted time of the store, or with none.
    #[must_use]
    pub const fn new(mark: UnixSeconds) -> Self {
        Self {
            trusted: mark.0.saturating_mul(1_000),
            anchor: None,
            last: None,
            has_jumped: false,
            has_mark: mark.0 > 0,
            differs_from_database: false,
            state: ClockState::Settled,
        }
    }

    /// Applies a reading. If it has no database clock, the result of the last comparison stays.
    pub fn look(&mut self, reading: &ClockReading) -> ClockLook {
        let now = Both {
            wall: reading.wall.0.saturating_mul(1_000),
            uptime: u64::try_from(reading.uptime.as_millis()).unwrap_or(u64::MAX),
        };
        if let Some(database) = reading.database {
            let apart = database.0.abs_diff(reading.wall.0).saturating_mul(1_000);
            self.differs_from_database = apart > TOLERANCE_MS;
        }
        let last = self.last.replace(now).unwrap_or(now);
        let anchor = *self.anchor.get_or_insert(now);
        let jumped = anchor.step(now).unsigned_abs() > TOLERANCE_MS;
        if jumped || self.differs_from_database {
            self.anchor = Some(now);
            self.has_jumped |= jumped;
        } else if now.uptime.saturating_sub(anchor.uptime) >= STEADY_MS {
            let on_course = anchor
                .wall
                .saturating_add(now.uptime.saturating_sub(anchor.uptime));
            self.trusted = now.wall.min(on_course);
            self.anchor = Some(now);
            (self.has_jumped, self.has_mark) = (false, true);
        }
        self.state = self.advance(now, last);
        let passed = if self.state.is_frozen() {
            0
        } else {
            self.trusted / 1_000
        };
        ClockLook {
            state: self.state,
            passed: UnixSeconds(passed),
            mark: (self.has_mark && !self.state.is_frozen()).then_some(UnixSeconds(passed)),
            ahead_s: match self.has_mark {
                true => difference(now.wall, self.trusted) / 1_000,
                false => 0,
            },
            jumped,
        }
    }

    /// Until when to keep a row that ends something which expires at `expires_at`; see [`ClockWatch::end_of_row`].
    #[must_use]
    pub fn end_of_row(&self, expires_at: UnixSeconds) -> UnixSeconds {
        expires_at.max(UnixSeconds(self.trusted / 1_000))
    }

    /// Advances the trusted time by what has passed since the last reading, and never beyond the wall clock.
    fn advance(&mut self, now: Both, last: Both) -> ClockState {
        if self.differs_from_database {
            return ClockState::DiffersFromDatabase;
        }
        if now.wall.saturating_add(TOLERANCE_MS) < self.trusted {
            return ClockState::Behind;
        }
        let witnessed = match self.state.is_frozen() {
            true => 0,
            false => now.uptime.saturating_sub(last.uptime),
        };
        self.trusted = self.trusted.saturating_add(witnessed).min(now.wall);
        if now.wall <= self.trusted.saturating_add(TOLERANCE_MS) {
            self.has_jumped = false;
            ClockState::Settled
        } else if self.has_jumped {
            ClockState::Jumped
        } else {
            ClockState::Starting
        }
    }
}

fn difference(one: u64, other: u64) -> i64 {
    let size = i64::try_from(one.abs_diff(other)).unwrap_or(i64::MAX);
    if one < other { -size } else { size }
}

/// A [`ClockGuard`] over a [`Clock`], shared by the tasks of a plane: it logs and counts what it sees.
#[derive(Debug)]
pub struct ClockWatch {
    clock: Clock,
    guard: Mutex<ClockGuard>,
    ahead: IntGauge,
    jumps: IntCounter,
}

impl ClockWatch {
    /// A watch that starts with a trusted time. `plane` is the name in its metrics and log records.
    ///
    /// # Errors
    /// A metric cannot be made.
    pub fn new(plane: &'static str, clock: Clock, mark: UnixSeconds) -> Result<Self, prometheus::Error> {
        let ahead = "By how much the system clock is ahead of the time that has certainly passed; negative where it is behind.";
        let jumps = "Jumps of the system clock by more than a minute.";
        let of = |name: &str, help: &str| Opts::new(name, help).const_label("plane", plane);
        let watch = Self {
            clock,
            guard: Mutex::new(ClockGuard::new(mark)),
            ahead: IntGauge::with_opts(of("portcullis_clock_ahead_seconds", ahead))?,
            jumps: IntCounter::with_opts(of("portcullis_clock_jumps_total", jumps))?,
        };
        watch.look(None);
        Ok(watch)
    }

    /// Adds the watch's metrics to a registry.
    ///
    /// # Errors
    /// The registry already has a metric of that name.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.ahead.clone()))?;
        registry.register(Box::new(self.jumps.clone()))
    }

    fn reading(&self, database: Option<UnixSeconds>) -> ClockReading {
        ClockReading {
            wall: self.clock.now(),
            uptime: self.clock.uptime(),
            database,
        }
    }

    /// Reads the clocks. `database` is what the database's clock showed just now, if it was read.
    pub fn look(&self, database: Option<UnixSeconds>) -> ClockLook {
        let mut guard = self.guard.lock();
        let before = guard.state;
        let look = guard.look(&self.reading(database));
        drop(guard);
        self.ahead.set(look.ahead_s);
        if look.jumped {
            self.jumps.inc();
        }
        if look.state != before {
            report(before, &look);
        }
        look
    }

    /// What expired before this time has certainly expired; 1970 while that is unknown.
    #[must_use]
    pub fn passed(&self) -> UnixSeconds {
        self.look(None).passed
    }

    /// Until when to keep a row that ends something which expires at `expires_at`: not before the trusted time. For a
    /// clock that is behind, an expiry long ago may seem to be in the future; its row must still be kept for a day.
    #[must_use]
    pub fn end_of_row(&self, expires_at: UnixSeconds) -> UnixSeconds {
        self.look(None);
        self.guard.lock().end_of_row(expires_at)
    }

    /// The warning about the clock for operators; `None` if the clock is in order.
    #[must_use]
    pub fn warning(&self) -> Option<&'static str> {
        self.look(None).state.warning()
    }
}

/// Logs a change of state.
fn report(before: ClockState, look: &ClockLook) {
    match look.state.warning() {
        Some(warning) => tracing::warn!(clock.ahead_s = look.ahead_s, "{warning}"),
        None if before.warning().is_some() => {
            tracing::info!("the system clock agrees with the time that has passed");
        }
        None => {}
    }
}
