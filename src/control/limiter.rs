//! Token buckets in bounded memory, however many clients there are.

use crate::config::Rate;
use quick_cache::sync::Cache;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How many keys one limit remembers. When there are more, the least recently used are forgotten. A client with more
/// addresses than this could evade a limit by address in any case.
pub(crate) const REMEMBERED: usize = 65_536;

/// How long to wait before the next request, in whole seconds and at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait(u64);

impl Wait {
    /// The shortest wait.
    pub const SHORTEST: Self = Self(1);

    /// This many seconds, and at least one.
    #[must_use]
    pub const fn of_seconds(seconds: u64) -> Self {
        if seconds == 0 {
            Self::SHORTEST
        } else {
            Self(seconds)
        }
    }

    /// The seconds to wait.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0
    }

    fn of(time: Duration) -> Self {
        Self(
            time.as_millis()
                .div_ceil(1_000)
                .try_into()
                .unwrap_or(u64::MAX)
                .max(1),
        )
    }
}

/// A bucket of `burst` requests that refills at a steady rate, for each of a bounded number of keys.
pub struct Limiter<K> {
    /// Time between two requests at the steady rate, in microseconds.
    interval: u64,
    /// Time in which an empty bucket fills, in microseconds.
    whole: u64,
    /// When each bucket will be full.
    full_at: Cache<K, Arc<AtomicU64>>,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    pub fn new(rate: Rate) -> Self {
        let interval = 1_000_000 / u64::from(rate.per_second.max(1));
        Self::every(Duration::from_micros(interval), rate.burst)
    }

    /// A bucket that gains one request each `interval`.
    pub fn every(interval: Duration, burst: u32) -> Self {
        let interval = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX).max(1);
        Self {
            interval,
            whole: interval.saturating_mul(u64::from(burst.max(1))),
            full_at: Cache::new(REMEMBERED),
        }
    }

    /// Counts one request of `key`, unless it is over the limit.
    pub fn take(&self, key: &K, now: Duration) -> Result<(), Wait> {
        let now = micros(now);
        let bucket = self
            .full_at
            .get_or_insert_with(key, || Ok::<_, Wait>(Arc::default()))?;
        // The buckets are independent of each other and of all other memory, so no ordering is needed.
        let taken = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let after = full_at.max(now).saturating_add(self.interval);
            (after - now <= self.whole).then_some(after)
        });
        taken.map(drop).map_err(|full_at| self.wait(full_at, now))
    }

    /// Whether a request of `key` would be within the limit. Does not count it.
    pub fn look(&self, key: &K, now: Duration) -> Result<(), Wait> {
        let Some(bucket) = self.full_at.get(key) else {
            return Ok(());
        };
        let now = micros(now);
        let full_at = bucket.load(Ordering::Relaxed);
        if full_at.max(now).saturating_add(self.interval) - now <= self.whole {
            Ok(())
        } else {
            Err(self.wait(full_at, now))
        }
    }

    /// Forgets all requests of `key`.
    pub fn forget(&self, key: &K) {
        self.full_at.remove(key);
    }

    /// Undoes the count of one request.
    pub fn give_back(&self, key: &K) {
        if let Some(bucket) = self.full_at.get(key) {
            let _ = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                Some(full_at.saturating_sub(self.interval))
            });
        }
    }

    fn wait(&self, full_at: u64, now: u64) -> Wait {
        let until = full_at.saturating_add(self.interval).saturating_sub(self.whole);
        Wait::of(Duration::from_micros(until.saturating_sub(now)))
    }
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_000_000 + seconds)
    }

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate_and_says_how_long_to_wait() {
        let limiter = Limiter::every(Duration::from_secs(10), 3);
        for _ in 0..3 {
            assert_eq!(limiter.look(&"a", at(0)), Ok(()));
            assert_eq!(limiter.take(&"a", at(0)), Ok(()));
        }
        assert_eq!(limiter.look(&"a", at(0)), Err(Wait(10)));
        assert_eq!(limiter.take(&"a", at(0)), Err(Wait(10)));
        assert_eq!(limiter.take(&"b", at(0)), Ok(()), "others are not held back");
        assert_eq!(
            limiter.take(&"a", at(9)),
            Err(Wait(1)),
            "being refused costs nothing"
        );
        assert_eq!(limiter.take(&"a", at(10)), Ok(()));
        assert_eq!(limiter.take(&"a", at(10)), Err(Wait(10)));
        // Full again, and no fuller than it was.
        for _ in 0..3 {
            assert_eq!(limiter.take(&"a", at(1_000)), Ok(()));
        }
        assert_eq!(limiter.take(&"a", at(1_000)), Err(Wait(10)));
        limiter.forget(&"a");
        assert_eq!(limiter.take(&"a", at(1_000)), Ok(()));
    }

    #[test]
    fn concurrent_requests_get_the_burst_and_not_one_more() {
        let limiter = Limiter::every(Duration::from_secs(10), 1_000);
        let taken = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        if limiter.take(&7, at(0)).is_ok() {
                            taken.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 1_000);
    }

    #[test]
    fn memory_is_bounded_and_those_who_keep_asking_stay_remembered() {
        let limiter = Limiter::every(Duration::from_secs(3_600), 2);
        for flood in 0..(4 * REMEMBERED as u64) {
            let _ = limiter.take(&flood, at(0));
            if flood % 1_000 == 0 {
                let _ = limiter.take(&u64::MAX, at(0));
            }
        }
        assert!(limiter.full_at.len() <= REMEMBERED, "{}", limiter.full_at.len());
        assert!(limiter.take(&u64::MAX, at(0)).is_err());
    }
}
