//! A value that is fetched over the network when it is needed, and kept for a while.
//!
//! Many callers cause one fetch at a time. A fetch that fails keeps the value that was fetched before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::clock::instant;

/// How long a value is kept, and how often it is fetched.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    /// After this time the value is fetched again.
    pub kept_for: Duration,
    /// The shortest time between two fetches, good or failed, however many callers want another value.
    pub fetch_every: Duration,
}

/// A value and when it was fetched.
pub struct Fetched<T> {
    lifetime: Lifetime,
    /// Held while fetching: callers that need the result wait for it.
    held: Mutex<Held<T>>,
}

struct Held<T> {
    value: Option<Arc<T>>,
    fetched: Option<Instant>,
    tried: Option<Instant>,
}

impl<T> Fetched<T> {
    /// Nothing yet; the first caller fetches.
    #[must_use]
    pub fn new(lifetime: Lifetime) -> Self {
        Self {
            lifetime,
            held: Mutex::new(Held {
                value: None,
                fetched: None,
                tried: None,
            }),
        }
    }

    /// The value, fetched if there is none, if it is old, or if `suffices` rejects it.
    ///
    /// Between two fetches the value at hand is the answer, whether it suffices or not: `None` if there is none.
    /// `failed` hears of a failed fetch that leaves the earlier value in use.
    ///
    /// # Errors
    /// The error of `fetch`, where no value at hand suffices. `fetch` is not polled unless it is needed.
    pub async fn get<E>(
        &self,
        suffices: impl Fn(&T) -> bool,
        fetch: impl Future<Output = Result<T, E>>,
        failed: impl FnOnce(&E),
    ) -> Result<Option<Arc<T>>, E> {
        let mut held = self.held.lock().await;
        let is_within =
            |since: Option<Instant>, time| since.is_some_and(|since| instant().duration_since(since) < time);
        let at_hand = held.value.clone();
        let is_enough = at_hand.as_ref().is_some_and(|value| suffices(value));
        if is_within(held.tried, self.lifetime.fetch_every)
            || is_enough && is_within(held.fetched, self.lifetime.kept_for)
        {
            return Ok(at_hand);
        }
        held.tried = Some(instant());
        match fetch.await {
            Ok(value) => {
                held.fetched = held.tried;
                held.value = Some(Arc::new(value));
                Ok(held.value.clone())
            }
            Err(error) if is_enough => {
                failed(&error);
                Ok(at_hand)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    fn fetched(kept_for: Duration, fetch_every: Duration) -> Fetched<u32> {
        Fetched::new(Lifetime {
            kept_for,
            fetch_every,
        })
    }

    async fn get(
        of: &Fetched<u32>,
        least: u32,
        result: Result<u32, &'static str>,
    ) -> Result<Option<u32>, &'static str> {
        let got = of.get(|value| *value >= least, async { result }, |_| {}).await;
        got.map(|value| value.map(|value| *value))
    }

    #[tokio::test]
    async fn many_callers_cause_one_fetch() {
        let (of, fetches) = (fetched(LONG, LONG), AtomicU32::new(0));
        let fetch = || async {
            fetches.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok::<_, ()>(7)
        };
        let calls = (0..50).map(|_| of.get(|_| true, fetch(), |()| {}));
        for got in futures::future::join_all(calls).await {
            assert_eq!(got.unwrap().as_deref(), Some(&7));
        }
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn failed_fetch_keeps_the_value_that_suffices() {
        let of = fetched(Duration::ZERO, Duration::ZERO);
        assert_eq!(get(&of, 0, Err("down")).await, Err("down"));
        assert_eq!(get(&of, 0, Ok(1)).await, Ok(Some(1)));
        assert_eq!(get(&of, 1, Err("down")).await, Ok(Some(1)));
        assert_eq!(get(&of, 2, Err("down")).await, Err("down"));
        assert_eq!(get(&of, 2, Ok(2)).await, Ok(Some(2)));
    }

    #[tokio::test]
    async fn value_that_does_not_suffice_is_fetched_again_after_the_cooldown() {
        let of = fetched(LONG, LONG);
        assert_eq!(get(&of, 0, Ok(1)).await, Ok(Some(1)));
        assert_eq!(get(&of, 5, Ok(5)).await, Ok(Some(1)), "too early");
        let of = fetched(LONG, Duration::ZERO);
        assert_eq!(get(&of, 0, Ok(1)).await, Ok(Some(1)));
        assert_eq!(get(&of, 1, Ok(3)).await, Ok(Some(1)), "it suffices");
        assert_eq!(get(&of, 5, Ok(5)).await, Ok(Some(5)));
    }

    #[tokio::test]
    async fn failed_first_fetch_is_not_repeated_at_once() {
        let of = fetched(LONG, LONG);
        assert_eq!(get(&of, 0, Err("down")).await, Err("down"));
        assert_eq!(get(&of, 0, Ok(1)).await, Ok(None));
    }
}
