//! GitHub's public keys for reports of leaked tokens, fetched when a report needs them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use serde::Deserialize;
use tokio::sync::{Mutex, Semaphore};

use crate::clock::instant;
use crate::control::http::connections::Places;
use crate::domain::leak_report::ReportKey;
use crate::http_client::{Bounds, FetchError, HttpClient, Reach, shown};
use crate::json_problem::json_problem;

const GITHUB_KEYS_NOT_FETCHED: &str = "GitHub key fetch failed; keeping the current keys";

/// The largest key document read, in bytes.
const DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// Keys taken from one document.
const KEYS_MAX: usize = 64;

/// How long one fetch may take.
const FETCH_WITHIN: Duration = Duration::from_secs(5);

/// The shortest time between two fetches.
const FETCH_EVERY: Duration = Duration::from_secs(60);

/// How long fetched keys are used.
const KEPT_FOR: Duration = Duration::from_secs(3_600);

/// Reports handled at once.
const REPORTS_AT_ONCE: usize = 2;

/// Large reports held at once, each from another network.
const LARGE_AT_ONCE: usize = 2;

/// GitHub's key document.
#[derive(Deserialize)]
struct KeyDocument {
    public_keys: Vec<PublishedKey>,
}

#[derive(Deserialize)]
struct PublishedKey {
    key_identifier: String,
    key: String,
}

/// The keys as last fetched.
#[derive(Default)]
struct Published {
    keys: Vec<(String, Arc<ReportKey>)>,
    fetched: Option<Instant>,
}

/// Verifies GitHub's reports.
pub struct Github {
    uri: http::Uri,
    client: HttpClient,
    /// Locked while the keys are fetched, so that concurrent reports share one fetch.
    published: Mutex<Published>,
    pub(crate) turns: Semaphore,
    /// Permits for large reports, verified or not.
    pub(crate) large: Arc<Places>,
}

impl Github {
    pub fn new(uri: http::Uri) -> Self {
        Self {
            uri,
            client: HttpClient::new(Reach::Anywhere),
            published: Mutex::default(),
            turns: Semaphore::new(REPORTS_AT_ONCE),
            large: Places::new(LARGE_AT_ONCE, 1),
        }
    }

    /// The published key with this identifier. An unknown identifier causes a fetch, once a minute at most. A failed fetch
    /// keeps the current keys.
    ///
    /// # Errors
    /// [`FetchError`] where a fetch was needed and failed.
    pub async fn key(&self, identifier: &str) -> Result<Option<Arc<ReportKey>>, FetchError> {
        let mut published = self.published.lock().await;
        let age = published.fetched.map(|fetched| instant().duration_since(fetched));
        let is_known = published.keys.iter().any(|(held, _)| held == identifier);
        let is_old = age.is_none_or(|age| age >= KEPT_FOR);
        let may_fetch = age.is_none_or(|age| age >= FETCH_EVERY);
        if (is_old || !is_known) && may_fetch {
            published.fetched = Some(instant());
            match self.fetch().await {
                Ok(keys) => published.keys = keys,
                Err(error) => {
                    tracing::warn!(%error, uri = shown(&self.uri), "{GITHUB_KEYS_NOT_FETCHED}");
                    if !is_known {
                        return Err(error);
                    }
                }
            }
        }
        let found = published.keys.iter().find(|(held, _)| held == identifier);
        Ok(found.map(|(_, key)| Arc::clone(key)))
    }

    /// The keys of the document. Keys of an unknown kind are left out.
    async fn fetch(&self) -> Result<Vec<(String, Arc<ReportKey>)>, FetchError> {
        let bounds = Bounds {
            within: FETCH_WITHIN,
            bytes_max: DOCUMENT_BYTES_MAX,
        };
        let document = self.client.get(&self.uri, HeaderMap::new(), bounds).await?;
        let document: KeyDocument = serde_json::from_slice(&document)
            .map_err(|error| FetchError::Http(format!("the answer {}", json_problem(&error))))?;
        let keys = document.public_keys.into_iter().take(KEYS_MAX);
        let usable = keys.filter_map(|published| {
            let key = ReportKey::parse(&published.key)?;
            Some((published.key_identifier, Arc::new(key)))
        });
        Ok(usable.collect())
    }
}
