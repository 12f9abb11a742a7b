//! Commands: parse the command line, wire the planes, decide nothing.

mod admin;
mod edge_listener;
pub(crate) mod failure;
mod notify;
mod planes;
mod quickstart;
mod reload;
mod sample_upstream;
mod secret_input;
mod serve;
mod signals;
mod token;
mod upgrade;

use crate::cli::failure::Failure;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use futures::FutureExt as _;

use crate::config;
use crate::gateway::wire::certificates::inspect;
use crate::telemetry;

/// An OAuth 2.0 enforcement gateway with a bundled control plane.
#[derive(Parser)]
#[command(
    name = "portcullis",
    version,
    propagate_version = true,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything on this machine with sample data, and print what to paste
    Quickstart(quickstart::QuickstartArgs),
    /// Run the planes that a config names: gateway, control plane, or both
    #[command(after_help = SIGNALS)]
    Serve(ServeArgs),
    /// Check a config file and report every problem with its place
    Check(CheckArgs),
    /// Look after the store: first owner, passwords, audit trail, copies, signing keys
    Admin(admin::commands::AdminArgs),
    /// Make a client assertion and fetch an access token, as a client would
    Token(token::TokenArgs),
}

#[derive(Args)]
struct ServeArgs {
    /// The config file (YAML)
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_CONFIG")]
    config: PathBuf,
    /// Take over from the process that runs with this config, without refusing a connection: it hands over its
    /// listening sockets and its store, answers what is under way, and ends. Needs `upgrade.socket` in the config
    #[arg(long)]
    upgrade: bool,
}

const SIGNALS: &str = "\
Signals:
  HUP    read the config again, as a change of the file does; a mistake in it changes nothing
  USR2   start this program again with --upgrade, from the file it was started from
  TERM   answer what is under way, within shutdown.drain_timeout, then end; a second one ends at once
  INT    end at once";

#[derive(Args)]
struct CheckArgs {
    /// The config file (YAML)
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs the command that the command line names.
///
/// Exit codes: 0 fine, 1 the user's input is wrong, 2 wrong usage, 70 our fault.
#[must_use]
pub fn main() -> ExitCode {
    // Before anything may use TLS: whoever installs a provider first decides for the process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let result = match Cli::parse().command {
        Command::Check(args) => check(&args),
        Command::Serve(args) => {
            telemetry::init_log(false);
            on_runtime(serve::serve(args.config, args.upgrade))
        }
        Command::Quickstart(args) => {
            telemetry::init_log(true);
            on_runtime(quickstart::quickstart(args))
        }
        Command::Admin(args) => {
            telemetry::init_log(true);
            on_runtime(admin::commands::admin(args))
        }
        Command::Token(args) => on_runtime(token::token(args)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Input(message)) => {
            eprintln!("portcullis: {message}");
            ExitCode::from(1)
        }
        Err(Failure::Internal(message)) => {
            eprintln!("portcullis: {message}");
            ExitCode::from(70)
        }
    }
}

/// Runs a command on the runtime of the control plane and the background tasks; requests are served on
/// runtimes of the gateway's own.
fn on_runtime(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(|error| Failure::internal(format_args!("no thread can be started: {error}")))?;
    // Threads that go on would keep a process that does nothing any more.
    let result = runtime.block_on(AssertUnwindSafe(command).catch_unwind());
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result.unwrap_or_else(|_| {
        Err(Failure::internal(
            "a mistake in this program; the record before this one tells where",
        ))
    })
}

fn check(args: &CheckArgs) -> Result<(), Failure> {
    let config = config::load(&args.file).map_err(Failure::input)?;
    if let config::PolicyOrigin::File(path) = &config.policy {
        let now = crate::clock::Clock::System.now();
        config::load_policy(path, &config.issuers, 1, now).map_err(Failure::input)?;
    }
    for issuer in &config.issuers {
        for warning in issuer.warnings() {
            println!(
                "{}: warning: issuer {}: {warning}",
                args.file.display(),
                issuer.issuer
            );
        }
    }
    let now = crate::clock::Clock::System.now();
    for listener in config.gateway.iter().flat_map(|gateway| &gateway.listeners) {
        let Some(tls) = &listener.tls else { continue };
        for certificate in inspect(tls, now).map_err(Failure::input)? {
            println!(
                "{}: {} for {}, valid for {} days more",
                listener.address,
                certificate.file.display(),
                if certificate.names.is_empty() {
                    "no name (it is only shown where no other fits)".to_owned()
                } else {
                    certificate.names.join(", ")
                },
                certificate.expires_at.since(now) / 86_400,
            );
        }
    }
    println!("{}: fine", args.file.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_that_panics_is_our_fault_and_ends() {
        let panicking = on_runtime(async { panic!("on purpose") });
        assert!(matches!(panicking, Err(Failure::Internal(_))));
    }
}
