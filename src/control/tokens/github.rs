//! GitHub's public keys for reports of leaked tokens, fetched when a report needs them.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::report_limiter::ReportLimiter;
use crate::domain::leak_report::ReportKey;
use crate::fetched::{Fetched, Lifetime};
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

/// The published keys by their identifiers.
type Published = Vec<(String, Arc<ReportKey>)>;

/// Verifies GitHub's reports.
pub struct Github {
    uri: http::Uri,
    client: HttpClient,
    published: Fetched<Published>,
    pub(crate) turns: Semaphore,
    /// Permits for large reports, verified or not.
    pub(crate) large: Arc<ReportLimiter>,
}

impl Github {
    pub fn new(uri: http::Uri) -> Self {
        Self {
            uri,
            client: HttpClient::of_environment(Reach::Anywhere),
            published: Fetched::new(Lifetime {
                kept_for: KEPT_FOR,
                fetch_every: FETCH_EVERY,
            }),
            turns: Semaphore::new(REPORTS_AT_ONCE),
            large: ReportLimiter::new(LARGE_AT_ONCE, 1),
        }
    }

    /// The published key with this identifier. An unknown identifier causes a fetch, once a minute at most; if that
    /// fails, the earlier keys stay.
    ///
    /// # Errors
    /// [`FetchError`] where a fetch was needed and failed.
    pub async fn key(&self, identifier: &str) -> Result<Option<Arc<ReportKey>>, FetchError> {
        let find = |keys: &Published| {
            let found = keys.iter().find(|(held, _)| held == identifier);
            found.map(|(_, key)| Arc::clone(key))
        };
        let failed =
            |error: &FetchError| tracing::warn!(%error, uri = shown(&self.uri), "{GITHUB_KEYS_NOT_FETCHED}");
        let published = self
            .published
            .get(|keys| find(keys).is_some(), self.fetch(), failed)
            .await?;
        Ok(published.and_then(|keys| find(&keys)))
    }

    /// The keys of the document. One of a kind we do not know is left out.
    async fn fetch(&self) -> Result<Published, FetchError> {
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
