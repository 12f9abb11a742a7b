//! Starts the data plane from a config, changes it while it runs, and ends it.

use super::start_error::StartError;
use std::mem::ManuallyDrop;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use pingora_runtime::Runtime;
use prometheus::Registry;
use tokio::task::JoinHandle;

use super::build;
use super::build::Pools;
use super::explain::denials::RecentDenials;
use super::forward::upstream::Pool;
use super::link::subscribe::Installer;
use super::listen::listener::{Drain, Listener};
use super::listen::sockets::Sockets;
use super::probe::Probe;
use super::serve::current::CurrentGateway;
use super::serve::request::Gateway;
use crate::clock::Clock;
use crate::config;
use crate::config::{OutsideIssuer, PolicyOrigin};
use crate::connections::{ConnectionLimiter, ConnectionMetrics};
use crate::domain::ids::Audience;
use crate::domain::policy::Freshness;
use crate::feed::{Reporter, Subscriber};
use crate::task_monitor::TaskMonitor;
use crate::tls::acceptor::Acceptor;
use crate::tls::metrics::TlsMetrics;

/// How long the last report may wait for the control plane.
const LAST_REPORT_WITHIN: Duration = Duration::from_secs(1);

/// What the gateway is started with.
pub struct Parts<'a> {
    pub config: &'a config::Gateway,
    pub issuers: &'a [OutsideIssuer],
    pub freshness: Freshness,
    /// Where requests are logged, if they are.
    pub access_log: Option<&'a config::AccessLog>,
    pub clock: Clock,
    pub registry: &'a Registry,
    pub sockets: &'a mut Sockets,
    /// Is told when a critical task panicked.
    pub monitor: &'a TaskMonitor,
}

/// A gateway that is ready to run: its sockets are bound, its policy may still be missing.
pub struct Prepared {
    gateway: Gateway,
    config: config::Gateway,
    pools: Pools,
    listeners: Vec<Arc<Listener>>,
    limiter: Arc<ConnectionLimiter>,
    issuers: Vec<OutsideIssuer>,
    freshness: Freshness,
    monitor: TaskMonitor,
}

/// A running gateway; it ends when this is dropped.
pub struct Running {
    app: Arc<CurrentGateway>,
    /// Reports to the control plane, where there is one.
    reporter: Option<Reporter>,
    listeners: Vec<Supervised<Listener>>,
    /// Removed from the config, while their last connections end.
    leaving: Vec<Arc<Listener>>,
    pools: Pools,
    pool_tasks: Vec<Supervised<Pool>>,
    limiter: Arc<ConnectionLimiter>,
    ending: Arc<AtomicBool>,
    /// Never dropped. pingora-runtime keeps the handles of a runtime in a slot of each of its threads, and
    /// a later thread of the process that inherits the slot of one that ended would spawn its connections
    /// onto the runtime that is gone. So the threads stay, idle once the last request has ended.
    runtime: ManuallyDrop<Runtime>,
    background: Vec<JoinHandle<()>>,
    monitor: TaskMonitor,
}

/// A resource and the task that keeps it current, which ends with this.
struct Supervised<T> {
    resource: Arc<T>,
    task: Option<JoinHandle<()>>,
}

impl<T> Drop for Supervised<T> {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Prepared {
    /// Lowers `max_age` to the fleet's.
    #[must_use]
    pub fn with_max_age(mut self, fleet: Duration) -> Self {
        self.freshness.max_age_s = self.freshness.max_age_s.min(fleet.as_secs());
        self
    }

    /// Binds the sockets and builds everything that can fail.
    ///
    /// # Errors
    /// [`StartError`] in a sentence for the operator.
    pub fn new(parts: Parts<'_>) -> Result<Self, StartError> {
        let config = parts.config;
        let connections = ConnectionMetrics::new("gateway")?;
        connections.register(parts.registry)?;
        let limiter = ConnectionLimiter::new(connections);
        let (gateway, pools) = build::gateway(
            config,
            parts.issuers,
            parts.access_log,
            parts.clock,
            parts.registry,
            parts.monitor,
        )?;
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            let socket = parts.sockets.take_or_bind(&listener.address)?;
            let tls = &gateway.metrics.transport.tls;
            listeners.push(Arc::new(new_listener(listener, socket, tls, &limiter)?));
        }
        Ok(Self {
            gateway,
            config: config.clone(),
            pools,
            listeners,
            limiter,
            issuers: parts.issuers.to_vec(),
            freshness: parts.freshness,
            monitor: parts.monitor.clone(),
        })
    }

    /// Keeps the last denials from now on, for `explain --request-id`.
    pub fn keep_denials(&mut self) {
        self.gateway.denials.get_or_insert_default();
    }

    /// The addresses that will be served, in the order of the config.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|listener| listener.address).collect()
    }

    /// Starts everything except accepting. Call it on the runtime for the background tasks.
    ///
    /// Key sets of outside issuers and names of upstream servers are looked up first, each within its own time, so that the
    /// first request finds them.
    ///
    /// # Errors
    /// The policy file cannot be used.
    pub async fn run(self, origin: Origin) -> Result<Running, StartError> {
        let (gateway, monitor) = (&self.gateway, self.monitor);
        let mut installer = installer(gateway, self.freshness);
        let (mut background, mut reporter) = (Vec::new(), None);
        for fetcher in &gateway.fetchers {
            let (fetcher, shared) = (Arc::clone(fetcher), gateway.clone());
            let fetching = async move {
                let metrics = &shared.metrics.origins;
                fetcher.run(&shared.policy, metrics, &shared.clock).await;
            };
            background.push(tokio::spawn(monitor.watch("key_fetcher", fetching)));
        }
        for file in &gateway.key_files {
            let (file, policy) = (Arc::clone(file), Arc::clone(&gateway.policy));
            let following = async move { file.run(&policy).await };
            background.push(tokio::spawn(monitor.watch("key_file", following)));
        }
        for fetcher in &gateway.fetchers {
            fetcher.first_finished().await;
        }
        match origin {
            Origin::Feed(updates) => {
                let (shared, reporting) = (gateway.clone(), updates.reporter());
                reporter = Some(updates.reporter());
                let reporting = async move { shared.tally.keep_reporting(&shared.policy, &reporting).await };
                background.push(tokio::spawn(monitor.watch("tally", reporting)));
                background.push(tokio::spawn(
                    monitor.watch("policy_feed", installer.follow(updates)),
                ));
            }
            Origin::File(path) => {
                installer.install_file(&path, &self.issuers)?;
                let metrics = gateway.metrics.origins.clone();
                let following = installer.follow_file(path, self.issuers, metrics);
                background.push(tokio::spawn(monitor.watch("policy_file", following)));
            }
        }
        join_all(self.pools.values().map(|pool| pool.resolve())).await;
        let descriptors_for = build::descriptors_for(&self.config.limits);
        let mut running = Running {
            app: Arc::new(CurrentGateway::new(self.gateway, descriptors_for)),
            reporter,
            listeners: Vec::new(),
            leaving: Vec::new(),
            pools: self.pools,
            pool_tasks: Vec::new(),
            limiter: self.limiter,
            ending: Arc::default(),
            runtime: ManuallyDrop::new(Runtime::new_no_steal(self.config.workers, "gateway")),
            background,
            monitor,
        };
        running.listeners = self
            .listeners
            .into_iter()
            .map(|one| running.supervise_listener(one))
            .collect();
        running.pool_tasks = running
            .pools
            .values()
            .map(|pool| supervise_pool(pool, &running.monitor))
            .collect();
        Ok(running)
    }
}

/// What puts policies in force. The gateway's public URL is an audience of its own, for clients that name it as `resource`.
fn installer(gateway: &Gateway, freshness: Freshness) -> Installer {
    let public_url = gateway.public_url.as_deref();
    Installer::new(
        Arc::clone(&gateway.policy),
        freshness,
        public_url.and_then(|url| Audience::parse(url).ok()),
        gateway.clock.clone(),
        Arc::clone(&gateway.watch),
    )
    .counting_lapses(gateway.metrics.policy_lapses.clone())
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
            // An edge's link publishes on the feed as a bundled control plane does.
            PolicyOrigin::Bundled | PolicyOrigin::Remote(_) => Self::Feed(updates),
            PolicyOrigin::File(path) => Self::File(path.clone()),
        }
    }
}

impl Running {
    /// Begins to accept connections.
    ///
    /// # Errors
    /// A socket cannot be used.
    pub fn accept(&self) -> Result<(), StartError> {
        for listener in &self.listeners {
            let socket = listener.resource.register(&self.runtime)?;
            listener
                .resource
                .accept_on(&self.runtime, &self.app, socket, &self.monitor);
        }
        Ok(())
    }

    /// The addresses served, in the order of the config.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners
            .iter()
            .map(|listener| listener.resource.address)
            .collect()
    }

    /// Further handles to the sockets, by their configured addresses, for the process that takes over.
    ///
    /// # Errors
    /// There is no descriptor for one.
    pub fn handles(&self) -> std::io::Result<Vec<(String, TcpListener)>> {
        let mut handles = Vec::new();
        for listener in &self.listeners {
            let handle = listener.resource.handle()?;
            handles.extend(handle.map(|socket| (listener.resource.config.address.clone(), socket)));
        }
        Ok(handles)
    }

    /// The last denials, where they are kept.
    #[must_use]
    pub fn denials(&self) -> Option<Arc<RecentDenials>> {
        self.app.current().denials.clone()
    }

    /// Brings gauges up to date, and says whether the gateway can decide.
    #[must_use]
    pub fn probe(&self) -> Probe {
        Probe {
            app: Arc::clone(&self.app),
            limiter: Arc::clone(&self.limiter),
            ending: Arc::clone(&self.ending),
        }
    }

    /// Reads certificate and key files again where they have changed.
    pub fn reread_files(&self) {
        let gateway = self.app.current();
        gateway.key_files.iter().for_each(|file| file.look());
        for listener in &self.listeners {
            if let Some(tls) = &listener.resource.tls {
                tls.look(gateway.clock.now());
            }
        }
    }

    /// Changes to other listeners, APIs, upstreams and limits: all of them, or none. Requests in progress keep the settings
    /// they began with. What has not changed stays: listeners with their connections, pools with their connections and the
    /// state of their servers.
    ///
    /// # Errors
    /// [`StartError`]; nothing has changed then.
    pub fn apply(&mut self, config: &config::Gateway, drain: Drain) -> Result<(), StartError> {
        let before = self.app.current();
        let pools = build::pools(config, &self.pools, &before.metrics.upstreams);
        let wanted = self.wanted(config)?;
        // INVARIANT: nothing fails from here on.
        for (name, pool) in &self.pools {
            pool.forget_metrics(pools.get(name).map(|next| &**next));
        }
        before.held.set_limits(&config.limits);
        self.app.replace(build::next(&before, config, &pools));
        self.replace_listeners(wanted, drain);
        self.pool_tasks = pools
            .values()
            .map(|pool| {
                match self
                    .pool_tasks
                    .iter()
                    .position(|held| Arc::ptr_eq(&held.resource, pool))
                {
                    Some(at) => self.pool_tasks.swap_remove(at),
                    None => supervise_pool(pool, &self.monitor),
                }
            })
            .collect();
        self.pools = pools;
        Ok(())
    }

    /// The listeners of a config: existing ones, or new ones with the socket that they will accept on.
    fn wanted(&self, config: &config::Gateway) -> Result<Vec<Wanted>, StartError> {
        let mut existing: Vec<&Arc<Listener>> = self.listeners.iter().map(|held| &held.resource).collect();
        let mut wanted = Vec::new();
        for listener in &config.listeners {
            let found = existing
                .iter()
                .position(|held| held.config.address == listener.address);
            let held = found.map(|at| existing.remove(at));
            wanted.push(match held {
                Some(held) if held.config == *listener => Wanted::Kept(Arc::clone(held)),
                // Other certificates on the same address: the socket stays, and so do the connections waiting in it.
                held => {
                    let socket = match held.map(|held| held.handle()).transpose()?.flatten() {
                        Some(socket) => socket,
                        None => Sockets::default().take_or_bind(&listener.address)?,
                    };
                    let tls = &self.app.metrics().transport.tls;
                    let new = Arc::new(new_listener(listener, socket, tls, &self.limiter)?);
                    let socket = new.register(&self.runtime)?;
                    Wanted::New(new, socket)
                }
            });
        }
        Ok(wanted)
    }

    fn replace_listeners(&mut self, wanted: Vec<Wanted>, drain: Drain) {
        let mut before = std::mem::take(&mut self.listeners);
        for one in wanted {
            match one {
                Wanted::Kept(listener) => {
                    let at = before
                        .iter()
                        .position(|held| Arc::ptr_eq(&held.resource, &listener));
                    self.listeners.extend(at.map(|at| before.swap_remove(at)));
                }
                Wanted::New(listener, socket) => {
                    listener.accept_on(&self.runtime, &self.app, socket, &self.monitor);
                    let supervised = self.supervise_listener(listener);
                    self.listeners.push(supervised);
                }
            }
        }
        self.leaving.retain(|listener| !listener.is_empty());
        for gone in before {
            if let Some(tls) = &gone.resource.tls {
                tls.forget();
            }
            gone.resource.stop();
            let leaving = Arc::clone(&gone.resource);
            let leaving = async move { leaving.drain(drain).await };
            self.background
                .push(tokio::spawn(self.monitor.watch("drain", leaving)));
            self.leaving.push(Arc::clone(&gone.resource));
        }
        self.background.retain(|task| !task.is_finished());
        self.reread_files();
    }

    fn supervise_listener(&self, listener: Arc<Listener>) -> Supervised<Listener> {
        let gateway = self.app.current();
        let task = listener.tls.as_ref().map(|tls| {
            let tls = Arc::clone(tls);
            tls.look(gateway.clock.now());
            let watching = tls.watch(gateway.clock.clone());
            tokio::spawn(self.monitor.watch("certificates", watching))
        });
        Supervised {
            resource: listener,
            task,
        }
    }

    /// Stops accepting, and resolves when the last connection has ended: after the response to its request, or when the
    /// drain timeout is over.
    pub async fn drain(&self, drain: Drain) {
        self.ending.store(true, Ordering::Relaxed);
        let listeners = self.listeners.iter().map(|listener| &listener.resource);
        join_all(
            listeners
                .chain(&self.leaving)
                .map(|listener| listener.drain(drain)),
        )
        .await;
        if let Some(reporter) = &self.reporter {
            let gateway = self.app.current();
            let last = gateway.tally.report(&gateway.policy, reporter);
            let _ = tokio::time::timeout(LAST_REPORT_WITHIN, last).await;
        }
        if let Some(log) = &self.app.current().access_log {
            log.flush().await;
        }
    }

    /// Reopens the file of the access log, which log rotation may have moved.
    pub fn reopen_log(&self) {
        if let Some(log) = &self.app.current().access_log {
            log.reopen();
        }
    }
}

enum Wanted {
    Kept(Arc<Listener>),
    New(Arc<Listener>, tokio::net::TcpListener),
}

fn new_listener(
    config: &config::Listener,
    socket: TcpListener,
    metrics: &TlsMetrics,
    limiter: &Arc<ConnectionLimiter>,
) -> Result<Listener, StartError> {
    let tls = match &config.tls {
        None => None,
        Some(tls) => Some(Arc::new(Acceptor::new(&config.address, tls, metrics.clone())?)),
    };
    Ok(Listener::new(config.clone(), socket, tls, limiter)?)
}

fn supervise_pool(pool: &Arc<Pool>, monitor: &TaskMonitor) -> Supervised<Pool> {
    let current = Arc::clone(pool);
    let keeping = async move { current.keep_current().await };
    Supervised {
        resource: Arc::clone(pool),
        task: Some(tokio::spawn(monitor.watch("upstream_pool", keeping))),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let listeners = self.listeners.iter().map(|listener| &listener.resource);
        listeners.chain(&self.leaving).for_each(|listener| listener.cut());
        self.background.iter().for_each(JoinHandle::abort);
    }
}
