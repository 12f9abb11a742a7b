//! The control plane: issues tokens, manages apps, keys and sources, and tells the gateways.
//!
//! [`Control`] is what the API, the console, quickstart and the command line all call: every rule is in its
//! functions, once. `api` has the routes at a glance and
//! nothing but the HTTP form of those functions. SQL is in [`crate::store`]; what a token may contain and
//! what proves an app is in [`crate::domain`].

use std::sync::{Arc, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::{IntCounterVec, Opts, Registry};
use thiserror::Error;
use tokio::sync::watch;

use super::accounts::hashing::Hashing;
use super::accounts::oidc::Provider;
use super::accounts::refused_sign_ins::Refusals;
use super::error::ControlError;
use super::error::UnreadableKey;
use super::fair_queue::Turns;
use super::http::cookies::Cookies;
use super::http::memory::MemoryBudget;
use super::ids::Ids;
use super::rate_limits::Limits;
use super::signing_keys::key_ring::KeyRing;
use super::sources::traffic::GatewayState;
use super::tokens::client_cache::Provers;
use super::tokens::github::Github;
use super::tokens::usage::Uses;
use crate::clock::Clock;
use crate::config::{ControlLimits, LeakedTokens, Login, Signing};
use crate::connections::ConnectionMetrics;
use crate::domain::issue::IssuerIdentity;
use crate::domain::network::Network;
use crate::domain::time::UnixSeconds;
use crate::feed::Publisher;
use crate::store::{Store, StoreError};
use crate::store_location::StoreLocation;

/// Changes that wait for their turn: in all, then of one workspace, then of one person.
const CHANGES_WAITING: &[usize] = &[512, 256, 128];

/// How often uses of keys and tokens are written down.
const FLUSH_EVERY: Duration = Duration::from_secs(2);

/// What a control plane is told at its start.
#[derive(Clone, Debug)]
pub struct ControlSettings {
    pub store: StoreLocation,
    /// Where clients reach this server, without a slash at the end. It is the issuer, exactly.
    pub public_url: String,
    /// `aud` of the access tokens.
    pub audience: String,
    /// How our signing keys are rotated and kept.
    pub signing: Signing,
    /// Who may report leaked tokens.
    pub leaked_tokens: LeakedTokens,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// How often it may be asked.
    pub limits: ControlLimits,
    /// How long events stay in the audit trail.
    pub audit_retention: Duration,
    /// How people sign in.
    pub login: Login,
}

impl ControlSettings {
    fn check(&self) -> Result<(), OpenError> {
        check_public_url(&self.public_url)?;
        if self.audience.is_empty() {
            return Err(OpenError::Audience);
        }
        Ok(())
    }
}

/// Why a control plane cannot start.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error(
        "the public URL `{0}` cannot be an issuer; write it as https://host[:port][/path], without a slash at the end, query or fragment"
    )]
    PublicUrl(String),
    #[error("the audience of access tokens is empty")]
    Audience,
    #[error("no signing key could be made")]
    SigningKey,
    #[error(
        "the signing keys in the store are not kept as this config says; restart `portcullis serve` with it, and run this again"
    )]
    UnsettledKeys,
    #[error("{0}")]
    UnreadableKey(#[from] UnreadableKey),
    #[error("{0}")]
    Control(#[from] ControlError),
    #[error("a metric cannot be made: {0}")]
    Metric(#[from] prometheus::Error),
}

/// The control plane.
pub struct Control {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    pub(crate) identity: IssuerIdentity,
    /// What a client assertion's `aud` may be: the issuer, or its token endpoint.
    pub(crate) assertion_audiences: [String; 2],
    pub(crate) signing: Signing,
    pub(crate) keys: ArcSwap<KeyRing>,
    /// Whose turn it is to read the keys.
    pub(crate) keys_turn: tokio::sync::Mutex<()>,
    /// Whether and how GitHub's reports of leaked tokens are taken.
    pub(crate) github: Option<Github>,
    pub(crate) provers: Provers,
    pub(crate) uses: Uses,
    pub(crate) limits: Limits,
    pub(crate) memory: Arc<MemoryBudget>,
    /// What is counted of refused and evicted connections.
    pub(crate) connections: ConnectionMetrics,
    pub(crate) audit_retention: Duration,
    pub(crate) hashing: Hashing,
    /// Whose turn it is to make a change.
    pub(crate) changing: Turns,
    pub(crate) refusals: Refusals,
    pub(crate) cookies: Cookies,
    /// How long sessions last.
    pub(crate) session_lifetime_s: u64,
    pub(crate) session_idle_s: u64,
    /// Where people may sign on besides with a password.
    pub(crate) provider: Option<Provider>,
    pub(crate) tokens_issued: IntCounterVec,
    pub(crate) store_failures: IntCounterVec,
    /// The newest policy version, for whoever feeds gateways.
    pub(crate) versions: watch::Sender<u64>,
    /// The way to the bundled gateway while there is one.
    pub(crate) publisher: RwLock<Option<Publisher>>,
    /// What the bundled gateway last said of itself.
    pub(crate) gateway_state: RwLock<Option<GatewayState>>,
}

impl Control {
    /// Opens the store and the signing keys, making them on first start.
    ///
    /// # Errors
    /// [`OpenError`] in a sentence that says what to do.
    pub async fn open(settings: ControlSettings, clock: Clock) -> Result<Self, OpenError> {
        settings.check()?;
        let store = Store::open(&settings.store).await?;
        let (issuer, audience) = (&settings.public_url, &settings.audience);
        let keys = KeyRing::open(&store, &settings.signing, issuer, audience, clock.now()).await?;
        if settings.signing.key_encryption_key.is_none() {
            tracing::warn!(
                "the signing keys stand in the store in the clear; set control_plane.signing.key_encryption_key"
            );
        }
        let control = Self::over(store, keys, settings, clock).await?;
        control.follow_configured_algorithm().await?;
        control.keep_signing_keys().await?;
        Ok(control)
    }

    /// Opens the store beside the process that serves from it, to make a change that the process takes over. No
    /// key is made or encrypted anew.
    ///
    /// # Errors
    /// [`OpenError`] in a sentence that says what to do.
    pub async fn open_beside(settings: ControlSettings, clock: Clock) -> Result<Self, OpenError> {
        settings.check()?;
        let store = Store::open_beside(&settings.store).await?;
        let keys = KeyRing::open_beside(&store, &settings.signing).await?;
        Self::over(store, keys, settings, clock).await
    }

    async fn over(
        store: Store,
        keys: KeyRing,
        settings: ControlSettings,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let version = store.read().await?.policy_version().await?;
        let token_endpoint = format!("{}/token", settings.public_url);
        Ok(Self {
            store,
            audit_retention: settings.audit_retention,
            memory: MemoryBudget::new(&settings.limits)?,
            limits: Limits::new(&settings.limits, settings.trusted_proxies, clock.clone()),
            connections: ConnectionMetrics::new("control_plane")?,
            hashing: Hashing::new()?,
            changing: Turns::new(1, &[], CHANGES_WAITING),
            refusals: Refusals::default(),
            cookies: Cookies::of(&settings.public_url),
            session_lifetime_s: settings.login.session_lifetime.as_secs(),
            session_idle_s: settings.login.session_idle.as_secs(),
            provider: settings
                .login
                .oidc
                .map(|oidc| Provider::new(oidc, &settings.public_url)),
            clock,
            ids: Ids::new(),
            assertion_audiences: [settings.public_url.clone(), token_endpoint],
            identity: IssuerIdentity {
                issuer: settings.public_url,
                audience: settings.audience,
            },
            signing: settings.signing,
            keys: ArcSwap::from_pointee(keys),
            keys_turn: tokio::sync::Mutex::default(),
            github: settings.leaked_tokens.github_keys.map(Github::new),
            provers: Provers::default(),
            uses: Uses::default(),
            tokens_issued: IntCounterVec::new(
                Opts::new("portcullis_tokens_issued_total", "Token requests by result."),
                &["result"],
            )?,
            store_failures: IntCounterVec::new(
                Opts::new(
                    "portcullis_store_failures_total",
                    "Requests and background work of the control plane that the store failed, by kind.",
                ),
                &["kind"],
            )?,
            versions: watch::Sender::new(version),
            publisher: RwLock::new(None),
            gateway_state: RwLock::new(None),
        })
    }

    /// Writes down what is only in memory and closes the store.
    pub async fn close(&self) {
        self.flush_uses().await;
        self.flush_refusals().await;
        self.store.close().await;
    }

    /// The issuer: `iss` of every token, and the URL that clients know this server by.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.identity.issuer
    }

    /// Adds the control plane's metrics to a registry.
    ///
    /// # Errors
    /// A name is taken there.
    pub fn register_metrics(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        for kind in StoreError::FAILURES {
            self.store_failures.with_label_values(&[kind]);
        }
        registry.register(Box::new(self.tokens_issued.clone()))?;
        registry.register(Box::new(self.hashing.computed().clone()))?;
        let (held_bytes, rejections) = self.memory.metrics();
        registry.register(Box::new(held_bytes))?;
        registry.register(Box::new(rejections))?;
        registry.register(Box::new(self.store_failures.clone()))?;
        self.connections.register(registry)
    }

    pub(crate) fn count_token(&self, result: &'static str) {
        self.tokens_issued.with_label_values(&[result]).inc();
    }

    pub(crate) fn count_store_failure(&self, kind: &str) {
        self.store_failures.with_label_values(&[kind]).inc();
    }

    /// Logs that background work failed for the store, and counts it.
    pub(crate) fn background_failure(&self, error: &StoreError, what: &'static str) {
        tracing::warn!(%error, "{what}");
        if let Some(kind) = error.failure() {
            self.count_store_failure(kind);
        }
    }

    /// Does what has to be done now and then, and never ends.
    pub(crate) async fn maintain(&self) {
        let mut ticks = tokio::time::interval(FLUSH_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.flush_uses().await;
            self.flush_refusals().await;
            self.purge().await;
            self.purge_sessions().await;
            if let Err(error) = self.keep_signing_keys().await {
                tracing::error!(%error, "the signing keys could not be looked after");
            }
        }
    }

    /// Removes what has expired, a bounded number of rows at a time, so that no writer waits for long.
    pub async fn purge(&self) {
        if let Err(error) = self.drop_old_events().await {
            tracing::warn!(%error, "old events could not be dropped from the audit trail");
        }
        let retention_s = self.audit_retention.as_secs();
        loop {
            let now = self.now();
            let purged = async {
                Ok(self.store.purge(now).await?
                    | self.store.purge_traffic(now).await?
                    | self.store.purge_retry_keys(now).await?
                    | self.store.purge_leaks(now.minus(retention_s)).await?)
            };
            match purged.await {
                Ok(true) => {}
                Ok(false) => return,
                Err::<_, StoreError>(error) => {
                    self.background_failure(&error, "expired rows could not be removed");
                    return;
                }
            }
        }
    }

    /// Writes down when keys and API tokens were last used.
    pub async fn flush_uses(&self) {
        let issued = self.uses.take_issued();
        if !issued.is_empty()
            && let Err(error) = self.store.note_issued(&issued, self.now()).await
        {
            self.background_failure(&error, "how many tokens were issued could not be written down");
        }
        let (app_keys, api_tokens) = self.uses.take();
        if app_keys.is_empty() && api_tokens.is_empty() {
            return;
        }
        if let Err(error) = self.store.note_uses(&app_keys, &api_tokens).await {
            self.background_failure(&error, "when keys were last used could not be written down");
        }
    }

    pub(crate) fn now(&self) -> UnixSeconds {
        self.clock.now()
    }
}

fn check_public_url(url: &str) -> Result<(), OpenError> {
    let refused = || OpenError::PublicUrl(url.to_owned());
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .ok_or_else(refused)?;
    let plain = rest
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"?#\"\\<>@".contains(&byte));
    if rest.is_empty() || rest.starts_with('/') || rest.ends_with('/') || !plain || url.len() > 2_048 {
        return Err(refused());
    }
    Ok(())
}
