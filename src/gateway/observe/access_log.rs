//! One line of JSON a request, written by a thread of its own.
//!
//! A request never waits for the log: where it cannot keep up, lines are dropped and counted. What is
//! never in it: credentials, write keys, query strings, bodies.

use std::io::Write as _;
use std::net::IpAddr;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use serde::Serialize;

use super::metrics::Metrics;
use crate::task_monitor::TaskMonitor;

/// Lines that may wait to be written.
const WAITING_MAX: usize = 8 * 1024;

/// The longest segment of a path that is shown, in bytes. Identifiers are shorter, tokens are longer.
const SEGMENT_SHOWN_MAX: usize = 48;

/// One request's line.
#[derive(Serialize)]
pub struct AccessRecord<'a> {
    /// Unix seconds.
    pub at: u64,
    #[serde(rename = "request.id")]
    pub request_id: &'a str,
    #[serde(rename = "client.address")]
    pub client: Option<IpAddr>,
    pub method: &'a str,
    pub path: &'a str,
    /// What the client was sent; 0 where the answer was cut off.
    pub status: u16,
    pub api: Option<&'a str>,
    pub decision: &'static str,
    #[serde(rename = "deny.reason")]
    pub reason: Option<&'static str>,
    #[serde(rename = "source.id")]
    pub source_id: Option<&'a str>,
    #[serde(rename = "app.id")]
    pub app_id: Option<&'a str>,
    #[serde(rename = "duration_s", serialize_with = "seconds")]
    pub took: Duration,
    #[serde(rename = "upstream_s", serialize_with = "optional_seconds")]
    pub upstream: Option<Duration>,
}

fn seconds<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(duration.as_secs_f64())
}

fn optional_seconds<S: serde::Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => to.serialize_some(&duration.as_secs_f64()),
        None => to.serialize_none(),
    }
}

/// A path as the log shows it: without query, and without segments so long that they may be a token or a key
/// that a client put there by mistake.
#[must_use]
pub fn shown_path(target: &str) -> String {
    let path = target.split('?').next().unwrap_or_default();
    let shown = |segment: &str| {
        if segment.len() > SEGMENT_SHOWN_MAX {
            "(long)"
        } else {
            segment
        }
        .to_owned()
    };
    path.split('/').map(shown).collect::<Vec<_>>().join("/")
}

/// The log.
pub struct AccessLog {
    lines: SyncSender<String>,
}

impl AccessLog {
    /// Starts the thread that writes to standard output.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn to_stdout(monitor: &TaskMonitor) -> std::io::Result<Self> {
        let watched = monitor.begin("access_log");
        let (lines, waiting) = sync_channel::<String>(WAITING_MAX);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                let _watched = watched;
                // Ends when the last sender is gone, after the lines that wait were written.
                while let Ok(line) = waiting.recv() {
                    let mut out = std::io::stdout().lock();
                    let _ = writeln!(out, "{line}");
                    for line in waiting.try_iter().take(256) {
                        let _ = writeln!(out, "{line}");
                    }
                    let _ = out.flush();
                }
            })?;
        Ok(Self { lines })
    }

    /// Hands over one line, or drops it where too many wait.
    pub fn write(&self, record: &AccessRecord<'_>, metrics: &Metrics) {
        if let Ok(line) = serde_json::to_string(record)
            && self.lines.try_send(line).is_err()
        {
            metrics.access_log_dropped.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shown_without_query_and_without_what_may_be_a_token() {
        assert_eq!(shown_path("/v1/batch/?b=key"), "/v1/batch/");
        let token = "a".repeat(SEGMENT_SHOWN_MAX + 1);
        assert_eq!(shown_path(&format!("/v1/{token}/x")), "/v1/(long)/x");
    }
}
