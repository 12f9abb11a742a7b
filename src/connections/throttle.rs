//! Bounds how often one kind of log line is written, without losing the count of what it is about.

use std::sync::atomic::{AtomicU64, Ordering};

/// The shortest time between two log lines of one kind, in milliseconds.
const LOG_EVERY_MS: u64 = 10_000;

/// Lets one log line through in ten seconds, with the number of events since the line before.
#[derive(Debug, Default)]
pub struct LogThrottle {
    next_ms: AtomicU64,
    events: AtomicU64,
}

impl LogThrottle {
    /// Counts one event at `now_ms`, milliseconds of any clock that only advances. Returns how many events the line to
    /// be written now stands for; none where no line is due.
    pub fn count(&self, now_ms: u64) -> Option<u64> {
        self.events.fetch_add(1, Ordering::Relaxed);
        let next = self.next_ms.load(Ordering::Relaxed);
        if now_ms < next {
            return None;
        }
        let won = self.next_ms.compare_exchange(
            next,
            now_ms.saturating_add(LOG_EVERY_MS),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        won.is_ok().then(|| self.events.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::LogThrottle;

    #[test]
    fn log_lines_are_throttled_and_lose_no_count() {
        let throttle = LogThrottle::default();
        assert_eq!(throttle.count(5), Some(1));
        assert_eq!(throttle.count(6), None);
        assert_eq!(throttle.count(10_004), None);
        assert_eq!(throttle.count(10_005), Some(3));
    }
}
