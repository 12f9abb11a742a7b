//! One server of an upstream: its address, whether it works, and the log lines of each change.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pingora_core::upstreams::peer::{HttpPeer, Peer as _};

use super::failure::Failure;
use crate::clock::instant;
use crate::config::HealthCheck;
use crate::gateway::observe::upstream_metrics::ServerGauge;

const SERVER_DOWN: &str = "upstream server is down";
const SERVER_BACK: &str = "upstream server is back";

/// How long a server that refused a connection is tried after all others.
const TRIED_LAST_FOR: Duration = Duration::from_secs(5);

/// Log lines of one server within [`LOG_WINDOW`]. A server that flaps is logged again once it is over.
const LOG_LINES_MAX: u32 = 10;
const LOG_WINDOW: Duration = Duration::from_secs(60);

/// One address that a configured server stands for.
pub(super) struct UpstreamServer {
    pub(super) upstream: String,
    /// As configured, `host:port`.
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) peer: HttpPeer,
    host: String,
    gauge: Arc<ServerGauge>,
    /// Whether anything in `state` differs from its beginning. Requests to a server that works look no further.
    has_failed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last exchange or connection attempt failed.
    is_failing: bool,
    /// The health check has taken the server out.
    is_unhealthy: bool,
    /// Probes in a row that contradict `is_unhealthy`.
    contrary_probes: usize,
    connected_badly_at: Option<Instant>,
    why: Option<Failure>,
    /// Whether the last log line said that the server is down.
    is_logged_down: bool,
    log: LogBudget,
}

#[derive(Default)]
struct LogBudget {
    began: Option<Instant>,
    lines: u32,
}

impl LogBudget {
    fn take(&mut self, now: Instant) -> bool {
        let is_over = self.began.is_none_or(|began| now - began >= LOG_WINDOW);
        if is_over {
            (self.began, self.lines) = (Some(now), 0);
        }
        self.lines += 1;
        self.lines <= LOG_LINES_MAX
    }
}

impl State {
    fn is_down(&self) -> bool {
        self.is_failing || self.is_unhealthy
    }
}

impl UpstreamServer {
    pub(super) fn new(
        upstream: &str,
        name: &str,
        address: SocketAddr,
        peer: HttpPeer,
        gauge: Arc<ServerGauge>,
    ) -> Self {
        Self {
            upstream: upstream.to_owned(),
            name: name.to_owned(),
            address,
            host: host_of(name, &peer),
            peer,
            gauge,
            has_failed: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// The name that the server knows itself by: that of its certificate, or as configured, without the port that its
    /// scheme has anyway.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Whether the health check lets requests go to it.
    pub(super) fn is_healthy(&self) -> bool {
        !self.has_failed.load(Ordering::Relaxed) || !self.state.lock().is_unhealthy
    }

    /// Whether it accepted no connection a moment ago, and others are to be tried first.
    pub(super) fn is_tried_last(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
            && self
                .state
                .lock()
                .connected_badly_at
                .is_some_and(|at| instant() - at < TRIED_LAST_FOR)
    }

    /// An exchange with it succeeded.
    pub(super) fn succeeded(&self) {
        if self.has_failed.load(Ordering::Relaxed) {
            self.change(|state| {
                state.is_failing = false;
                state.connected_badly_at = None;
            });
        }
    }

    /// A connection attempt or an exchange failed.
    pub(super) fn failed(&self, failure: &Failure) {
        self.change(|state| {
            state.is_failing = true;
            state.why = Some(failure.clone());
            if failure.is_of_connecting() {
                state.connected_badly_at = Some(instant());
            }
        });
    }

    /// The health check probed it.
    pub(super) fn probed(&self, result: Result<(), Failure>, check: &HealthCheck) {
        if result.is_ok() && !self.has_failed.load(Ordering::Relaxed) {
            return;
        }
        self.change(|state| {
            let is_contrary = result.is_ok() == state.is_unhealthy;
            state.contrary_probes = if is_contrary { state.contrary_probes + 1 } else { 0 };
            let enough = match result {
                Ok(()) => check.healthy_after,
                Err(_) => check.unhealthy_after,
            };
            match result {
                // A probe connects. Whether exchanges succeed again only an exchange shows.
                Ok(()) if state.why.as_ref().is_some_and(Failure::is_of_connecting) => {
                    state.is_failing = false;
                    state.connected_badly_at = None;
                }
                Ok(()) => {}
                Err(failure) => state.why = Some(failure),
            }
            if state.contrary_probes >= enough {
                state.is_unhealthy = !state.is_unhealthy;
                state.contrary_probes = 0;
            }
        });
    }

    /// Logs the present state where the budget did not allow it earlier.
    pub(super) fn log_late(&self) {
        if self.has_failed.load(Ordering::Relaxed) {
            self.log(&mut self.state.lock());
        }
    }

    fn change(&self, with: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        let was_down = state.is_down();
        with(&mut state);
        match (was_down, state.is_down()) {
            (false, true) => self.gauge.went_down(),
            (true, false) => self.gauge.came_back(),
            _ => {}
        }
        self.log(&mut state);
        let is_as_new = !state.is_down() && !state.is_logged_down && state.contrary_probes == 0;
        self.has_failed.store(!is_as_new, Ordering::Relaxed);
    }

    fn log(&self, state: &mut State) {
        if state.is_down() == state.is_logged_down || !state.log.take(instant()) {
            return;
        }
        state.is_logged_down = state.is_down();
        let (upstream, server, address) = (&*self.upstream, &*self.name, self.address);
        match &state.why {
            Some(cause) if state.is_logged_down => {
                tracing::warn!(upstream, server, %address, %cause, "{SERVER_DOWN}");
            }
            _ => tracing::info!(upstream, server, %address, "{SERVER_BACK}"),
        }
    }
}

fn host_of(name: &str, peer: &HttpPeer) -> String {
    let (default, sni) = match peer.is_tls() {
        true => (":443", peer.sni()),
        false => (":80", ""),
    };
    match sni.is_empty() {
        true => name.strip_suffix(default).unwrap_or(name).to_owned(),
        false => sni.to_owned(),
    }
}

impl Drop for UpstreamServer {
    fn drop(&mut self) {
        if self.state.lock().is_down() {
            self.gauge.came_back();
        }
    }
}
