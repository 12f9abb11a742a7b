//! Key sets of outside issuers: fetched ahead of need, kept when the issuer is down, never guessed.
//!
//! Each issuer has its own task, so that one that hangs delays no other. An unknown key id asks the task
//! for a fetch; however many requests ask, one fetch runs, and after it none for the cool-down.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{Notify, watch};

use crate::clock::instant;
use crate::config::{JwksUri, KeyOrigin, OutsideIssuer};
use crate::domain::ids::Audience;
use crate::domain::issuer_keys::IssuerKeys;
use crate::domain::key::Algorithm;
use crate::domain::policy::TrustedIssuer;
use crate::gateway::observe::metrics::Metrics;
use crate::gateway::state::policy_cell::PolicyCell;
use crate::http_client::{Bounds, FetchError, HttpClient, Reach, shown};
use crate::key_sets;
use crate::key_sets::LeftOutLog;

/// The wait after the first failed fetch; it doubles up to the refresh interval.
const RETRY_FIRST: Duration = Duration::from_millis(250);

/// What is said of a set without a key.
const NO_KEYS: &str = "the key set has no usable key; one needs `kid` and one of the configured algorithms";

/// Why a key set could not be had. The sentences quote nothing of it.
#[derive(Debug, Error)]
pub enum KeySetError {
    #[error("key file {0}: {1}")]
    File(String, String),
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("{0}")]
    Document(String),
    #[error("{NO_KEYS}")]
    NoKeys,
}

/// An outside issuer as the policy knows it, with the keys of its file where it has one.
#[must_use]
pub fn trusted(issuer: &OutsideIssuer, keys: Option<IssuerKeys>) -> TrustedIssuer {
    TrustedIssuer {
        issuer: Arc::from(issuer.issuer.as_str()),
        audiences: issuer
            .audiences
            .iter()
            .filter_map(|audience| Audience::parse(audience).ok())
            .collect(),
        types: issuer.types.clone(),
        leeway_s: issuer.leeway_s,
        lifetime_max_s: issuer.lifetime_max_s,
        keys,
    }
}

/// How the fetching goes.
struct FetchState {
    /// After the next failed fetch.
    wait: Duration,
    /// The last set that came had no usable key.
    was_empty: bool,
}

/// One issuer's fetching, shared between its task and the requests that wait for it.
pub struct KeyFetcher {
    issuer: String,
    uri: JwksUri,
    algorithms: Vec<Algorithm>,
    client: HttpClient,
    left_out: Mutex<LeftOutLog>,
    wanted: Notify,
    /// Counts finished fetches, good or bad.
    finished: watch::Sender<u64>,
}

impl KeyFetcher {
    /// A fetcher for an issuer whose keys come from a URI, `None` for others.
    #[must_use]
    pub fn new(issuer: &OutsideIssuer) -> Option<Self> {
        let KeyOrigin::Uri(uri) = &issuer.keys else {
            return None;
        };
        Some(Self {
            issuer: issuer.issuer.clone(),
            uri: uri.clone(),
            algorithms: issuer.algorithms.clone(),
            // The operator named this address, wherever it is.
            client: HttpClient::new(Reach::Anywhere),
            left_out: Mutex::default(),
            wanted: Notify::new(),
            finished: watch::Sender::new(0),
        })
    }

    /// The issuer's name.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Asks for a fetch and waits for one to finish, for no longer than the configured bound. Returns
    /// at once when the task is cooling down.
    pub async fn ask(&self) {
        let mut finished = self.finished.subscribe();
        finished.mark_unchanged();
        self.wanted.notify_one();
        let _ = tokio::time::timeout(self.uri.wait, finished.changed()).await;
    }

    /// Resolves when the first fetch has ended, good or bad; for no longer than one fetch may take.
    pub async fn first_finished(&self) {
        let mut finished = self.finished.subscribe();
        let first = finished.wait_for(|count| *count > 0);
        let _ = tokio::time::timeout(self.uri.fetch_timeout, first).await;
    }

    /// Fetches until cancelled: before the first request, ahead of time, and when asked.
    pub async fn run(&self, cell: &PolicyCell, metrics: &Metrics) {
        let mut course = FetchState {
            wait: RETRY_FIRST,
            was_empty: false,
        };
        loop {
            let began = instant();
            let result = self.fetch().await;
            metrics.jwks_fetched(&self.issuer, result.is_ok());
            let pause = self.take(result, &mut course, cell);
            self.finished.send_modify(|count| *count += 1);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.asked(began) => {}
            }
        }
    }

    /// Puts fetched keys in force. Answers when to fetch next.
    ///
    /// INVARIANT: what an issuer withdraws ends. A set without a usable key is its word as much as any other, and
    /// no outage, in which the last good keys are kept. But it is also what an issuer says by mistake for a moment
    /// while it is being replaced, and then every client would lose what it sends. So it has to say it twice, a
    /// moment apart.
    fn take(
        &self,
        result: Result<IssuerKeys, KeySetError>,
        course: &mut FetchState,
        cell: &PolicyCell,
    ) -> Duration {
        let (issuer, uri) = (&self.issuer, shown(&self.uri.uri));
        let keys = match result {
            Ok(keys) => keys,
            Err(error) => {
                tracing::warn!(%issuer, %uri, %error, "key set not fetched; the keys in force stay");
                let pause = jitter(course.wait);
                course.wait = (course.wait * 2).min(self.uri.refresh);
                return pause;
            }
        };
        course.wait = RETRY_FIRST;
        let was_empty = std::mem::replace(&mut course.was_empty, keys.is_empty());
        if keys.is_empty() && !was_empty {
            tracing::warn!(%issuer, %uri, "{NO_KEYS}; asked once more before its tokens end");
            return jitter(RETRY_FIRST).min(self.uri.refresh);
        }
        if keys.is_empty() {
            tracing::warn!(%issuer, %uri, "{NO_KEYS}; none of its tokens is accepted");
        }
        cell.set_issuer_keys(issuer, &keys);
        jitter(self.uri.refresh)
    }

    /// Resolves when a fetch is wanted and the cool-down since the last one is over. Requests that come
    /// during the cool-down are told at once that there is nothing new.
    async fn asked(&self, last: std::time::Instant) {
        loop {
            self.wanted.notified().await;
            if last.elapsed() >= self.uri.cooldown {
                return;
            }
            self.finished.send_modify(|count| *count += 1);
        }
    }

    async fn fetch(&self) -> Result<IssuerKeys, KeySetError> {
        let bounds = Bounds {
            within: self.uri.fetch_timeout,
            bytes_max: key_sets::BYTES_MAX,
        };
        let body = self.client.get(&self.uri.uri, HeaderMap::new(), bounds).await?;
        let set = key_sets::parse(&body, &self.algorithms).map_err(KeySetError::Document)?;
        self.left_out
            .lock()
            .note(&self.issuer, &shown(&self.uri.uri), &set);
        Ok(set.keys)
    }
}

/// Up to a tenth less, at random, so that a fleet does not fetch in step.
fn jitter(base: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    base - base / 10 * u32::try_from(random % 101).unwrap_or(0) / 100
}
