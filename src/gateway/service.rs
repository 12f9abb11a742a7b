//! Builds the data plane from a config and runs it: listeners, TLS, background tasks, shutdown.

use std::mem::ManuallyDrop;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::os::fd::IntoRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use pingora_core::server::{Fds, ListenFds};
use pingora_core::services::Service as _;
use pingora_core::services::listening::Service;
use pingora_runtime::Runtime;
use prometheus::Registry;
use thiserror::Error;
use tokio::sync::watch;
use uuid::Uuid;

use super::access_log::AccessLog;
use super::body::HeldBytes;
use super::connection::Bounded;
use super::jwks::{self, KeyFetcher, KeySetError};
use super::metrics::Metrics;
use super::policy_cell::PolicyCell;
use super::proxy::{Gateway, RequestIds};
use super::subscribe::Installer;
use super::tally::Tally;
use super::tls::{self, TlsError};
use super::token_cache::TokenCache;
use super::upstream::{Pool, PoolError};
use crate::clock::Clock;
use crate::config::{self, ConfigError, OutsideIssuer, PolicyOrigin};
use crate::domain::policy::{Freshness, Policy};
use crate::feed::{Reporter, Subscriber};

/// How long the last report may wait for the control plane.
const LAST_REPORT_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Why the gateway cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {problem}")]
    Listen { address: String, problem: String },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error("issuer `{issuer}`: {error}")]
    Keys { issuer: String, error: KeySetError },
    #[error("{0}")]
    Policy(#[from] ConfigError),
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("a thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// What the gateway is made of, besides its own config.
pub struct Parts<'a> {
    pub config: &'a config::Gateway,
    pub issuers: &'a [OutsideIssuer],
    pub freshness: Freshness,
    pub access_log: bool,
    pub clock: Clock,
    pub registry: &'a Registry,
}

/// A gateway that is ready to run: its sockets are bound, its policy may be missing yet.
pub struct Prepared {
    gateway: Arc<Gateway>,
    sockets: Vec<(SocketAddr, TcpListener, Option<config::ListenerTls>)>,
    workers: usize,
    issuers: Vec<OutsideIssuer>,
    freshness: Freshness,
}

/// A running gateway; it ends when this is dropped or [`Running::stop`] is called.
pub struct Running {
    gateway: Arc<Gateway>,
    /// The way back to the control plane, where there is one.
    reporter: Option<Reporter>,
    addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    /// Never dropped. pingora-runtime keeps the handles of a runtime in a slot of each of its threads, and
    /// a later thread of the process that inherits the slot of one that ended would spawn its connections
    /// onto the runtime that is gone. So the threads stay, idle once the last request has ended.
    _runtime: ManuallyDrop<Runtime>,
    background: Vec<tokio::task::JoinHandle<()>>,
    ended: Option<tokio::task::JoinHandle<()>>,
}

impl Prepared {
    /// Binds the sockets and builds everything that can fail.
    ///
    /// # Errors
    /// [`StartError`] in a sentence for the operator.
    pub fn new(parts: Parts<'_>) -> Result<Self, StartError> {
        let Parts {
            config,
            issuers,
            freshness,
            access_log,
            clock,
            registry,
        } = parts;
        let mut trusted = Vec::new();
        for issuer in issuers {
            trusted.push(jwks::trusted(issuer).map_err(|error| StartError::Keys {
                issuer: issuer.issuer.clone(),
                error,
            })?);
        }
        let mut pools = std::collections::BTreeMap::new();
        for (name, upstream) in &config.upstreams {
            pools.insert(name.as_str(), Arc::new(Pool::new(name, upstream)?));
        }
        let mut sockets = Vec::new();
        for listener in &config.listeners {
            let socket = bind(&listener.address)?;
            sockets.push((socket.local_addr()?, socket, listener.tls.clone()));
        }
        let names: Vec<&str> = config.apis.iter().map(|api| api.name.as_str()).collect();
        let gateway = Gateway {
            pools: config
                .apis
                .iter()
                .filter_map(|api| pools.get(api.upstream.as_str()).cloned())
                .collect(),
            apis: config.apis.clone(),
            limits: config.limits,
            policy: Arc::new(PolicyCell::new(trusted)),
            tokens: TokenCache::new(config.token_cache_entries),
            fetchers: issuers.iter().filter_map(KeyFetcher::new).map(Arc::new).collect(),
            held: HeldBytes::new(&config.limits),
            metrics: Arc::new(Metrics::new(registry, &names)?),
            tally: Tally::default(),
            access_log: if access_log {
                Some(AccessLog::to_stdout()?)
            } else {
                None
            },
            clock,
            request_ids: RequestIds::new(request_id_prefix()),
            under_way: AtomicUsize::new(0),
        };
        Ok(Self {
            gateway: Arc::new(gateway),
            sockets,
            workers: config.workers,
            issuers: issuers.to_vec(),
            freshness,
        })
    }

    /// The addresses that will be served, in the order of the config.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|(address, ..)| *address).collect()
    }

    /// Begins to serve. Call it on the runtime that is to carry the background tasks.
    ///
    /// Outside keys are fetched first, each within its own bound, so that the first request finds them.
    ///
    /// # Errors
    /// The policy file or a certificate cannot be used.
    pub async fn run(self, origin: Origin) -> Result<Running, StartError> {
        let gateway = self.gateway;
        let mut installer =
            Installer::new(Arc::clone(&gateway.policy), self.freshness, gateway.clock.clone());
        let mut background = Vec::new();
        let mut reporter = None;
        for fetcher in &gateway.fetchers {
            let (fetcher, shared) = (Arc::clone(fetcher), Arc::clone(&gateway));
            background.push(tokio::spawn(async move {
                fetcher.run(&shared.policy, &shared.metrics).await;
            }));
        }
        for fetcher in &gateway.fetchers {
            fetcher.first_finished().await;
        }
        match origin {
            Origin::Feed(updates) => {
                let (shared, reporting) = (Arc::clone(&gateway), updates.reporter());
                reporter = Some(updates.reporter());
                background.push(tokio::spawn(async move {
                    shared.tally.keep_reporting(&shared.policy, &reporting).await;
                }));
                background.push(tokio::spawn(installer.follow(updates)));
            }
            Origin::File(path) => {
                installer.install_file(&path, &self.issuers)?;
                background.push(tokio::spawn(installer.follow_file(path, self.issuers)));
            }
        }
        for pool in &gateway.pools {
            let pool = Arc::clone(pool);
            background.push(tokio::spawn(async move { pool.keep_checking().await }));
        }
        let addresses = self.sockets.iter().map(|(address, ..)| *address).collect();
        let (stop, stopping) = watch::channel(false);
        let mut service = Service::new("gateway".to_owned(), Bounded::new(Arc::clone(&gateway)));
        let mut fds = Fds::new();
        for (address, socket, tls) in self.sockets {
            let name = address.to_string();
            match &tls {
                None => service.add_tcp(&name),
                Some(config) => service.add_tls_with_settings(&name, None, tls::settings(config)?),
            }
            fds.add(name, socket.into_raw_fd());
        }
        let fds: ListenFds = Arc::new(Mutex::new(fds));
        let runtime = Runtime::new_no_steal(self.workers, "gateway");
        let ended = runtime
            .get_handle()
            .spawn(async move { service.start_service(Some(fds), stopping, 1).await });
        Ok(Running {
            gateway,
            reporter,
            addresses,
            stop,
            _runtime: ManuallyDrop::new(runtime),
            background,
            ended: Some(ended),
        })
    }
}

/// Where the policy comes from.
pub enum Origin {
    Feed(Subscriber),
    File(std::path::PathBuf),
}

impl Origin {
    /// The origin that the config names; `updates` is the bundled control plane's feed.
    #[must_use]
    pub fn from_config(origin: &PolicyOrigin, updates: Subscriber) -> Self {
        match origin {
            PolicyOrigin::Bundled => Self::Feed(updates),
            PolicyOrigin::File(path) => Self::File(path.clone()),
        }
    }
}

impl Running {
    /// The addresses served, in the order of the config.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Brings gauges up to date, and says whether the gateway can decide.
    #[must_use]
    pub fn probe(&self) -> Probe {
        Probe {
            gateway: Arc::clone(&self.gateway),
        }
    }

    /// Stops accepting, lets requests under way end within `grace`, then ends the rest.
    pub async fn stop(mut self, grace: std::time::Duration) {
        self.stop.send_replace(true);
        if let Some(ended) = self.ended.take() {
            let _ = tokio::time::timeout(grace, ended).await;
        }
        let gateway = Arc::clone(&self.gateway);
        let idle = async {
            // Accept loops end at once; connections that only wait for a next request may be cut.
            while gateway.under_way.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout(grace, idle).await;
        if let Some(reporter) = &self.reporter {
            let last = gateway.tally.report(&gateway.policy, reporter);
            let _ = tokio::time::timeout(LAST_REPORT_WITHIN, last).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.background.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// Looks at a gateway from outside, for metrics and health.
#[derive(Clone)]
pub struct Probe {
    gateway: Arc<Gateway>,
}

impl Probe {
    /// Brings the gauges up to date.
    pub fn refresh(&self) {
        self.gateway
            .metrics
            .refresh(&self.gateway.policy, &self.gateway.held, &self.gateway.clock);
    }

    /// Whether there is a usable policy, and keys of at least one issuer.
    ///
    /// # Errors
    /// The sentence that says what is missing.
    pub fn ready(&self) -> Result<(), &'static str> {
        let policy = self.gateway.policy.load();
        let policy: &Policy = policy.as_deref().ok_or("no policy has been installed yet")?;
        if policy.is_stale(self.gateway.clock.now()) {
            return Err("the policy is older than max_age");
        }
        if policy.issuers().iter().all(|issuer| issuer.keys.is_none()) {
            return Err("no issuer's keys could be had yet");
        }
        Ok(())
    }
}

/// Binds a listening socket.
///
/// # Errors
/// [`StartError::Listen`] with what to do about it.
pub fn bind(address: &str) -> Result<TcpListener, StartError> {
    let failed = |error: &std::io::Error| StartError::Listen {
        address: address.to_owned(),
        problem: match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "another process listens there; stop it or choose another port".to_owned()
            }
            std::io::ErrorKind::PermissionDenied => {
                "this user may not; choose a port above 1023 or grant CAP_NET_BIND_SERVICE".to_owned()
            }
            _ => error.to_string(),
        },
    };
    let resolved = address.to_socket_addrs().map_err(|error| failed(&error))?.next();
    let resolved = resolved.ok_or_else(|| failed(&std::io::Error::other("the name has no address")))?;
    let listen = || {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(resolved),
            socket2::Type::STREAM,
            None,
        )?;
        socket.set_reuse_address(true)?;
        socket.bind(&resolved.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(TcpListener::from(socket))
    };
    listen().map_err(|error| failed(&error))
}

/// Random enough that two processes, or two starts of one, never share an id.
fn request_id_prefix() -> String {
    let random = Uuid::now_v7().simple().to_string();
    random.get(..20).unwrap_or(&random).to_owned()
}
