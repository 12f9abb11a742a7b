//! [`Control`]: opens the store and the signing keys, composes the services, and runs background upkeep.
//!
//! The API, the console, quickstart and the command line all call the services of one [`Control`].

use super::open_error::OpenError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::{IntCounterVec, Opts, Registry};

use super::accounts::account::Accounts;
use super::accounts::api_tokens::ApiTokens;
use super::accounts::hashing::Hashing;
use super::accounts::invitations::Invitations;
use super::accounts::passwords::Passwords;
use super::accounts::refused_sign_ins::{Refusals, RefusedSignIns};
use super::accounts::sessions::Sessions;
use super::accounts::sign_on::SignOn;
use super::apps::app::Apps;
use super::audit::trail::AuditTrail;
use super::changes::Changes;
use super::changes::outage::log_failure;
use super::fleet::edges::Edges;
use super::fleet::instances::Instances;
use super::fleet::publish::Fleet;
use super::fleet::settings::InForce;
use super::http::cookies::Cookies;
use super::http::memory::MemoryBudget;
use super::http::observed::Requests;
use super::ids::Ids;
use super::people::{People, Shared};
use super::rate_limits::Limits;
use super::settings::ControlSettings;
use super::signing_keys::key_ring::{IssuerKeys, KeyRing};
use super::signing_keys::rotation::SigningKeys;
use super::sources::search::Search;
use super::sources::source::Sources;
use super::sources::traffic::TrafficCounts;
use super::tokens::client_cache::{ClientCache, Clients};
use super::tokens::client_proof::ClientAuthentication;
use super::tokens::decoy_keys::DecoyKeys;
use super::tokens::error::TokenError;
use super::tokens::github::Github;
use super::tokens::introspect::Introspection;
use super::tokens::issue::Tokens;
use super::tokens::leaked::LeakedTokenNotices;
use super::tokens::resources::Resources;
use super::tokens::revoke::TokenRevocation;
use super::usage::{Usage, Uses};
use super::workspaces::members::Members;
use super::workspaces::workspace::Workspaces;
use crate::clock::Clock;
use crate::clock::guard::ClockLook;
use crate::connections::ConnectionMetrics;
use crate::domain::issue::IssuerIdentity;
use crate::domain::time::UnixSeconds;
use crate::store::{Store, StoreError};

/// How often uses of keys and tokens are written to the store.
const FLUSH_EVERY: Duration = Duration::from_secs(2);

/// How often the trusted time is written to the store, in seconds. A killed process loses up to this much of it,
/// which only keeps expired rows a little longer.
const MARK_EVERY_S: u64 = 60;

const KEYS_NOT_ENCRYPTED: &str =
    "signing keys are stored without encryption; set control_plane.signing.key_encryption_key";
const ROTATION_FAILED: &str = "signing key rotation failed; retrying";
const EVENTS_NOT_DROPPED: &str = "old audit events could not be dropped; retrying";

/// The control plane: one service for each noun, and what the HTTP layer needs besides.
pub struct Control {
    pub changes: Arc<Changes>,
    pub workspaces: Arc<Workspaces>,
    pub members: Arc<Members>,
    pub accounts: Arc<Accounts>,
    pub sessions: Arc<Sessions>,
    pub passwords: Arc<Passwords>,
    pub sign_on: Arc<SignOn>,
    pub invitations: Arc<Invitations>,
    pub api_tokens: Arc<ApiTokens>,
    pub apps: Arc<Apps>,
    pub sources: Arc<Sources>,
    pub search: Arc<Search>,
    pub traffic: Arc<TrafficCounts>,
    pub client_authentication: Arc<ClientAuthentication>,
    pub tokens: Arc<Tokens>,
    pub introspection: Arc<Introspection>,
    pub revocation: Arc<TokenRevocation>,
    pub leaked_tokens: Arc<LeakedTokenNotices>,
    pub issuer_keys: Arc<IssuerKeys>,
    pub signing_keys: Arc<SigningKeys>,
    pub audit: Arc<AuditTrail>,
    pub fleet: Arc<Fleet>,
    pub edges: Arc<Edges>,
    pub instances: Arc<Instances>,
    pub usage: Arc<Usage>,
    pub refused_sign_ins: Arc<RefusedSignIns>,
    store: Arc<Store>,
    audit_retention: Duration,
    hashing: Arc<Hashing>,
    pub(crate) identity: Arc<IssuerIdentity>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) memory: Arc<MemoryBudget>,
    /// Counts rejected and evicted connections.
    pub(crate) connections: ConnectionMetrics,
    pub(crate) cookies: Cookies,
    /// Verifies GitHub's reports of leaked tokens, if they are enabled.
    pub(crate) github: Option<Github>,
    /// Gives ids to requests, and counts them.
    pub(crate) requests: Arc<Requests>,
    tokens_issued: IntCounterVec,
    /// The stored trusted time, in Unix seconds.
    kept_mark: AtomicU64,
}

impl Control {
    /// Opens the store and the signing keys; creates them on first start.
    ///
    /// # Errors
    /// [`OpenError`], which says what to do.
    pub async fn open(settings: ControlSettings, clock: Clock) -> Result<Self, OpenError> {
        settings.check()?;
        let store = Store::open(&settings.store).await?;
        let shared = InForce::settle(&store, &settings).await?;
        let (issuer, audience) = (&settings.public_url, &shared.audience);
        let keys = KeyRing::open(&store, &settings.signing, issuer, audience, clock.now()).await?;
        if settings.signing.key_encryption_key.is_none() {
            tracing::warn!("{KEYS_NOT_ENCRYPTED}");
        }
        let control = Self::over(store, keys, settings, shared, clock).await?;
        control.audit.record_earlier_drops().await?;
        control.signing_keys.follow_configured_algorithm().await?;
        control.signing_keys.keep().await?;
        Ok(control)
    }

    /// Opens the store next to the process that serves from it, to make a change which that process then applies.
    /// Neither creates nor re-encrypts a signing key.
    ///
    /// # Errors
    /// [`OpenError`], which says what to do.
    pub async fn open_for_admin(settings: ControlSettings, clock: Clock) -> Result<Self, OpenError> {
        settings.check()?;
        let store = Store::open_for_admin(&settings.store).await?;
        let shared = InForce::read(&store, &settings).await?;
        let keys = KeyRing::open_for_admin(&store, &settings.signing).await?;
        Self::over(store, keys, settings, shared, clock).await
    }

    async fn over(
        store: Store,
        keys: KeyRing,
        settings: ControlSettings,
        in_force: InForce,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let version = store.read().await?.policy_version().await?;
        let mark = store.clock_mark().await?;
        let (store, ids) = (Arc::new(store), Arc::new(Ids::new()));
        let limits = Limits::new(&settings.limits, settings.trusted_proxies.clone(), clock.clone());
        let limits = Arc::new(limits);
        let stored = (version, settings.store.to_string());
        let changes = Changes::new(store.clone(), ids.clone(), limits.clone(), clock, mark, stored)?;
        let shared = Shared {
            changes: Arc::new(changes),
            limits,
            mark,
            store,
            ids,
            keys: Arc::new(ArcSwap::from_pointee(keys)),
            uses: Arc::new(Uses::default()),
            hashing: Arc::new(Hashing::new()?),
            refusals: Arc::new(Refusals::default()),
            identity: Arc::new(IssuerIdentity {
                issuer: settings.public_url.clone(),
                audience: in_force.audience,
            }),
            max_age: in_force.max_age,
        };
        shared.compose(settings)
    }

    /// Writes buffered state to the store and closes it.
    pub async fn close(&self) {
        self.usage.flush_uses().await;
        self.refused_sign_ins.flush_refusals().await;
        self.store.close().await;
    }

    /// The issuer: `iss` of every token.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.identity.issuer
    }

    /// Registers the control plane's metrics.
    ///
    /// # Errors
    /// A metric of that name is registered already.
    pub fn register_metrics(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        for kind in StoreError::FAILURES {
            self.changes.store_failures.with_label_values(&[kind]);
        }
        for result in ["ok"].iter().chain(&TokenError::CODES) {
            self.tokens_issued.with_label_values(&[result]);
        }
        self.changes.watch.register(registry)?;
        self.requests.register(registry)?;
        registry.register(Box::new(self.tokens_issued.clone()))?;
        registry.register(Box::new(self.client_authentication.clients.reads().clone()))?;
        registry.register(Box::new(self.hashing.computed().clone()))?;
        let (held_bytes, rejections) = self.memory.metrics();
        registry.register(Box::new(held_bytes))?;
        registry.register(Box::new(rejections))?;
        registry.register(Box::new(self.changes.store_failures.clone()))?;
        self.instances.metrics.register(registry)?;
        self.connections.register(registry)
    }

    /// Brings gauges up to date, for a scrape.
    pub fn refresh_metrics(&self) {
        self.instances.refresh_metrics();
    }

    pub(crate) fn count_token(&self, result: &'static str) {
        self.tokens_issued.with_label_values(&[result]).inc();
    }

    /// Periodic upkeep. Never returns.
    pub(crate) async fn maintain(&self) {
        let mut ticks = tokio::time::interval(FLUSH_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.usage.flush_uses().await;
            self.refused_sign_ins.flush_refusals().await;
            self.purge().await;
            self.sessions.purge_sessions().await;
            if let Err(error) = self.signing_keys.keep().await {
                log_failure(&error, ROTATION_FAILED);
            }
        }
    }

    /// A warning about the system clock for operators, if there is one.
    #[must_use]
    pub fn clock_warning(&self) -> Option<&'static str> {
        self.changes.watch.warning()
    }

    /// Until when a row that revokes something expiring at `expires_at` is kept. For tests.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub fn end_of_row(&self, expires_at: UnixSeconds) -> UnixSeconds {
        self.changes.watch.end_of_row(expires_at)
    }

    /// Compares the system clock with the monotonic clock and the database's clock, and stores the trusted time.
    async fn look_at_clock(&self) -> Result<ClockLook, StoreError> {
        // Only the system clock can differ from other machines' clocks.
        let database = match self.changes.clock.is_system() {
            true => self.store.database_time().await?,
            false => None,
        };
        let look = self.changes.watch.look(database);
        let kept = UnixSeconds(self.kept_mark.load(Ordering::Relaxed));
        if let Some(mark) = look.mark
            && mark.0.abs_diff(kept.0) >= MARK_EVERY_S
        {
            self.store.keep_clock_mark(mark, mark < kept).await?;
            self.kept_mark.store(mark.0, Ordering::Relaxed);
        }
        Ok(look)
    }

    /// Deletes expired rows, a bounded number at a time, so that no writer waits for long.
    pub async fn purge(&self) {
        let look = match self.look_at_clock().await {
            Ok(look) => look,
            Err(error) => {
                self.changes
                    .background_failure(&error, "trusted time could not be stored");
                return;
            }
        };
        if let Err(error) = self.audit.drop_old_events(look.passed).await {
            self.changes.background_failure(&error, EVENTS_NOT_DROPPED);
        }
        let retention_s = self.audit_retention.as_secs();
        loop {
            let purged = async {
                Ok(self.store.purge(look.ended_before()).await?
                    | self.store.purge_traffic(look.passed).await?
                    | self.store.purge_idempotency_keys(look.ended_before()).await?
                    | self.store.purge_leaks(look.passed.minus(retention_s)).await?)
            };
            match purged.await {
                Ok(true) => {}
                Ok(false) => return,
                Err::<_, StoreError>(error) => {
                    self.changes
                        .background_failure(&error, "expired rows could not be deleted");
                    return;
                }
            }
        }
    }
}

impl Shared {
    /// Composes the services, each with only what it needs.
    #[expect(clippy::too_many_lines, reason = "a table: one entry for each service")]
    fn compose(self, settings: ControlSettings) -> Result<Control, OpenError> {
        let people = People::new(&self, &settings.login, &settings.public_url);
        let Self {
            store,
            ids,
            keys,
            uses,
            limits,
            identity,
            changes,
            ..
        } = &self;
        let usage = Arc::new(Usage {
            store: store.clone(),
            uses: uses.clone(),
            changes: changes.clone(),
        });
        let issuer_keys = Arc::new(IssuerKeys {
            identity: identity.clone(),
            keys: keys.clone(),
            changes: changes.clone(),
        });
        let signing_keys = Arc::new(SigningKeys {
            identity: identity.clone(),
            keys: keys.clone(),
            keys_turn: tokio::sync::Mutex::default(),
            signing: Arc::new(settings.signing),
            store: store.clone(),
            changes: changes.clone(),
            usage: usage.clone(),
        });
        let apps = Arc::new(Apps {
            identity: identity.clone(),
            ids: ids.clone(),
            store: store.clone(),
            changes: changes.clone(),
        });
        let sources = Arc::new(Sources {
            ids: ids.clone(),
            store: store.clone(),
            changes: changes.clone(),
        });
        let search = Arc::new(Search {
            store: store.clone(),
            changes: changes.clone(),
            usage: usage.clone(),
        });
        let resources = Resources::new(self.identity.audience.clone(), settings.resources.clone());
        let resources = Arc::new(resources);
        let own = ids.text("cp", changes.now());
        let instances = Instances::new(own, self.max_age, store.clone(), changes.clone())?;
        let edges = Arc::new(Edges {
            ids: ids.clone(),
            store: store.clone(),
            changes: changes.clone(),
            recovered: AtomicU64::default(),
        });
        let clients = Arc::new(Clients {
            limits: limits.clone(),
            cache: ClientCache::new()?,
            store: store.clone(),
            changes: changes.clone(),
        });
        let introspection = Arc::new(Introspection {
            identity: identity.clone(),
            limits: limits.clone(),
            store: store.clone(),
            api_tokens: people.api_tokens.clone(),
            apps: apps.clone(),
            changes: changes.clone(),
            issuer_keys: issuer_keys.clone(),
            resources: resources.clone(),
        });
        Ok(Control {
            traffic: Arc::new(TrafficCounts {
                gateway_state: RwLock::new(None),
                store: store.clone(),
                changes: changes.clone(),
                sources: sources.clone(),
            }),
            client_authentication: Arc::new(ClientAuthentication {
                assertion_audiences: [
                    settings.public_url.clone(),
                    format!("{}/token", settings.public_url),
                ],
                assertion_lifetime_max_s: settings.assertion_lifetime_max_s,
                decoys: DecoyKeys::new().map_err(|_| OpenError::SigningKey)?,
                limits: limits.clone(),
                store: store.clone(),
                changes: changes.clone(),
                clients,
            }),
            tokens: Arc::new(Tokens {
                identity: identity.clone(),
                keys: keys.clone(),
                uses: uses.clone(),
                changes: changes.clone(),
                resources,
            }),
            introspection: introspection.clone(),
            revocation: Arc::new(TokenRevocation {
                introspection,
                usage: usage.clone(),
                identity: identity.clone(),
                keys: keys.clone(),
                store: store.clone(),
                apps: apps.clone(),
                changes: changes.clone(),
                search: search.clone(),
            }),
            leaked_tokens: Arc::new(LeakedTokenNotices {
                identity: identity.clone(),
                ids: ids.clone(),
                store: store.clone(),
                changes: changes.clone(),
            }),
            audit: Arc::new(AuditTrail {
                audit_retention: settings.audit_retention,
                store: store.clone(),
                changes: changes.clone(),
            }),
            fleet: Arc::new(Fleet {
                store: store.clone(),
                changes: changes.clone(),
                identity: identity.clone(),
            }),
            edges,
            instances: Arc::new(instances),
            apps,
            sources,
            search,
            usage,
            issuer_keys,
            signing_keys,
            accounts: people.accounts,
            workspaces: people.workspaces,
            members: people.members,
            sessions: people.sessions,
            passwords: people.passwords,
            sign_on: people.sign_on,
            invitations: people.invitations,
            api_tokens: people.api_tokens,
            refused_sign_ins: people.refused_sign_ins,
            kept_mark: AtomicU64::new(self.mark.0),
            store: store.clone(),
            audit_retention: settings.audit_retention,
            hashing: self.hashing.clone(),
            identity: identity.clone(),
            limits: limits.clone(),
            changes: changes.clone(),
            memory: MemoryBudget::new(&settings.limits)?,
            connections: ConnectionMetrics::new("control_plane")?,
            cookies: Cookies::of(&settings.public_url),
            github: settings.leaked_tokens.github_keys.map(Github::new),
            requests: Arc::new(Requests::new()?),
            tokens_issued: IntCounterVec::new(
                Opts::new("portcullis_tokens_issued_total", "Token requests by result."),
                &["result"],
            )?,
        })
    }
}
