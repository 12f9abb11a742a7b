//! `portcullis quickstart`: everything on this machine, with sample data, and what to paste next.

mod addresses;
pub(crate) mod args;
mod child;
mod config;
mod edges;
pub(crate) mod env_file;
mod guide;
mod sample_data;

use std::net::TcpListener as BoundSocket;
use std::path::{Path, PathBuf};

use clap::Args;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use self::addresses::Addresses;
use self::args::QuickstartArgs;
use self::child::ChildProcess;
use self::config::{ANY_PORT, Listens, absolute, make_encryption_key, write_secret};
use self::edges::{LocalEdges, start_upstream};
use self::env_file::EnvFile;
use super::failure::Failure;
use super::planes::Planes;
use super::preflight;
use super::sample_upstream;
use super::serve::panicked;
use super::signals::{Asked, End, Ending};
use crate::clock::{Clock, instant};
use crate::config::Config;
use crate::gateway::listen::sockets::{Sockets, bind};
use crate::task_monitor::TaskMonitor;

pub(super) async fn quickstart(args: QuickstartArgs) -> Result<(), Failure> {
    let began = instant();
    let mut ending = Ending::new()?;
    std::fs::create_dir_all(&args.dir).map_err(|error| {
        Failure::input(format_args!(
            "{} cannot be made: {error}; choose another with --dir",
            args.dir.display()
        ))
    })?;
    println!("portcullis quickstart writes to {}", args.dir.display());
    let (upstream, upstream_name) = bound(&args.upstream)?;
    let upstream_address = upstream.local_addr().map_err(Failure::internal)?;
    let (config, sockets, listens) = write_config(&args, upstream_name)?;
    let monitor = TaskMonitor::default();
    let mut planes = tokio::select! {
        planes = Planes::start(&config, sockets, None, &monitor) => planes?,
        task = monitor.panicked() => return Err(panicked(task)),
    };
    let log = absolute(&args.dir.join("upstream.jsonl"))?;
    let upstream = SampleUpstream::start(&args, upstream, &log, &monitor)?;
    let env_path = args.dir.join("env");
    let mut addresses = Addresses::of(&planes)?;
    let control = planes
        .control
        .clone()
        .ok_or_else(|| Failure::internal("the control plane is missing"))?;
    let env = match EnvFile::read_if_there(&env_path)? {
        Some(before) => before,
        None => sample_data::make_data(&control, &args.dir, &addresses, &log).await?,
    };
    let started = tokio::select! {
        edges = LocalEdges::start(&args, &listens, &control) => Ok(edges?),
        how = ending.asked() => Err((how, None)),
        task = monitor.panicked() => Err((Asked::AtOnce, Some(task))),
    };
    drop(control);
    let (edges, (how, fallen)) = match started {
        Err(stopped) => (LocalEdges::default(), stopped),
        Ok(edges) => {
            addresses.edges.clone_from(&edges.addresses);
            env.moved_to(&addresses, &log).write(&env_path)?;
            planes.start_observability()?;
            guide::print_what_to_paste(&args, &env_path, &addresses, upstream_address, began.elapsed());
            let stopped = tokio::select! {
                how = ending.asked() => (how, None),
                task = monitor.panicked() => (Asked::AtOnce, Some(task)),
            };
            (edges, stopped)
        }
    };
    stop(edges, planes, upstream, how.with(ending)).await?;
    fallen.map_or(Ok(()), |task| Err(panicked(task)))
}

/// Ends everything: edges first, which say goodbye to the control plane, and the upstream last.
async fn stop(edges: LocalEdges, planes: Planes, upstream: SampleUpstream, how: End) -> Result<(), Failure> {
    edges.stop().await;
    planes.stop(how).await;
    upstream.stop().await
}

/// The sample upstream: a task, or a process of its own where edges must reach it while this process is away.
enum SampleUpstream {
    Task {
        stop: oneshot::Sender<()>,
        serving: JoinHandle<Result<(), Failure>>,
    },
    Process(ChildProcess),
}

impl SampleUpstream {
    fn start(
        args: &QuickstartArgs,
        socket: BoundSocket,
        log: &Path,
        monitor: &TaskMonitor,
    ) -> Result<Self, Failure> {
        if args.edges > 0 {
            return start_upstream(&args.dir, socket, log).map(Self::Process);
        }
        let socket = TcpListener::from_std(socket).map_err(Failure::internal)?;
        let (stop, stopping) = oneshot::channel::<()>();
        let log = log.to_owned();
        let serving = async move {
            sample_upstream::serve(socket, &log, async {
                let _ = stopping.await;
            })
            .await
        };
        let serving = tokio::spawn(monitor.watch("sample_upstream", serving));
        Ok(Self::Task { stop, serving })
    }

    async fn stop(self) -> Result<(), Failure> {
        match self {
            Self::Task { stop, serving } => {
                drop(stop);
                serving.await.map_err(Failure::internal)?
            }
            Self::Process(process) => {
                process.terminate();
                process.ended().await;
                Ok(())
            }
        }
    }
}

/// The flags of `portcullis sample-upstream`, which the quickstart runs.
#[derive(Args)]
pub(super) struct SampleUpstreamArgs {
    /// Where it writes what it gets
    #[arg(long, value_name = "FILE")]
    log: PathBuf,
}

/// Serves the sample upstream on the listening socket that is the standard input, until TERM or INT.
pub(super) async fn serve_sample_upstream(args: SampleUpstreamArgs) -> Result<(), Failure> {
    use std::os::fd::AsFd as _;
    let mut ending = Ending::new()?;
    let socket = std::io::stdin().as_fd().try_clone_to_owned();
    let socket = BoundSocket::from(socket.map_err(Failure::internal)?);
    socket.set_nonblocking(true).map_err(Failure::input)?;
    let socket = TcpListener::from_std(socket).map_err(Failure::input)?;
    let ended = async move {
        ending.asked().await;
    };
    sample_upstream::serve(socket, &args.log, ended).await
}

/// A listening socket, and its address with the port that it has. The host stays as it was given.
fn bound(address: &str) -> Result<(std::net::TcpListener, String), Failure> {
    let socket = bind(address).map_err(Failure::from).map_err(name_the_flags)?;
    let port = socket.local_addr().map_err(Failure::internal)?.port();
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    Ok((socket, format!("{host}:{port}")))
}

/// Writes the config file and reads it, as `serve` does. Its sockets are bound first, so that it names their ports.
fn write_config(args: &QuickstartArgs, upstream: String) -> Result<(Config, Sockets, Listens), Failure> {
    let gateway = bound(&args.gateway)?;
    let control_plane = bound(&args.control_plane)?;
    let observability = bound(&args.observability)?;
    let edges = match args.edges {
        0 => None,
        _ => Some(bound(ANY_PORT)?),
    };
    let listens = Listens {
        gateway: gateway.1.clone(),
        control_plane: control_plane.1.clone(),
        observability: observability.1.clone(),
        upstream,
        edges: edges.as_ref().map(|(_, address)| address.clone()),
    };
    make_encryption_key(&args.dir)?;
    let path = args.dir.join("portcullis.yaml");
    write_secret(&path, &config::text(args, &listens))?;
    let config = preflight::read(&path, Clock::System.now())?.config;
    let sockets = [gateway, control_plane, observability].into_iter().chain(edges);
    let sockets = sockets.map(|(socket, address)| (address, socket));
    Ok((config, Sockets::taken_over(sockets.collect()), listens))
}

/// Where a port is taken, says how to choose others: the newcomer knows none of the four.
fn name_the_flags(failure: Failure) -> Failure {
    let more = |message| {
        format!("{message} (--gateway, --control-plane, --observability and --upstream choose others)")
    };
    match failure {
        Failure::Input(message) => Failure::Input(more(message)),
        Failure::Environment(message) => Failure::Environment(more(message)),
        other => other,
    }
}
