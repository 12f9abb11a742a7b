//! `portcullis serve`: runs the planes that a config names, until a signal ends it or another process takes over.

use std::path::PathBuf;

use tokio::net::UnixStream;

use super::admin_socket::AdminSocket;
use super::failure::Failure;
use super::notify::Supervisor;
use super::planes::Planes;
use super::preflight;
use super::preflight::Checked;
use super::reload::Reloader;
use super::signals::{Asked, Ending, Signals};
use super::upgrade::{Predecessor, Step, Successor, UpgradeSocket, start_successor};
use crate::clock::Clock;
use crate::config::{Config, LogFormat, LogLevel, Problem};
use crate::gateway::listen::sockets::Sockets;
use crate::gateway::server::Running;
use crate::task_monitor::TaskMonitor;
use crate::telemetry::log;
use crate::telemetry::log::LogSetup;

const CONFIG_WARNING: &str = "config warning";

/// Logged while nobody can sign in.
const FIRST_OWNER: &str = "nobody can sign in yet; create the first owner with \
     `portcullis admin owner --config FILE --email YOU@EXAMPLE.COM`";

const UPGRADE_STARTED: &str = "upgrade: another process takes over";
const UPGRADED: &str = "upgrade: the other process serves now";
const UPGRADE_FAILED: &str = "upgrade failed; this process continues to serve";
const CONTROL_PLANE_LOST: &str =
    "the control plane could not be started again; the gateway serves the current policy";
const TASK_PANICKED: &str = "critical task panicked (a bug); shutting down";

/// Runs until TERM or INT, until another process has taken over, or until a critical task has panicked.
pub(super) async fn serve(path: PathBuf, upgrade: bool, level: Option<LogLevel>) -> Result<(), Failure> {
    let Checked { config, warnings, .. } = preflight::read(&path, Clock::System.now())?;
    init_log(&config, level);
    log_warnings(&warnings);
    let mut ending = Ending::new()?;
    let mut signals = Signals::new()?;
    let mut supervisor = Supervisor::from_environment();
    let (mut predecessor, sockets) = match upgrade {
        true => {
            let (predecessor, sockets) = Predecessor::connect(upgrade_socket(&config)?).await?;
            (Some(predecessor), sockets)
        }
        false => (None, Sockets::default()),
    };
    let monitor = TaskMonitor::default();
    let mut planes = tokio::select! {
        planes = Planes::start(&config, sockets, predecessor.as_mut(), &monitor) => planes?,
        task = monitor.panicked() => return Err(panicked(task)),
    };
    planes.start_observability()?;
    let mut reloader = Reloader::new(&config, &planes.registry)?;
    let socket = open_upgrade_socket(&config)?;
    open_admin_socket(&config, &planes, &monitor)?;
    planes.log_addresses();
    warn_without_owner(&planes).await?;
    supervisor.ready();
    if let Some(predecessor) = predecessor {
        predecessor.serving().await;
    }
    loop {
        tokio::select! {
            end = ending.asked() => {
                supervisor.stopping();
                planes.stop(end.with(ending)).await;
                return Ok(());
            }
            task = monitor.panicked() => {
                supervisor.stopping();
                planes.stop(Asked::Drain.with(ending)).await;
                return Err(panicked(task));
            }
            _ = signals.reload.recv() => {
                supervisor.reloading();
                planes.reopen_log();
                reloader.reload(&mut planes);
                supervisor.ready();
            }
            () = reloader.changed() => reloader.reload(&mut planes),
            () = supervisor.keep_alive() => {}
            _ = signals.upgrade.recv() => start_successor(&path),
            successor = upgrade_requested(socket.as_ref()) => {
                if hand_over(&mut planes, successor).await {
                    planes.give_way().await;
                    planes.stop(Asked::Drain.with(ending)).await;
                    return Ok(());
                }
            }
        }
    }
}

fn open_upgrade_socket(config: &Config) -> Result<Option<UpgradeSocket>, Failure> {
    let path = config.upgrade_socket.as_deref();
    path.map(UpgradeSocket::open).transpose()
}

/// Answers commands, where the config has an admin socket.
fn open_admin_socket(config: &Config, planes: &Planes, monitor: &TaskMonitor) -> Result<(), Failure> {
    let denials = planes.gateway.as_ref().and_then(Running::denials);
    if let (Some(path), Some(denials)) = (&config.admin_socket, denials) {
        let socket = AdminSocket::open(path, denials)?;
        tokio::spawn(monitor.watch("admin_socket", socket.serve()));
    }
    Ok(())
}

/// Says so where nobody can sign in yet.
async fn warn_without_owner(planes: &Planes) -> Result<(), Failure> {
    let Some(control) = &planes.control else {
        return Ok(());
    };
    let is_without = control.members.is_without_members().await;
    if is_without.map_err(Failure::internal)? {
        tracing::warn!("{FIRST_OWNER}");
    }
    Ok(())
}

/// Sets up the log of events as the config and the command line say.
fn init_log(config: &Config, flag: Option<LogLevel>) {
    log::init(&LogSetup {
        flag: flag.map(LogLevel::as_str),
        level: config.log.level.as_str(),
        is_json: config.log.format == LogFormat::Json,
    });
}

/// Logs each warning of the config with its place.
fn log_warnings(warnings: &[Problem]) {
    for warning in warnings {
        let (place, code) = (warning.position(), warning.severity.to_string());
        let hint = warning.hint.as_deref().unwrap_or_default();
        tracing::warn!(place, code, warning = warning.message, hint, "{CONFIG_WARNING}");
    }
}

/// Why the process ends without a task that everything depends on.
pub(super) fn panicked(task: &str) -> Failure {
    tracing::error!(task, "{TASK_PANICKED}");
    Failure::Internal(format!("critical task `{task}` panicked (a bug); shutting down"))
}

fn upgrade_socket(config: &Config) -> Result<&std::path::Path, Failure> {
    config.upgrade_socket.as_deref().ok_or_else(|| {
        Failure::input(format_args!(
            "{} has no upgrade.socket, so there is no process to take over from; add `upgrade: {{socket: portcullis.sock}}`",
            config.path.display()
        ))
    })
}

async fn upgrade_requested(socket: Option<&UpgradeSocket>) -> UnixStream {
    match socket {
        Some(socket) => socket.requested().await,
        None => std::future::pending().await,
    }
}

/// Hands everything over to the process that connected. True if it serves now.
async fn hand_over(planes: &mut Planes, stream: UnixStream) -> bool {
    tracing::info!("{UPGRADE_STARTED}");
    let mut gave_store = false;
    let Err(error) = hand_over_to(planes, stream, &mut gave_store).await else {
        tracing::info!("{UPGRADED}");
        return true;
    };
    tracing::error!(%error, "{UPGRADE_FAILED}");
    if gave_store && let Err(error) = planes.take_store_back().await {
        tracing::error!(?error, "{CONTROL_PLANE_LOST}");
    }
    false
}

async fn hand_over_to(planes: &mut Planes, stream: UnixStream, gave_store: &mut bool) -> std::io::Result<()> {
    let mut successor = Successor::with_sockets(stream, &planes.sockets()?).await?;
    loop {
        match successor.step().await? {
            Step::WantsStore => {
                *gave_store = true;
                planes.release_store().await;
                successor.store_given().await?;
            }
            Step::Serves => return Ok(()),
        }
    }
}
