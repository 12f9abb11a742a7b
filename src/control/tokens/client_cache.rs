//! The apps that ask for tokens, with their keys parsed, as of one policy version.

use crate::control::changes::Changes;
use crate::control::rate_limits::Limits;
use crate::store::Store;
use std::sync::Arc;

use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use super::error::TokenError;
use crate::control::client_address::ClientAddress;
use crate::domain::ids::{AppId, KeyId};
use crate::domain::issue::IssuableApp;
use crate::domain::key::{PublicKey, VerifyingKey};
use crate::domain::time::UnixSeconds;
use crate::model::app::AppKey;
use crate::store::StoreError;

/// Apps kept.
const APPS_KEPT: usize = 10_000;

/// An app that may prove itself.
pub struct AuthenticatingClient {
    pub app: IssuableApp,
    keys: Vec<VerifyingKey>,
    /// The policy version that all this was read from.
    version: u64,
}

impl AuthenticatingClient {
    /// The app's key of this name.
    pub fn key(&self, id: &KeyId) -> Option<&VerifyingKey> {
        self.keys.iter().find(|key| key.id() == id)
    }
}

/// Apps read before. What was read is good for its policy version and no other.
pub struct ClientCache {
    kept: Cache<AppId, Arc<AuthenticatingClient>>,
    /// Whose turn it is to have an app read of those whose neighbours have proved too little.
    suspects: Semaphore,
}

impl Default for ClientCache {
    fn default() -> Self {
        Self {
            kept: Cache::new(APPS_KEPT),
            suspects: Semaphore::new(1),
        }
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
    /// The app as we last saw it, if nothing at all is known to have changed since.
    pub(crate) fn remembered(&self, id: &AppId) -> Option<Arc<AuthenticatingClient>> {
        let newest = *self.changes.versions.borrow();
        self.cache.kept.get(id).filter(|prover| prover.version == newest)
    }

    /// Whether `prover` is what the store held at this version.
    pub(crate) fn is_as_of(prover: &AuthenticatingClient, version: u64) -> bool {
        prover.version == version
    }

    /// The same as [`Control::prover`], for whoever asks from this address. Where too many requests from there have
    /// proved nothing, one is looked up at a time and the others have to wait: whoever floods us with names of apps
    /// must not keep the store from everybody else.
    pub(crate) async fn prover_for(
        &self,
        id: &AppId,
        from: ClientAddress,
    ) -> Result<Option<Arc<AuthenticatingClient>>, TokenError> {
        let Err(wait) = self.limits.may_prove_nothing(from) else {
            return self.prover(id).await;
        };
        let Ok(_turn) = self.cache.suspects.try_acquire() else {
            return Err(TokenError::TooMany(wait));
        };
        self.prover(id).await
    }

    /// The app as the store holds it now.
    pub(crate) async fn prover(&self, id: &AppId) -> Result<Option<Arc<AuthenticatingClient>>, TokenError> {
        let mut tx = self.store.read().await?;
        let version = tx.policy_version().await?;
        // Nobody announces what was changed beside this process.
        self.changes.announce(version);
        let Some((app, keys)) = tx.issuable_app(id).await? else {
            return Ok(None);
        };
        drop(tx);
        // A token issued in the second in which others were ended says that it was issued in the next one. Where
        // those of one key were, that holds for the other key's alike, which hurts nobody.
        let moments = keys.iter().map(|key| key.not_issued_before);
        let not_issued_before = moments.fold(app.not_issued_before, UnixSeconds::max);
        let before = self.cache.kept.get(id);
        let keys: Result<Vec<_>, _> = keys
            .iter()
            // A key never changes under its id, so one that was parsed before is still good.
            .map(
                |key| match before.as_ref().and_then(|before| before.key(&key.id)) {
                    Some(parsed) => Ok(parsed.clone()),
                    None => parsed(key),
                },
            )
            .collect();
        let prover = Arc::new(AuthenticatingClient {
            app: IssuableApp {
                id: app.id,
                workspace: app.workspace,
                scopes: app.scopes,
                token_lifetime: app.token_lifetime,
                not_issued_before,
            },
            keys: keys?,
            version,
        });
        self.cache.kept.insert(id.clone(), Arc::clone(&prover));
        Ok(Some(prover))
    }
}

fn parsed(key: &AppKey) -> Result<VerifyingKey, TokenError> {
    let damaged = || TokenError::from(StoreError::Corrupted("app_keys"));
    let public = PublicKey::from_pem(&key.pem).map_err(|_| damaged())?;
    VerifyingKey::new(key.id.clone(), public, key.algorithm).map_err(|_| damaged())
}
