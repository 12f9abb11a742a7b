//! The planes of a config: started in order, reloaded, handed over to another process, and stopped in order.

use std::net::{SocketAddr, TcpListener as BoundSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use prometheus::Registry;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::failure::Failure;
use super::health::Whole;
use super::listeners::{Bound, Listeners};
use super::signals::End;
use super::upgrade::Predecessor;
use crate::clock::Clock;
use crate::config;
use crate::config::Config;
use crate::control::fleet::publish;
use crate::control::http::edges::listener as edge_listener;
use crate::control::http::edges::listener::EdgeListening;
use crate::control::http::edges::service::EdgeService;
use crate::control::http::server as control_service;
use crate::control::{Control, ControlSettings};
use crate::feed;
use crate::feed::Publisher;
use crate::gateway::link::remote::link::RemoteLink;
use crate::gateway::link::remote::metrics::LinkMetrics;
use crate::gateway::listen::listener::Drain;
use crate::gateway::listen::sockets::Sockets;
use crate::gateway::server::{Origin, Parts, Prepared, Running};
use crate::gateway::start_error::StartError;
use crate::http_server::Bounds;
use crate::task_monitor::TaskMonitor;
use crate::telemetry;
use crate::telemetry::{Health, log};

const METRICS_NOT_REGISTERED: &str = "control-plane metrics could not be registered and will not be exported";
const NO_FIRST_POLICY: &str = "no policy within 30 s; the gateway rejects every request until one arrives";
const EDGES_NOT_SERVED: &str =
    "the edge listener could not start; edges serve their last policy until `max_age`";
const DELAYED: &str = "shutdown delay: /readyz answers 503, and new connections are still accepted";
const DRAINING: &str = "draining: no new connections; requests in progress may finish";
const DRAIN_ABORTED: &str = "second signal: closing the remaining connections";

/// How long the control plane and the metrics may take to end, after the gateway has.
const LAST_TASKS_WITHIN: Duration = Duration::from_secs(12);

/// How long the first policy may take to be in force.
const FIRST_POLICY_WITHIN: Duration = Duration::from_secs(30);

/// The longest that kept connections of the control plane are waited for: new ones wait meanwhile.
const CONTROL_GRACE_MAX: Duration = Duration::from_secs(1);

/// Everything that a config named, running.
pub(super) struct Planes {
    pub control: Option<Arc<Control>>,
    pub control_address: Option<SocketAddr>,
    pub observability_address: Option<SocketAddr>,
    /// Where edges connect.
    pub edge_address: Option<SocketAddr>,
    pub gateway: Option<Running>,
    /// Counters of the link to control planes elsewhere; none without a gateway.
    link_metrics: Option<LinkMetrics>,
    pub registry: Registry,
    /// The running control plane, for health checks.
    running_control: Arc<ArcSwapOption<Control>>,
    config: Config,
    publisher: Publisher,
    listeners: Listeners,
    /// Set once `/readyz` says that the process is ending.
    is_ending: Arc<AtomicBool>,
    /// Set once the gateway accepts nothing any more.
    gateway_ended: Arc<AtomicBool>,
    control_tasks: Tasks,
    observability_tasks: Tasks,
}

/// Tasks that end together.
struct Tasks {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    monitor: TaskMonitor,
}

impl Planes {
    /// Binds every socket, opens the store, and starts to serve. An error comes before anything runs.
    /// With a predecessor, its sockets are used, and it serves until this process does.
    pub(super) async fn start(
        config: &Config,
        mut sockets: Sockets,
        mut predecessor: Option<&mut Predecessor>,
        monitor: &TaskMonitor,
    ) -> Result<Self, Failure> {
        let registry = Registry::new();
        telemetry::show_process(&registry).map_err(Failure::internal)?;
        telemetry::show_panics(&registry).map_err(Failure::internal)?;
        let prepared = match &config.gateway {
            Some(gateway) => Some(prepare(config, gateway, &registry, &mut sockets, monitor)?),
            None => None,
        };
        let listeners = Listeners::bind(config, &mut sockets, &registry)?;
        let link_metrics = match &prepared {
            Some(_) => Some(LinkMetrics::new(&registry).map_err(Failure::internal)?),
            None => None,
        };
        let (publisher, subscriber) = feed::feed();
        let mut planes = Self {
            control: None,
            control_address: None,
            observability_address: listeners.observability.as_ref().and_then(Bound::address),
            gateway: None,
            link_metrics,
            registry,
            running_control: Arc::default(),
            config: config.clone(),
            publisher,
            listeners,
            edge_address: None,
            is_ending: Arc::default(),
            gateway_ended: Arc::default(),
            control_tasks: Tasks::new(monitor),
            observability_tasks: Tasks::new(monitor),
        };
        let keeps_state = config.control_plane.is_some() || planes.remote().is_some();
        if let Some(predecessor) = &mut predecessor
            && keeps_state
        {
            predecessor.give_store().await?;
        }
        if config.control_plane.is_some() {
            planes.start_control().await?;
        }
        if let Some(prepared) = prepared {
            let prepared = planes.with_max_age(prepared);
            let origin = Origin::from_config(&config.policy, subscriber);
            let running = prepared.run(origin).await?;
            planes.first_policy(predecessor.is_some()).await?;
            planes.start_link().await?;
            running.accept().map_err(Failure::internal)?;
            planes.gateway = Some(running);
        }
        Ok(planes)
    }

    /// Opens the store and serves the control plane on its socket.
    async fn start_control(&mut self) -> Result<(), Failure> {
        let (Some(settings), Some(listener)) = (&self.config.control_plane, &self.listeners.control) else {
            return Ok(());
        };
        let socket = listener.listen()?;
        let address = socket.local_addr().map_err(Failure::internal)?;
        self.control_address = Some(address);
        let control = Control::open(control_settings(settings, address), Clock::System).await?;
        let control = Arc::new(control);
        if let Err(error) = control.register_metrics(&self.registry) {
            // After a hand-over that failed the names are taken by the control plane before this one.
            tracing::warn!(%error, "{METRICS_NOT_REGISTERED}");
        }
        let listening = control_service::Listening {
            socket,
            tls: listener.tls.clone(),
            bounds: Bounds::from(&settings.limits),
            grace: self.config.shutdown.idle_grace.min(CONTROL_GRACE_MAX),
        };
        let stopped = self.control_tasks.stopped();
        let serving = control_service::serve(Arc::clone(&control), listening, stopped);
        self.control_tasks.spawn("control_plane", serving);
        self.control_tasks.watch_certificates(listener);
        if self.is_bundled() {
            let stopped = self.control_tasks.stopped();
            let publisher = self.publisher.clone();
            let publishing = publish::run(
                Arc::clone(&control.fleet),
                Arc::clone(&control.traffic),
                publisher,
                stopped,
            );
            self.control_tasks.spawn("policy_publisher", publishing);
        }
        self.start_edge_listener(&control)?;
        self.running_control.store(Some(Arc::clone(&control)));
        self.control = Some(control);
        Ok(())
    }

    /// Serves edges, where the config has a listener for them.
    fn start_edge_listener(&mut self, control: &Arc<Control>) -> Result<(), Failure> {
        let settings = self.config.control_plane.as_ref();
        let edges = settings.and_then(|settings| settings.edges.as_ref());
        let (Some(edges), Some(listener)) = (edges, &self.listeners.edges) else {
            return Ok(());
        };
        let service = EdgeService {
            connections: edges.connections,
            downloads: edges.downloads,
            heartbeat: edges.heartbeat,
        };
        let listening = EdgeListening {
            socket: listener.listen()?,
            tls: listener.tls.clone(),
            metrics: self.listeners.edge_connections.clone(),
        };
        self.edge_address = listener.address();
        let (control, stopped) = (Arc::clone(control), self.control_tasks.stopped());
        self.control_tasks.spawn("edge_listener", async move {
            if let Err(error) = edge_listener::serve(control, service, listening, stopped).await {
                tracing::error!(%error, "{EDGES_NOT_SERVED}");
            }
        });
        self.control_tasks.watch_certificates(listener);
        Ok(())
    }

    /// How this process is fed by control planes elsewhere, where it is.
    fn remote(&self) -> Option<&config::RemotePolicy> {
        match (&self.config.policy, &self.config.gateway) {
            (config::PolicyOrigin::Remote(remote), Some(_)) => Some(remote),
            _ => None,
        }
    }

    /// Installs the policy that is on disk, and follows the control planes.
    async fn start_link(&mut self) -> Result<(), Failure> {
        let (Some(remote), Some(metrics)) = (self.remote(), self.link_metrics.clone()) else {
            return Ok(());
        };
        let (freshness, publisher) = (self.config.freshness, self.publisher.clone());
        let link = RemoteLink::open(remote, freshness, publisher, Clock::System, metrics);
        let mut link = link.map_err(Failure::input)?;
        link.install_stored().await;
        let following = link.run(self.control_tasks.stopped(), Arc::clone(&self.gateway_ended));
        self.control_tasks.spawn("remote_link", following);
        Ok(())
    }

    /// A bundled gateway's policy is stale no later than that of any other gateway of the fleet.
    fn with_max_age(&self, prepared: Prepared) -> Prepared {
        match (&self.control, self.is_bundled()) {
            (Some(control), true) => prepared.with_max_age(control.instances.max_age()),
            _ => prepared,
        }
    }

    fn is_bundled(&self) -> bool {
        self.config.gateway.is_some() && matches!(self.config.policy, config::PolicyOrigin::Bundled)
    }

    /// Waits until the bundled control plane's policy is in force. A process that takes over from another
    /// must have it: the other one goes on where it does not come.
    async fn first_policy(&self, must: bool) -> Result<(), Failure> {
        if !self.is_bundled() || self.control.is_none() {
            return Ok(());
        }
        if self.publisher.is_installed(1, FIRST_POLICY_WITHIN).await {
            return Ok(());
        }
        if must {
            return Err(Failure::internal(
                "no policy within 30 s; the other process continues to serve",
            ));
        }
        tracing::error!("{NO_FIRST_POLICY}");
        Ok(())
    }

    /// Answers metrics and health checks. Until then they wait: what a caller prepares after [`Self::start`] is there
    /// when `/readyz` says so.
    pub(super) fn start_observability(&mut self) -> Result<(), Failure> {
        let Some(listener) = &self.listeners.observability else {
            return Ok(());
        };
        let listening = telemetry::Listening {
            socket: listener.listen()?,
            tls: listener.tls.clone(),
            metrics: self.listeners.observability_connections.clone(),
        };
        let health: Arc<dyn Health> = Arc::new(Whole {
            probe: self.gateway.as_ref().map(Running::probe),
            control: Arc::clone(&self.running_control),
            is_ending: Arc::clone(&self.is_ending),
        });
        let stopped = self.observability_tasks.stopped();
        let serving = telemetry::serve(listening, self.registry.clone(), health, stopped);
        self.observability_tasks.spawn("observability", serving);
        self.observability_tasks.watch_certificates(listener);
        Ok(())
    }

    /// Takes over what a running process can take over of another config: whole, or not at all.
    pub(super) fn apply(&mut self, next: &Config) -> Result<(), StartError> {
        let drain = drain(next.shutdown);
        if let (Some(running), Some(gateway)) = (&mut self.gateway, &next.gateway) {
            running.apply(gateway, drain)?;
        }
        self.config.shutdown = next.shutdown;
        log::set_level(next.log.level.as_str());
        Ok(())
    }

    /// Opens the access log's file again.
    pub(super) fn reopen_log(&self) {
        if let Some(running) = &self.gateway {
            running.reopen_log();
        }
    }

    /// Has the files looked at that are read again when they change.
    pub(super) fn look_at_files(&self) {
        if let Some(running) = &self.gateway {
            running.reread_files();
        }
        self.listeners.reread_files();
    }

    /// Further handles to all sockets, by their configured addresses.
    pub(super) fn sockets(&self) -> std::io::Result<Vec<(String, BoundSocket)>> {
        let mut sockets = match &self.gateway {
            Some(gateway) => gateway.handles()?,
            None => Vec::new(),
        };
        sockets.extend(self.listeners.handles()?);
        Ok(sockets)
    }

    /// Stops the control plane and releases the store. Calls in progress are answered first; new ones wait in
    /// the socket for the process that accepts next.
    pub(super) async fn release_store(&mut self) {
        self.control_tasks.end().await;
        self.running_control.store(None);
        if let Some(control) = self.control.take() {
            control.close().await;
        }
    }

    /// Goes on as control plane after [`Self::release_store`].
    pub(super) async fn take_store_back(&mut self) -> Result<(), Failure> {
        self.control_tasks = Tasks::new(&self.control_tasks.monitor);
        self.start_control().await?;
        self.start_link().await
    }

    pub(super) fn log_addresses(&self) {
        for address in self.gateway.iter().flat_map(Running::addresses) {
            tracing::info!(listener = "gateway", %address, "listening");
        }
        if let Some(address) = self.control_address {
            tracing::info!(listener = "control_plane", %address, "listening");
        }
        if let Some(address) = self.edge_address {
            tracing::info!(listener = "edges", %address, "listening");
        }
        if let Some(address) = self.observability_address {
            tracing::info!(listener = "observability", %address, "listening");
        }
    }

    /// Stops everything but the requests under way: another process serves.
    pub(super) async fn give_way(&mut self) {
        self.listeners.close_control();
        self.listeners.observability = None;
        // Nothing has to look elsewhere: the other process listens at the same addresses.
        self.config.shutdown.delay = Duration::ZERO;
        self.observability_tasks.end().await;
    }

    /// Lets load balancers see that the process is ending, and then requests in progress finish.
    async fn drain(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        let delay = self.config.shutdown.delay;
        if !delay.is_zero() {
            tracing::info!(?delay, "{DELAYED}");
            tokio::time::sleep(delay).await;
        }
        if let Some(gateway) = &self.gateway {
            tracing::info!("{DRAINING}");
            gateway.drain(drain(self.config.shutdown)).await;
        }
    }

    /// Ends everything: the gateway first, since its requests may still need the feed.
    pub(super) async fn stop(mut self, how: End) {
        if let End::Drained(mut second) = how {
            tokio::select! {
                () = self.drain() => {}
                _ = second.asked() => tracing::warn!("{DRAIN_ABORTED}"),
            }
        }
        self.listeners.close_control();
        self.gateway_ended.store(true, Ordering::Relaxed);
        self.release_store().await;
        self.gateway = None;
        self.observability_tasks.end().await;
    }
}

impl Tasks {
    fn new(monitor: &TaskMonitor) -> Self {
        Self {
            stop: watch::channel(false).0,
            tasks: Vec::new(),
            monitor: monitor.clone(),
        }
    }

    /// Resolves when these tasks are to end.
    fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stopping = self.stop.subscribe();
        async move {
            let _ = stopping.wait_for(|stop| *stop).await;
        }
    }

    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push(tokio::spawn(self.monitor.watch(name, task)));
    }

    /// Reads the certificates of a listener again whenever they change.
    fn watch_certificates(&mut self, listener: &Bound) {
        let Some(tls) = listener.tls.clone() else { return };
        tls.look(Clock::System.now());
        let stopped = self.stopped();
        self.spawn("certificates", async move {
            tokio::select! {
                () = tls.watch(Clock::System) => {}
                () = stopped => {}
            }
        });
    }

    async fn end(&mut self) {
        self.stop.send_replace(true);
        for task in self.tasks.drain(..) {
            let _ = tokio::time::timeout(LAST_TASKS_WITHIN, task).await;
        }
    }
}

fn prepare(
    config: &Config,
    gateway: &config::Gateway,
    registry: &Registry,
    sockets: &mut Sockets,
    monitor: &TaskMonitor,
) -> Result<Prepared, Failure> {
    let mut prepared = Prepared::new(Parts {
        config: gateway,
        issuers: &config.issuers,
        freshness: config.freshness,
        access_log: config.observability.access_log.as_ref(),
        clock: Clock::System,
        registry,
        sockets,
        monitor,
    })?;
    if config.admin_socket.is_some() {
        prepared.keep_denials();
    }
    Ok(prepared)
}

fn drain(shutdown: config::Shutdown) -> Drain {
    Drain {
        idle_grace: shutdown.idle_grace,
        within: shutdown.drain_timeout,
    }
}

/// The settings of a control plane that listens at `address`.
pub(super) fn control_settings(
    settings: &config::ControlPlane,
    address: impl std::fmt::Display,
) -> ControlSettings {
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    let own = || format!("{scheme}://{address}");
    ControlSettings {
        store: settings.store.clone(),
        public_url: settings.public_url.clone().unwrap_or_else(own),
        audience: settings.audience.clone(),
        resources: settings.resources.clone(),
        assertion_lifetime_max_s: settings.assertion_lifetime_max.as_secs(),
        signing: settings.signing.clone(),
        leaked_tokens: settings.leaked_tokens.clone(),
        trusted_proxies: settings.trusted_proxies.clone(),
        limits: settings.limits,
        audit_retention: settings.audit_retention,
        login: settings.login.clone(),
        fleet_max_age: settings.fleet_max_age,
    }
}
