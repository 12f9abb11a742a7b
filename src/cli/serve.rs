//! `portcullis serve`: runs the planes that a config names until it is told to end, or another process takes over.

use std::path::PathBuf;

use tokio::net::UnixStream;

use super::failure::Failure;
use super::notify::Supervisor;
use super::planes::Planes;
use super::reload::Reloader;
use super::signals::{Asked, Ending, Signals};
use super::upgrade::{Predecessor, Step, Successor, UpgradeSocket, start_successor};
use crate::config;
use crate::config::Config;
use crate::gateway::listen::sockets::Sockets;
use crate::task_monitor::TaskMonitor;

/// What is logged while nobody can sign in.
const FIRST_OWNER: &str = "nobody can sign in yet; stop this process, make the first owner with \
     `portcullis admin owner --config FILE --email YOU@EXAMPLE.COM`, and start it again";

/// Runs until TERM or INT, until another process has taken over, or until a task has fallen that all rests on.
pub(super) async fn serve(path: PathBuf, upgrade: bool) -> Result<(), Failure> {
    let config = config::load(&path).map_err(Failure::input)?;
    let mut ending = Ending::new()?;
    let mut signals = Signals::new()?;
    let supervisor = Supervisor::from_environment();
    let (mut predecessor, sockets) = match upgrade {
        true => {
            let (predecessor, sockets) = Predecessor::connect(door_of(&config)?).await?;
            (Some(predecessor), sockets)
        }
        false => (None, Sockets::default()),
    };
    let monitor = TaskMonitor::default();
    let mut planes = tokio::select! {
        planes = Planes::start(&config, sockets, predecessor.as_mut(), &monitor) => planes?,
        task = monitor.panicked() => return Err(panicked(task)),
    };
    let mut reloader = Reloader::new(&config, &planes.registry)?;
    let door = config
        .upgrade_socket
        .as_deref()
        .map(UpgradeSocket::open)
        .transpose()?;
    planes.log_addresses();
    if let Some(control) = &planes.control
        && control
            .members
            .is_without_members()
            .await
            .map_err(Failure::internal)?
    {
        tracing::warn!("{FIRST_OWNER}");
    }
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
            _ = signals.reload.recv() => reloader.reload(&mut planes),
            () = reloader.changed() => reloader.reload(&mut planes),
            _ = signals.upgrade.recv() => start_successor(&path),
            successor = knocked(door.as_ref()) => {
                if hand_over(&mut planes, successor).await {
                    planes.give_way().await;
                    planes.stop(Asked::Drain.with(ending)).await;
                    return Ok(());
                }
            }
        }
    }
}

/// Says that a process without this task would look alive and not be.
pub(super) fn panicked(task: &str) -> Failure {
    let problem = format!("{task} has ended by a mistake in this program, and nothing works without it");
    tracing::error!(task, "{problem}; the process ends");
    Failure::Internal(problem)
}

fn door_of(config: &Config) -> Result<&std::path::Path, Failure> {
    config.upgrade_socket.as_deref().ok_or_else(|| {
        Failure::input(format_args!(
            "{} has no upgrade.socket, so there is no process to take over from; add `upgrade: {{socket: portcullis.sock}}`",
            config.path.display()
        ))
    })
}

async fn knocked(door: Option<&UpgradeSocket>) -> UnixStream {
    match door {
        Some(door) => door.knocked().await,
        None => std::future::pending().await,
    }
}

/// Hands everything to the process that knocked. Whether it serves now.
async fn hand_over(planes: &mut Planes, stream: UnixStream) -> bool {
    tracing::info!("another process takes over");
    let mut gave_store = false;
    let Err(error) = hand_over_to(planes, stream, &mut gave_store).await else {
        tracing::info!("the other process serves now");
        return true;
    };
    tracing::error!(%error, "the other process did not take over; this one goes on");
    if gave_store && let Err(error) = planes.take_store_back().await {
        tracing::error!(
            ?error,
            "the control plane cannot go on; the gateway does, with the policy it has"
        );
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
