//! `portcullis serve`: the planes that a config names, wired together.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::Failure;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::control::{Control, ControlSettings, publish, service as control_service};
use crate::feed;
use crate::gateway::service::{Origin, Parts, Prepared, Probe, Running, bind};
use crate::telemetry::{self, Health};

/// How long requests under way may take to end after TERM.
const GRACE: Duration = Duration::from_secs(30);

/// `aud` of access tokens where the config does not name one.
const AUDIENCE: &str = "portcullis";

/// What is logged while nobody can sign in.
const FIRST_OWNER: &str = "nobody can sign in yet; stop this process, make the first owner with \
     `portcullis admin owner --config FILE --email YOU@EXAMPLE.COM`, and start it again";

/// Runs until TERM or INT.
pub(super) async fn serve(path: PathBuf) -> Result<(), Failure> {
    let config = config::load(&path).map_err(Failure::input)?;
    let ending = Ending::new()?;
    let planes = Planes::start(&config).await?;
    planes.log_addresses();
    ending.asked().await;
    tracing::info!("ending: no new connections; requests under way may finish");
    planes.stop().await;
    Ok(())
}

/// What a control plane is told that listens at `address`.
pub(super) fn control_settings(
    settings: &config::ControlPlane,
    address: impl std::fmt::Display,
) -> ControlSettings {
    let own = || format!("http://{address}");
    ControlSettings {
        store: settings.store.clone(),
        public_url: settings.public_url.clone().unwrap_or_else(own),
        audience: settings.audience.clone().unwrap_or_else(|| AUDIENCE.to_owned()),
        signing_algorithm: settings.signing_algorithm,
        trusted_proxies: settings.trusted_proxies.clone(),
        limits: settings.limits,
        audit_retention: settings.audit_retention,
    }
}

/// TERM and INT, from the moment this is made. Make it first: whoever sees that the product is ready may end it.
pub(super) struct Ending {
    terminate: Signal,
    interrupt: Signal,
}

impl Ending {
    pub(super) fn new() -> Result<Self, Failure> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(Failure::internal)?,
            interrupt: signal(SignalKind::interrupt()).map_err(Failure::internal)?,
        })
    }

    /// Resolves when the process is asked to end.
    pub(super) async fn asked(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Everything that a config named, running.
pub(super) struct Planes {
    pub control: Option<Arc<Control>>,
    pub control_address: Option<SocketAddr>,
    pub observability_address: Option<SocketAddr>,
    pub gateway: Option<Running>,
    stop: watch::Sender<bool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Planes {
    /// Binds every socket, opens the store, and starts to serve. What fails, fails before anything runs.
    pub(super) async fn start(config: &Config) -> Result<Self, Failure> {
        let clock = Clock::System;
        let registry = Registry::new();
        let prepared = match &config.gateway {
            Some(gateway) => Some(
                Prepared::new(Parts {
                    config: gateway,
                    issuers: &config.issuers,
                    freshness: config.freshness,
                    access_log: config.observability.access_log,
                    clock: clock.clone(),
                    registry: &registry,
                })
                .map_err(Failure::input)?,
            ),
            None => None,
        };
        let control_socket = match &config.control_plane {
            Some(control) => Some(listen(&control.listen)?),
            None => None,
        };
        let observability_socket = config.observability.listen.as_deref().map(listen).transpose()?;
        let (stop, _) = watch::channel(false);
        let mut planes = Self {
            control: None,
            control_address: None,
            observability_address: None,
            gateway: None,
            stop,
            tasks: Vec::new(),
        };
        let (publisher, subscriber) = feed::feed();
        if let (Some(settings), Some(socket)) = (&config.control_plane, control_socket) {
            planes.start_control(settings, socket, clock, &registry).await?;
        }
        if let Some(prepared) = prepared {
            let origin = Origin::from_config(&config.policy, subscriber);
            let bundled = matches!(origin, Origin::Feed(_));
            let running = prepared.run(origin).await.map_err(Failure::input)?;
            planes.gateway = Some(running);
            if let (true, Some(control)) = (bundled, &planes.control) {
                let (control, stopped) = (Arc::clone(control), planes.stopped());
                // The feed goes on until the very end, so that a change is in force when its call returns.
                planes
                    .tasks
                    .push(tokio::spawn(publish::run(control, publisher.clone(), stopped)));
                let first = publisher.is_installed(1, Duration::from_secs(30)).await;
                tracing::debug!(first, "first policy");
            }
        }
        if let Some(socket) = observability_socket {
            planes.observability_address = socket.local_addr().ok();
            let health: Arc<dyn Health> = Arc::new(Whole {
                probe: planes.gateway.as_ref().map(Running::probe),
            });
            planes.tasks.push(tokio::spawn(telemetry::serve(
                socket,
                registry,
                health,
                planes.stopped(),
            )));
        }
        Ok(planes)
    }

    async fn start_control(
        &mut self,
        settings: &config::ControlPlane,
        socket: TcpListener,
        clock: Clock,
        registry: &Registry,
    ) -> Result<(), Failure> {
        let address = socket.local_addr().map_err(Failure::internal)?;
        let settings = control_settings(settings, address);
        let control = Arc::new(Control::open(settings, clock).await.map_err(Failure::input)?);
        control.register_metrics(registry).map_err(Failure::internal)?;
        if control.is_without_members().await.map_err(Failure::internal)? {
            tracing::warn!("{FIRST_OWNER}");
        }
        self.tasks.push(tokio::spawn(control_service::serve(
            Arc::clone(&control),
            socket,
            self.stopped(),
        )));
        self.control = Some(control);
        self.control_address = Some(address);
        Ok(())
    }

    /// Resolves when everything is to end.
    fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stopping = self.stop.subscribe();
        async move {
            let _ = stopping.wait_for(|stop| *stop).await;
        }
    }

    fn log_addresses(&self) {
        for address in self.gateway.iter().flat_map(Running::addresses) {
            tracing::info!(listener = "gateway", %address, "listening");
        }
        if let Some(address) = self.control_address {
            tracing::info!(listener = "control_plane", %address, "listening");
        }
        if let Some(address) = self.observability_address {
            tracing::info!(listener = "observability", %address, "listening");
        }
    }

    /// Ends everything: the gateway first, since its requests may still need the feed.
    pub(super) async fn stop(self) {
        if let Some(gateway) = self.gateway {
            gateway.stop(GRACE).await;
        }
        self.stop.send_replace(true);
        for task in self.tasks {
            let _ = tokio::time::timeout(GRACE, task).await;
        }
        if let Some(control) = self.control {
            control.close().await;
        }
    }
}

fn listen(address: &str) -> Result<TcpListener, Failure> {
    let socket = bind(address).map_err(Failure::input)?;
    TcpListener::from_std(socket).map_err(Failure::internal)
}

/// The health of the whole process. A control plane alone is ready when it listens.
struct Whole {
    probe: Option<Probe>,
}

impl Health for Whole {
    fn refresh(&self) {
        if let Some(probe) = &self.probe {
            probe.refresh();
        }
    }

    fn ready(&self) -> Result<(), &'static str> {
        self.probe.as_ref().map_or(Ok(()), Probe::ready)
    }
}
