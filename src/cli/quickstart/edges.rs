//! `quickstart --edges N`: further gateways on this machine, each a `serve` process fed by the quickstart's control plane.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::args::QuickstartArgs;
use super::child::ChildProcess;
use super::config::{Listens, edge_text, write_secret};
use super::sample_data::ACTOR;
use crate::cli::failure::Failure;
use crate::control::Control;
use crate::gateway::link::remote::folder::is_enrolled;

/// How long all edges together may take until their policy is in force.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How often they are looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The edges of one quickstart, running.
#[derive(Default)]
pub(super) struct LocalEdges {
    processes: Vec<ChildProcess>,
    /// Where they serve, in order.
    pub(super) addresses: Vec<SocketAddr>,
}

impl LocalEdges {
    /// Starts as many edges as the flag says, and waits until the newest policy is in force at each.
    ///
    /// # Errors
    /// An edge cannot be enrolled, does not start, or has no policy in time.
    pub(super) async fn start(
        args: &QuickstartArgs,
        listens: &Listens,
        control: &Control,
    ) -> Result<Self, Failure> {
        let mut edges = Self::default();
        let names: Vec<String> = (1..=args.edges).map(|at| format!("edge-{at}")).collect();
        for name in &names {
            enrol(control, &args.dir, name).await?;
            let config = args.dir.join(format!("{name}.yaml"));
            write_secret(&config, &edge_text(args, listens, name))?;
            let config = config.display().to_string();
            let words = ["serve", "--config", &config];
            edges
                .processes
                .push(ChildProcess::start(&args.dir, name, &words, Stdio::null())?);
        }
        let ready = tokio::time::timeout(READY_WITHIN, edges.become_current(control, &names)).await;
        ready.map_err(|_| {
            Failure::Environment(format!(
                "the edges have no current policy after {} s; their logs are {}",
                READY_WITHIN.as_secs(),
                args.dir.join("edge-*.log").display()
            ))
        })??;
        Ok(edges)
    }

    async fn become_current(&mut self, control: &Control, names: &[String]) -> Result<(), Failure> {
        for process in &mut self.processes {
            let address = loop {
                if let Some(address) = gateway_address(&process.log()?) {
                    break address;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            };
            self.addresses.push(address);
        }
        loop {
            for process in &mut self.processes {
                process.log()?;
            }
            let newest = control
                .changes
                .newest_version()
                .await
                .map_err(Failure::internal)?;
            let states = control.instances.states(None).await.map_err(Failure::internal)?;
            let is_current = |name: &String| {
                let mut of_name = states.iter().filter(|state| state.name == *name);
                of_name.any(|state| state.word(newest) == "current")
            };
            if names.iter().all(is_current) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Asks all of them to end, and waits until they have.
    pub(super) async fn stop(self) {
        for process in &self.processes {
            process.terminate();
        }
        for process in self.processes {
            process.ended().await;
        }
    }
}

/// Where the gateway listens that wrote this log.
fn gateway_address(log: &str) -> Option<SocketAddr> {
    let records = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut gateways = records.filter(|record| record.get("listener").is_some_and(|name| name == "gateway"));
    gateways.next()?.get("address")?.as_str()?.parse().ok()
}

/// Makes a join token, unless the edge has joined this control plane before.
async fn enrol(control: &Control, dir: &Path, name: &str) -> Result<(), Failure> {
    let state = dir.join(name);
    let enrolled = control.edges.list(&ACTOR).await.map_err(Failure::input)?;
    let known = enrolled
        .iter()
        .find(|edge| edge.name.as_str() == name && edge.revoked_at.is_none());
    match known {
        Some(_) if is_enrolled(&state) => return Ok(()),
        // Its folder is gone, and its key with it.
        Some(edge) => {
            control
                .edges
                .revoke(&ACTOR, &edge.id)
                .await
                .map_err(Failure::input)?;
        }
        // Revoked, or of another store.
        None if state.exists() => std::fs::remove_dir_all(&state).map_err(|error| {
            Failure::input(format_args!("{} cannot be removed: {error}", state.display()))
        })?,
        None => {}
    }
    let token = control.edges.create_join_token(&ACTOR, name).await;
    let token = token.map_err(Failure::input)?;
    write_secret(&dir.join(format!("{name}.join")), token.expose())
}

/// Serves the sample upstream from a process of its own, so that edges reach it while the control plane is away.
///
/// # Errors
/// The process cannot be started.
pub(super) fn start_upstream(dir: &Path, socket: TcpListener, log: &Path) -> Result<ChildProcess, Failure> {
    let log = log.display().to_string();
    let words = ["sample-upstream", "--log", &log];
    ChildProcess::start(dir, "upstream", &words, Stdio::from(OwnedFd::from(socket)))
}
