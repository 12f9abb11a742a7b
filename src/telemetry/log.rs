//! The log of events on standard error: its format, and its level, which can change while the process runs.
//!
//! The level is, in this order: what the command line says, what the environment says, what the config says. Records of
//! libraries are shown from level warn. The proxy's own are not shown: some of them quote raw request bytes.

use std::env::VarError;
use std::error::Error as _;
use std::io::stderr;
use std::sync::OnceLock;

use tracing_subscriber::filter::FromEnvError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use super::record_panics;

/// Says which records are shown, as `tracing` directives.
const VARIABLE: &str = "PORTCULLIS_LOG";

/// How the log is set up.
#[derive(Clone, Copy, Debug)]
pub struct LogSetup {
    /// The level of the command line, which nothing else overrides.
    pub flag: Option<&'static str>,
    /// The level where neither command line nor environment says one: `error`, `warn`, `info`, `debug` or `trace`.
    pub level: &'static str,
    /// One JSON object a line, or text for people.
    pub is_json: bool,
}

/// The filter in force, where the config may change it.
static CHANGEABLE: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Sends log records to standard error. Directives of the environment that cannot be read are said, and left aside.
pub fn init(setup: &LogSetup) {
    let read = EnvFilter::try_from_env(VARIABLE);
    let unread = read.as_ref().err().filter(|error| !is_absent(error));
    let unread = unread.map(ToString::to_string);
    let is_fixed = setup.flag.is_some() || read.is_ok();
    let filter = match (setup.flag, read) {
        (Some(level), _) => of_level(level),
        (None, Ok(filter)) => filter,
        (None, Err(_)) => of_level(setup.level),
    };
    let (filter, handle) = reload::Layer::new(filter);
    let lines = fmt::layer().with_writer(stderr).with_ansi(false);
    let lines = match setup.is_json {
        // A span is a request, and none is inside another.
        true => lines.json().flatten_event(true).with_span_list(false).boxed(),
        false => lines.boxed(),
    };
    // A second call, as tests make it, keeps the first set-up.
    let is_first = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .is_ok();
    if is_first && !is_fixed {
        let _ = CHANGEABLE.set(handle);
    }
    record_panics();
    if let Some(problem) = unread {
        tracing::warn!(
            problem,
            "{VARIABLE} cannot be read and is left aside; write it like `warn,portcullis=debug`"
        );
    }
}

/// Shows records from `level` on, unless command line or environment say another.
pub fn set_level(level: &str) {
    if let Some(handle) = CHANGEABLE.get() {
        // Fails where the subscriber is gone, and with it the log.
        let _ = handle.reload(of_level(level));
    }
}

/// Records of this program from `level` on, and those of libraries from level warn.
fn of_level(level: &str) -> EnvFilter {
    // What PostgreSQL notes about its own end is no news beside the line about the outage.
    match level {
        "error" => EnvFilter::new("error"),
        "warn" => EnvFilter::new("warn,sqlx::postgres::notice=error"),
        level => EnvFilter::new(format!("warn,sqlx::postgres::notice=error,portcullis={level}")),
    }
}

/// Whether there was nothing to read.
fn is_absent(error: &FromEnvError) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    cause == Some(&VarError::NotPresent)
}
