//! The command line: its commands, and the planes that they start.

mod admin;
mod admin_socket;
mod check;
mod check_online;
mod diff;
mod documentation;
#[cfg(feature = "test-util")]
pub mod entry_points;
mod explain;
pub(crate) mod failure;
mod health;
mod listeners;
mod notify;
mod planes;
mod preflight;
mod private_socket;
mod quickstart;
mod reload;
mod sample_upstream;
mod secret_input;
mod serve;
mod signals;
mod state;
mod token;
mod upgrade;

use crate::cli::failure::Failure;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use futures::FutureExt as _;

use crate::config::LogLevel;
use crate::telemetry::log;
use crate::telemetry::log::LogSetup;

/// An OAuth 2.0 enforcement gateway with a bundled control plane.
#[derive(Parser)]
#[command(
    name = "portcullis",
    version,
    propagate_version = true,
    disable_help_subcommand = true
)]
struct Cli {
    /// The least severe log records that are shown, in place of `log.level` in the config
    #[arg(long, global = true, value_name = "LEVEL", value_parser = log_level)]
    log_level: Option<LogLevel>,
    #[command(subcommand)]
    command: Command,
}

fn log_level(text: &str) -> Result<LogLevel, &'static str> {
    let mut levels = LogLevel::ALL.into_iter();
    levels
        .find(|level| level.as_str() == text)
        .ok_or("write error, warn, info, debug or trace")
}

/// Sets up the log of a command that has no config for it.
fn init_log(flag: Option<LogLevel>, level: LogLevel) {
    log::init(&LogSetup {
        flag: flag.map(LogLevel::as_str),
        level: level.as_str(),
        is_json: true,
    });
}

#[derive(Subcommand)]
enum Command {
    /// Run everything on this machine with sample data, and print what to paste
    Quickstart(quickstart::args::QuickstartArgs),
    /// Run the planes that a config names: gateway, control plane, or both
    #[command(after_help = SIGNALS)]
    Serve(ServeArgs),
    /// Check a config or policy file: every problem with its place, and what to do
    Check(check::CheckArgs),
    /// Say why a request is or would be allowed or denied, check by check
    #[command(after_help = explain::EXIT_CODES)]
    Explain(Box<explain::ExplainArgs>),
    /// Say what two configs, or two policy files, decide differently
    Diff(diff::DiffArgs),
    /// Print the JSON Schema of config files or policy files, for editors
    Schema(documentation::SchemaArgs),
    /// Print completions for a shell
    Completions(documentation::CompletionsArgs),
    /// Write a man page for each command into a folder
    Man(documentation::ManArgs),
    /// Manage the store: first owner, passwords, audit trail, backup, signing keys
    Admin(admin::commands::AdminArgs),
    /// Write what a workspace holds as a file, also while `portcullis serve` runs
    #[command(after_help = state::EXPORTED)]
    Export(state::ExportArgs),
    /// Make a workspace hold what a file says, also while `portcullis serve` runs
    #[command(after_help = state::APPLIED)]
    Apply(state::ApplyArgs),
    /// Make a client assertion and fetch an access token, as a client would
    Token(token::TokenArgs),
    /// Serve the sample upstream on the standard input; `quickstart --edges` runs it
    #[command(hide = true)]
    SampleUpstream(quickstart::SampleUpstreamArgs),
}

#[derive(Args)]
struct ServeArgs {
    /// The config file (YAML)
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_CONFIG")]
    config: PathBuf,
    /// Take over from the process that runs with this config, without refusing a connection: it hands over its
    /// listening sockets and its store, finishes the requests in progress, and ends. Needs `upgrade.socket` in the config
    #[arg(long)]
    upgrade: bool,
}

const SIGNALS: &str = "\
Signals:
  HUP    reload the config, as a change of the file does; a config with an error changes nothing. Opens the access log
         again, for logrotate
  USR2   upgrade: start this program again with --upgrade, from the file it was started from
  TERM   drain: finish the requests in progress within shutdown.drain_timeout, then end; a second TERM ends at once
  INT    end at once

Exit codes:
  0 fine    1 the config or another input is wrong    2 wrong usage    70 a bug in this program
  75 the environment (database, address, name) is not there yet: try again";

/// Runs the command that the command line names.
///
/// Exit codes: 0 fine, 1 the user's input is wrong, 2 wrong usage, 70 a fault of this program, 75 the environment
/// (database, address, name) is not there yet.
#[must_use]
pub fn main() -> ExitCode {
    // Before anything uses TLS: the first provider that is installed serves the whole process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let Cli { command, log_level } = Cli::parse();
    let result = match command {
        Command::Check(args) => on_runtime(check::check(args)),
        Command::Explain(args) => on_runtime(explain::explain(*args)),
        Command::Diff(args) => diff::diff(&args),
        Command::Schema(args) => documentation::schema(&args),
        Command::Completions(args) => documentation::completions(&args, &mut Cli::command()),
        Command::Man(args) => documentation::man(&args, Cli::command()),
        Command::Serve(args) => on_runtime(serve::serve(args.config, args.upgrade, log_level)),
        Command::Quickstart(args) => {
            init_log(log_level, LogLevel::Warn);
            on_runtime(quickstart::quickstart(args))
        }
        Command::Admin(args) => {
            init_log(log_level, LogLevel::Warn);
            on_runtime(admin::commands::admin(args))
        }
        Command::SampleUpstream(args) => {
            init_log(log_level, LogLevel::Info);
            on_runtime(quickstart::serve_sample_upstream(args))
        }
        Command::Export(args) => {
            init_log(log_level, LogLevel::Warn);
            on_runtime(state::export(args))
        }
        Command::Apply(args) => {
            init_log(log_level, LogLevel::Warn);
            on_runtime(state::apply(args))
        }
        Command::Token(args) => on_runtime(token::token(args)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
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
    // Threads that still run would keep the process alive.
    let result = runtime.block_on(AssertUnwindSafe(command).catch_unwind());
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result.unwrap_or_else(|_| {
        Err(Failure::internal(
            "the command panicked (a bug); the log record above says where",
        ))
    })
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
