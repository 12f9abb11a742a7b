//! Outages of the store in the log: one line when one begins, one when it is over.
//!
//! Every request and every background task meets an outage. If each logged it, nobody would see what it is. So they log
//! at level debug, and what looks at the store every second says it once.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::clock::instant;
use crate::connections::LogThrottle;
use crate::control::error::ControlError;
use crate::store::{Store, StoreError};

const UNREACHABLE: &str =
    "store unreachable; the gateway serves its last policy, and changes and token requests fail";
const BACK: &str = "store is back";
const REQUESTS_FAILED: &str = "requests failed because of the store";

/// How often the store is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is known of the store.
pub(crate) struct Outage {
    /// The store as an operator knows it, without its password.
    store: String,
    began: Mutex<Option<Instant>>,
    opened: Instant,
    throttle: LogThrottle,
}

impl Outage {
    /// A store that can be reached.
    pub fn none(store: String) -> Self {
        Self {
            store,
            began: Mutex::new(None),
            opened: instant(),
            throttle: LogThrottle::default(),
        }
    }

    /// Looks at the store until cancelled.
    pub async fn watch(&self, store: &Store) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.looked(&store.probe().await);
        }
    }

    fn looked(&self, found: &Result<(), StoreError>) {
        let (mut began, store) = (self.began.lock(), &*self.store);
        match (found, *began) {
            (Err(error), None) => {
                *began = Some(instant());
                tracing::error!(store, %error, "{UNREACHABLE}");
            }
            (Ok(()), Some(since)) => {
                *began = None;
                let after_s = since.elapsed().as_secs();
                tracing::info!(store, after_s, "{BACK}");
            }
            _ => {}
        }
    }

    /// Logs that a request failed because of the store, at most once in ten seconds, and not at all while it is known
    /// that the store cannot be reached.
    pub fn failed_request(&self, kind: &str) {
        if self.began.lock().is_some() {
            return;
        }
        let now_ms = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(requests) = self.throttle.count(now_ms) {
            tracing::warn!(store = &*self.store, kind, requests, "{REQUESTS_FAILED}");
        }
    }
}

/// Whether an error is an outage of the store, which has log lines of its own.
const fn is_outage(error: &ControlError) -> bool {
    matches!(error, ControlError::Store(error) if error.is_outage())
}

/// Logs a failure of background work, at level debug if it is an outage of the store.
pub(crate) fn log_failure(error: &ControlError, what: &'static str) {
    match is_outage(error) {
        true => tracing::debug!(%error, "{what}"),
        false => tracing::warn!(%error, "{what}"),
    }
}

/// Logs why a request failed, at level debug if it is an outage of the store.
pub(crate) fn log_failed_request(error: &ControlError, what: &'static str) {
    match is_outage(error) {
        true => tracing::debug!(%error, "{what}"),
        false => tracing::error!(%error, "{what}"),
    }
}
