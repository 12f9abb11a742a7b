//! JWK sets of outside issuers: fetched ahead of need, kept when the issuer is down, never guessed.
//!
//! Each issuer has its own task, so that one that hangs delays no other. An unknown key id requests a fetch. However
//! many requests do, one fetch runs at a time, and none within the cool-down after it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Uri};
use parking_lot::Mutex;
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::{Notify, watch};

use crate::clock::{Clock, instant};
use crate::config::{JwksUri, KeyOrigin, KeyPlace, OutsideIssuer};
use crate::discovery;
use crate::discovery::DiscoveryError;
use crate::domain::ids::Audience;
use crate::domain::issuer_keys::IssuerKeys;
use crate::domain::key::Algorithm;
use crate::domain::policy::TrustedIssuer;
use crate::fetched::{Fetched, Lifetime};
use crate::gateway::observe::origin_metrics::OriginMetrics;
use crate::gateway::state::policy_cell::PolicyCell;
use crate::http_client::{Bounds, FetchError, HttpClient, Proxies, Reach, Trust, shown};
use crate::key_sets;
use crate::key_sets::LeftOutLog;
use crate::pem_file;
use crate::snapshot::{KeyBounds, KeySet, LeftOut};

/// The wait after the first failed fetch; it doubles up to the refresh interval.
const RETRY_FIRST: Duration = Duration::from_millis(250);

/// Log messages, and the error of a file.
const NO_KEYS: &str = "the JWKS has no usable key; keys need `kid` and one of the configured algorithms";
const FETCH_FAILED: &str = "JWKS fetch failed; keeping the current keys";
const DISCOVERY_FAILED: &str = "discovery failed; keeping the current JWKS URL";
const EMPTY_ONCE: &str = "the JWKS has no usable key; fetching it again before rejecting the issuer's tokens";
const EMPTY_TWICE: &str = "the JWKS has no usable key; rejecting all tokens of the issuer";

/// How long the URL that discovery found is used before the metadata is fetched again.
const DISCOVERED_FOR: Duration = Duration::from_secs(3_600);

/// Metadata of an issuer, as far as keys go.
#[derive(Deserialize)]
struct Metadata {
    jwks_uri: String,
}

/// The largest metadata document read, in bytes.
const METADATA_BYTES_MAX: usize = 256 * 1024;

/// Why a key set cannot be used. The sentences quote nothing of it.
#[derive(Debug, Error)]
pub enum KeySetError {
    #[error("key file {0}: {1}")]
    File(String, String),
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("discovery failed: {0}")]
    Discovery(#[from] DiscoveryError),
    #[error("discovery failed: the issuer's `jwks_uri` is not an https URL")]
    DiscoveredUri,
    #[error("`ca` {0}: {1}")]
    Authorities(String, String),
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
        claims: issuer.claims.clone(),
        leeway_s: issuer.leeway_s,
        lifetime_max_s: issuer.lifetime_max_s,
        keys,
    }
}

/// What a key set held when it was fetched once, to check a config.
#[derive(Debug)]
pub struct FoundKeys {
    /// The URL it came from, without anything secret.
    pub uri: String,
    /// The keys that can be used; one that fits two algorithms counts twice.
    pub keys: IssuerKeys,
    pub left_out: Vec<LeftOut>,
}

/// Fetches the key set of an issuer once, as a gateway would. `None` where its keys come from a file.
///
/// # Errors
/// [`KeySetError`], in a sentence for the operator. A set without a usable key is an error here.
pub async fn fetch_once(issuer: &OutsideIssuer) -> Result<Option<FoundKeys>, KeySetError> {
    let Some(fetcher) = KeyFetcher::new(issuer)? else {
        return Ok(None);
    };
    let (uri, set) = fetcher.fetch().await?;
    match set.keys.is_empty() {
        true => Err(KeySetError::NoKeys),
        false => Ok(Some(FoundKeys {
            uri: shown(&uri),
            keys: set.keys,
            left_out: set.left_out,
        })),
    }
}

/// The state between two fetches.
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
    bounds: KeyBounds,
    client: HttpClient,
    /// The URL that discovery found.
    discovered: Fetched<Uri>,
    left_out: Mutex<LeftOutLog>,
    wanted: Notify,
    /// Counts finished fetches, good or bad.
    finished: watch::Sender<u64>,
}

impl KeyFetcher {
    /// A fetcher for an issuer whose keys come from a URI, `None` for others.
    ///
    /// # Errors
    /// [`KeySetError::Authorities`].
    pub fn new(issuer: &OutsideIssuer) -> Result<Option<Self>, KeySetError> {
        let KeyOrigin::Uri(uri) = &issuer.keys else {
            return Ok(None);
        };
        let trust = match &uri.ca {
            Some(ca) => authorities(&ca.file)?,
            None => Trust::System,
        };
        Ok(Some(Self {
            issuer: issuer.issuer.clone(),
            uri: uri.clone(),
            algorithms: issuer.algorithms.clone(),
            bounds: issuer.key_bounds,
            // The operator named this address, wherever it is.
            client: HttpClient::new(Reach::Anywhere, &trust, Proxies::from_environment()),
            discovered: Fetched::new(Lifetime {
                kept_for: DISCOVERED_FOR,
                fetch_every: Duration::ZERO,
            }),
            left_out: Mutex::default(),
            wanted: Notify::new(),
            finished: watch::Sender::new(0),
        }))
    }

    /// The issuer's name.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Requests a fetch and waits for one to finish, for no longer than the configured bound. Returns
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
    pub async fn run(&self, cell: &PolicyCell, metrics: &OriginMetrics, clock: &Clock) {
        let mut state = FetchState {
            wait: RETRY_FIRST,
            was_empty: false,
        };
        loop {
            let began = instant();
            let result = self.fetch().await.map(|(uri, set)| self.log_left_out(&uri, set));
            metrics.key_set_fetched(&self.issuer, result.is_ok(), clock.now());
            let pause = self.install(result, &mut state, cell);
            self.finished.send_modify(|count| *count += 1);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.asked(began) => {}
            }
        }
    }

    /// Installs fetched keys. Answers how long to wait until the next fetch.
    ///
    /// INVARIANT: a key that an issuer withdraws is no longer trusted. A set without a usable key is valid, too, and not
    /// an outage, during which the last good keys are kept. But issuers also publish an empty set by mistake while they
    /// are being replaced. So an empty set counts when it is seen twice.
    fn install(
        &self,
        result: Result<IssuerKeys, KeySetError>,
        state: &mut FetchState,
        cell: &PolicyCell,
    ) -> Duration {
        let issuer = &self.issuer;
        let keys = match result {
            Ok(keys) => keys,
            Err(error) => {
                tracing::warn!(%issuer, %error, "{FETCH_FAILED}");
                let pause = jitter(state.wait);
                state.wait = (state.wait * 2).min(self.uri.refresh);
                return pause;
            }
        };
        state.wait = RETRY_FIRST;
        let was_empty = std::mem::replace(&mut state.was_empty, keys.is_empty());
        if keys.is_empty() && !was_empty {
            tracing::warn!(%issuer, "{EMPTY_ONCE}");
            return jitter(RETRY_FIRST).min(self.uri.refresh);
        }
        if keys.is_empty() {
            tracing::warn!(%issuer, "{EMPTY_TWICE}");
        }
        cell.set_issuer_keys(issuer, &keys);
        jitter(self.uri.refresh)
    }

    /// Resolves when a fetch is requested and the cool-down since the last one is over. Requests during the cool-down do
    /// not wait.
    async fn asked(&self, last: std::time::Instant) {
        loop {
            self.wanted.notified().await;
            if last.elapsed() >= self.uri.cooldown {
                return;
            }
            self.finished.send_modify(|count| *count += 1);
        }
    }

    async fn fetch(&self) -> Result<(Uri, KeySet), KeySetError> {
        let uri = self.key_uri().await?;
        let bounds = self.bounds_of(self.bounds.bytes);
        let body = self.client.get(&uri, accept_key_set(), bounds).await?;
        let set = key_sets::parse(&body, &self.algorithms, self.bounds).map_err(KeySetError::Document)?;
        Ok((uri, set))
    }

    fn bounds_of(&self, bytes_max: usize) -> Bounds {
        Bounds {
            within: self.uri.fetch_timeout,
            bytes_max,
        }
    }

    async fn key_uri(&self) -> Result<Uri, KeySetError> {
        if let KeyPlace::Uri(uri) = &self.uri.place {
            return Ok(uri.clone());
        }
        let discover = async {
            let bounds = self.bounds_of(METADATA_BYTES_MAX);
            let found: Metadata = discovery::metadata(&self.client, &self.issuer, bounds).await?;
            // As for the issuer itself: plain http is for loopback, where the config allowed it.
            let may_be_plain = self.issuer.starts_with("http://");
            let uri = found.jwks_uri.parse::<Uri>().ok();
            let uri = uri.filter(|uri| uri.host().is_some() && !uri.authority().is_some_and(has_user));
            uri.filter(|uri| uri.scheme_str() == Some("https") || may_be_plain)
                .ok_or(KeySetError::DiscoveredUri)
        };
        let issuer = &self.issuer;
        let failed = |error: &KeySetError| tracing::warn!(%issuer, %error, "{DISCOVERY_FAILED}");
        let uri = self.discovered.get(|_| true, discover, failed).await?;
        uri.as_deref().cloned().ok_or(KeySetError::DiscoveredUri)
    }

    fn log_left_out(&self, uri: &Uri, set: KeySet) -> IssuerKeys {
        self.left_out.lock().note(&self.issuer, &shown(uri), &set);
        set.keys
    }
}

fn has_user(authority: &http::uri::Authority) -> bool {
    authority.as_str().contains('@')
}

/// RFC 7517 section 8.5.2; servers that do not know the type answer with plain JSON.
fn accept_key_set() -> HeaderMap {
    let accept = HeaderValue::from_static("application/jwk-set+json, application/json");
    HeaderMap::from_iter([(ACCEPT, accept)])
}

fn authorities(file: &Path) -> Result<Trust, KeySetError> {
    let failed = |problem: String| KeySetError::Authorities(file.display().to_string(), problem);
    let pem = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
    let roots = pem_file::authorities(&pem).map_err(|problem| failed(problem.to_owned()))?;
    Ok(Trust::Authorities(Arc::new(roots)))
}

/// Up to a tenth less, at random, so that a fleet does not fetch in step.
fn jitter(base: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    base - base / 10 * u32::try_from(random % 101).unwrap_or(0) / 100
}
