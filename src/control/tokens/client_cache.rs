//! The apps that request tokens, with their keys parsed, as of one policy version.

use std::sync::Arc;

use prometheus::IntCounter;
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use super::error::TokenError;
use crate::control::changes::Changes;
use crate::control::client_address::ClientAddress;
use crate::control::rate_limits::Limits;
use crate::domain::ids::{AppId, KeyId};
use crate::domain::issue::IssuableApp;
use crate::domain::key::{PublicKey, VerifyingKey};
use crate::domain::time::UnixSeconds;
use crate::model::app::AppKey;
use crate::store::{Store, StoreError};

/// Apps kept.
const APPS_KEPT: usize = 10_000;

/// Reads of other requests that one request waits for. The first may have begun before the change that the request
/// has to see, the second cannot have.
const READS_JOINED_MAX: usize = 2;

/// An app that can authenticate.
pub struct AuthenticatingClient {
    pub app: IssuableApp,
    keys: Vec<VerifyingKey>,
    /// When the keys expire that do.
    expiries: Vec<(KeyId, UnixSeconds)>,
    /// The policy version that all this was read from.
    version: u64,
}

impl AuthenticatingClient {
    /// All keys of the app.
    pub fn keys(&self) -> &[VerifyingKey] {
        &self.keys
    }

    /// Whether the key has expired.
    pub(crate) fn has_expired(&self, key: &KeyId, now: UnixSeconds) -> bool {
        self.expiries.iter().any(|(id, at)| id == key && *at <= now)
    }

    /// Whether this is what the store held at this version.
    pub(crate) fn is_as_of(&self, version: u64) -> bool {
        self.version == version
    }
}

/// Apps read before. An entry holds for its policy version and no other.
pub struct ClientCache {
    kept: Cache<AppId, Arc<AuthenticatingClient>>,
    /// One permit for lookups that come from networks with too many failed requests.
    suspects: Semaphore,
    reads: IntCounter,
}

impl ClientCache {
    /// An empty cache.
    ///
    /// # Errors
    /// The metric's name is malformed.
    pub fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            kept: Cache::new(APPS_KEPT),
            suspects: Semaphore::new(1),
            reads: IntCounter::new(
                "portcullis_client_reads_total",
                "Times that an app and its keys were read from the store for a client's request.",
            )?,
        })
    }
}

/// The apps that request tokens, with their keys parsed.
pub struct Clients {
    pub(crate) limits: Arc<Limits>,
    pub(crate) cache: ClientCache,
    pub(crate) store: Arc<Store>,
    pub(crate) changes: Arc<Changes>,
}

impl Clients {
    /// Counts the reads from the store.
    pub(crate) fn reads(&self) -> &IntCounter {
        &self.cache.reads
    }

    /// The app as it was last read, unless anything is known to have changed since.
    pub(crate) fn cached(&self, id: &AppId) -> Option<Arc<AuthenticatingClient>> {
        let newest = *self.changes.versions.borrow();
        self.cache.kept.get(id).filter(|client| client.version == newest)
    }

    /// The same as [`Clients::client`], for a request from this address. Where too many requests from there failed,
    /// one app is looked up at a time and the other requests have to wait, so that a flood of made-up app names does
    /// not take the store from everybody else.
    pub(crate) async fn client_for(
        &self,
        id: &AppId,
        from: ClientAddress,
    ) -> Result<Option<Arc<AuthenticatingClient>>, TokenError> {
        let newest = *self.changes.versions.borrow();
        let Err(wait) = self.limits.may_prove_nothing(from) else {
            return self.client(id, newest).await;
        };
        let Ok(_permit) = self.cache.suspects.try_acquire() else {
            return Err(TokenError::TooMany(wait));
        };
        self.client(id, newest).await
    }

    /// Reads the app without using what was read: a request that fails takes as long for an app in the cache as for
    /// one that does not exist.
    pub(crate) async fn read_in_vain(&self, id: &AppId, from: ClientAddress) -> Result<(), TokenError> {
        let Err(wait) = self.limits.may_prove_nothing(from) else {
            return self.read(id, None).await.map(drop);
        };
        let Ok(_permit) = self.cache.suspects.try_acquire() else {
            return Err(TokenError::TooMany(wait));
        };
        self.read(id, None).await.map(drop)
    }

    /// The app as of this policy version or a later one. Requests that need the same app at once share one read.
    pub(crate) async fn client(
        &self,
        id: &AppId,
        at_least: u64,
    ) -> Result<Option<Arc<AuthenticatingClient>>, TokenError> {
        let mut outdated = None;
        for _ in 0..READS_JOINED_MAX {
            let removed = self.cache.kept.remove_if(id, |held| held.version < at_least);
            outdated = removed.map(|(_, held)| held).or(outdated);
            match self.cache.kept.get_value_or_guard_async(id).await {
                Ok(client) if client.version >= at_least => return Ok(Some(client)),
                // Read before the change that this request has to see.
                Ok(_) => {}
                Err(guard) => {
                    let client = self.read(id, outdated.as_deref()).await?;
                    if let Some(client) = &client {
                        // Where the entry was removed meanwhile, the next request reads again.
                        let _ = guard.insert(Arc::clone(client));
                    }
                    return Ok(client);
                }
            }
        }
        self.read(id, outdated.as_deref()).await
    }

    /// The app as the store holds it now. Keys that `before` has are not parsed again.
    async fn read(
        &self,
        id: &AppId,
        before: Option<&AuthenticatingClient>,
    ) -> Result<Option<Arc<AuthenticatingClient>>, TokenError> {
        self.cache.reads.inc();
        let mut tx = self.store.read().await?;
        let version = tx.policy_version().await?;
        // Nothing else announces what another process changed.
        self.changes.announce(version);
        let Some((app, keys)) = tx.issuable_app(id).await? else {
            return Ok(None);
        };
        drop(tx);
        // A token issued in the second of a cutoff carries the next second as `iat`. A cutoff of one key counts for the
        // app's other key as well, which costs nothing.
        let cutoffs = keys.iter().map(|key| key.not_issued_before);
        let not_issued_before = cutoffs.fold(app.not_issued_before, UnixSeconds::max);
        let expiries = keys
            .iter()
            .filter_map(|key| Some((key.id.clone(), key.expires_at?)));
        let expiries = expiries.collect();
        let keys: Result<Vec<_>, _> = keys
            .iter()
            .map(|key| {
                let known = before.and_then(|before| before.keys.iter().find(|known| *known.id() == key.id));
                // A key never changes under its id.
                known.map_or_else(|| parse(key), |known| Ok(known.clone()))
            })
            .collect();
        Ok(Some(Arc::new(AuthenticatingClient {
            app: IssuableApp {
                id: app.id,
                workspace: app.workspace,
                scopes: app.scopes,
                token_lifetime: app.token_lifetime,
                not_issued_before,
            },
            keys: keys?,
            expiries,
            version,
        })))
    }
}

fn parse(key: &AppKey) -> Result<VerifyingKey, TokenError> {
    let damaged = || TokenError::from(StoreError::Corrupted("app_keys"));
    let public = PublicKey::from_pem(&key.pem).map_err(|_| damaged())?;
    VerifyingKey::new(key.id.clone(), public, key.algorithm).map_err(|_| damaged())
}
