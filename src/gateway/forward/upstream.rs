//! Upstream pools: which server is next, the connections kept to each, their health and their addresses.
//!
//! A request tries up to [`TRIES`] servers, each another one, until one accepts a connection. No byte of a request is
//! sent before. What is sent again, and when, is written at [`super::exchange::may_repeat`].

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::join_all;
use parking_lot::Mutex;
use pingora_core::connectors::http::Connector;
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::BError;
use smallvec::SmallVec;

use super::connection::{Connection, Link};
use super::failure::Failure;
use super::idle::IdleConnections;
use super::probe::probe;
use super::upstream_server::UpstreamServer;
use crate::config::Upstream;
use crate::gateway::observe::upstream_metrics::{ServerGauge, UpstreamMetrics};

const NAME_NOT_RESOLVED: &str =
    "name of an upstream server does not resolve; requests go to the other servers";
const ADDRESSES_KEPT: &str = "DNS lookup failed; keeping the current addresses";
const ADDRESSES_CHANGED: &str = "addresses of an upstream server changed";

/// How many servers a request tries to connect to.
pub const TRIES: usize = 3;

/// Unused HTTP/2 connections kept of one pool.
const HTTP2_KEPT: usize = 1024;

/// How often names are looked up again, how long one look-up may take, and how soon it is repeated where a name has no
/// address yet.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);
const RESOLVE_AGAIN: Duration = Duration::from_secs(1);

/// How often unused connections are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The part of a server's `Keep-Alive` time in which its connections are not used any more: the server may be closing
/// them already. Half of the time where that is less.
const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);

/// One pool of servers.
pub struct Pool {
    name: String,
    config: Upstream,
    /// All addresses of all servers.
    servers: ArcSwap<Vec<Arc<UpstreamServer>>>,
    /// The configured servers, in order.
    names: Mutex<Vec<ConfiguredServer>>,
    turn: AtomicUsize,
    connector: PoolConnector,
    idle: IdleConnections,
    metrics: UpstreamMetrics,
}

/// One server as configured.
struct ConfiguredServer {
    name: String,
    gauge: Arc<ServerGauge>,
    addresses: Vec<SocketAddr>,
    is_unresolved: bool,
}

#[expect(
    clippy::large_enum_variant,
    reason = "there is one to a pool, and it never moves"
)]
enum PoolConnector {
    /// Connects below HTTP; the exchange is our own.
    Http1(TransportConnector),
    Http2(Connector),
}

impl Pool {
    /// Prepares a pool. Servers named by an address are ready; names are looked up by [`Self::resolve`].
    #[must_use]
    pub fn new(name: &str, config: &Upstream, metrics: &UpstreamMetrics) -> Self {
        let names = config.servers.iter().map(|server| ConfiguredServer {
            name: server.clone(),
            gauge: metrics.server(name, server),
            addresses: server.parse().ok().into_iter().collect(),
            is_unresolved: false,
        });
        let connector = match config.http2 {
            true => PoolConnector::Http2(Connector::new(Some(options(config)))),
            false => PoolConnector::Http1(TransportConnector::new(Some(options(config)))),
        };
        let pool = Self {
            name: name.to_owned(),
            config: config.clone(),
            servers: ArcSwap::default(),
            names: Mutex::new(names.collect()),
            turn: AtomicUsize::new(0),
            connector,
            idle: IdleConnections::default(),
            metrics: metrics.clone(),
        };
        pool.use_addresses();
        pool
    }

    /// Whether this is the pool that `config` wants.
    #[must_use]
    pub fn is_for(&self, config: &Upstream) -> bool {
        self.config == *config
    }

    /// Removes the metrics of the servers that `next` does not have.
    pub fn forget_metrics(&self, next: Option<&Self>) {
        for server in &self.config.servers {
            if !next.is_some_and(|next| next.config.servers.contains(server)) {
                self.metrics.forget(&self.name, server);
            }
        }
    }

    /// Connects to the server whose turn it is, or to another one where it does not accept. Unused connections are
    /// used again unless `is_fresh`.
    ///
    /// # Errors
    /// No server is healthy, or none of those tried accepted a connection in time.
    pub async fn connect(&self, is_fresh: bool) -> Result<Connection, Failure> {
        let mut last = Failure::NoServer;
        for server in self.candidates() {
            match self.connect_to(&server, is_fresh).await {
                Ok(connection) => return Ok(connection),
                Err(failure) => {
                    server.failed(&failure);
                    last = failure;
                }
            }
        }
        Err(last)
    }

    /// The servers that one request tries, in order: round robin, those that accepted no connection a moment ago last.
    fn candidates(&self) -> SmallVec<[Arc<UpstreamServer>; TRIES]> {
        let servers = self.servers.load();
        if let [only] = servers.as_slice()
            && only.is_healthy()
        {
            return SmallVec::from_iter([Arc::clone(only)]);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let start = turn.checked_rem(servers.len()).unwrap_or(0);
        let (before, after) = servers.split_at_checked(start).unwrap_or_default();
        let healthy = || {
            let all = after.iter().chain(before);
            all.filter(|server| server.is_healthy())
        };
        let first = healthy().filter(|server| !server.is_tried_last());
        let last = healthy().filter(|server| server.is_tried_last());
        first.chain(last).take(TRIES).cloned().collect()
    }

    async fn connect_to(&self, server: &Arc<UpstreamServer>, is_fresh: bool) -> Result<Connection, Failure> {
        let failure = |error: BError| {
            let sni = self.config.tls.as_ref().map_or("", |tls| tls.sni.as_str());
            Failure::of_connecting(&error, self.config.timeouts.connect, sni)
        };
        let (link, is_reused) = match &self.connector {
            PoolConnector::Http1(connector) => {
                match (!is_fresh).then(|| self.idle.take(server.address)).flatten() {
                    Some(stream) => (Link::Fresh(stream), true),
                    None => {
                        let stream = connector.new_stream(&server.peer).await.map_err(failure)?;
                        (Link::Fresh(stream), false)
                    }
                }
            }
            PoolConnector::Http2(connector) => {
                let got = connector.get_http_session(&server.peer).await;
                let (session, is_reused) = got.map_err(failure)?;
                (Link::Http2(Box::new(session)), is_reused)
            }
        };
        let timeouts = self.config.timeouts;
        Ok(Connection::new(Arc::clone(server), link, timeouts, is_reused))
    }

    /// Keeps a connection after a complete exchange, for as long as its server does.
    pub async fn release(&self, connection: Connection) {
        connection.server.succeeded();
        if connection.is_cut_short {
            return;
        }
        let idle = self.config.timeouts.idle;
        match (connection.link, &self.connector) {
            (Link::Http1(response), PoolConnector::Http1(_)) => {
                if let Some((stream, keep_alive)) = response.into_reusable() {
                    let time = keep_alive.map_or(idle, |time| idle.min(without_margin(time)));
                    self.idle.keep(connection.server.address, stream, time);
                }
            }
            (Link::Http2(session), PoolConnector::Http2(connector)) => {
                let peer = &connection.server.peer;
                connector.release_http_session(*session, peer, Some(idle)).await;
            }
            _ => {}
        }
    }

    /// Probes the servers, looks up their names and closes unused connections until cancelled.
    pub async fn keep_current(self: Arc<Self>) {
        let checking = async {
            let Some(check) = &self.config.health_check else {
                return;
            };
            let mut ticks = ticks(check.interval);
            loop {
                ticks.tick().await;
                let servers = self.servers.load_full();
                let probes = servers.iter().map(async |server| {
                    let connecting = async { self.connect_to(server, true).await };
                    server.probed(probe(connecting, check).await, check);
                });
                join_all(probes).await;
            }
        };
        let resolving = async {
            if self.names.lock().iter().all(|server| is_address(&server.name)) {
                return;
            }
            loop {
                tokio::time::sleep(self.next_resolve()).await;
                self.resolve().await;
            }
        };
        let sweeping = async {
            let mut ticks = ticks(SWEEP_EVERY);
            loop {
                ticks.tick().await;
                self.idle.sweep();
                self.servers.load().iter().for_each(|server| server.log_late());
            }
        };
        tokio::join!(checking, resolving, sweeping);
    }

    fn next_resolve(&self) -> Duration {
        let names = self.names.lock();
        if names.iter().any(|server| server.is_unresolved) {
            return RESOLVE_AGAIN;
        }
        match names.iter().any(|server| server.addresses.is_empty()) {
            // Added by a reload, and never looked up.
            true => Duration::ZERO,
            false => RESOLVE_EVERY,
        }
    }

    /// Looks up the names of all servers, within [`RESOLVE_WITHIN`]. A name that does not resolve keeps the addresses it
    /// had.
    pub async fn resolve(&self) {
        let names: Vec<String> = {
            let names = self.names.lock();
            let all = names.iter().map(|server| server.name.clone());
            all.filter(|name| !is_address(name)).collect()
        };
        if names.is_empty() {
            return;
        }
        let found = join_all(names.into_iter().map(async |name| {
            let addresses = lookup(&name).await;
            (name, addresses)
        }))
        .await;
        for server in self.names.lock().iter_mut() {
            if let Some((_, result)) = found.iter().find(|(name, _)| *name == server.name) {
                server.resolved(&self.name, result);
            }
        }
        self.use_addresses();
    }

    /// Goes over to the addresses that the servers have now. What is known of those that stay is kept, and so are the
    /// connections to them.
    fn use_addresses(&self) {
        let before = self.servers.load_full();
        let mut held: HashMap<SocketAddr, &Arc<UpstreamServer>> =
            before.iter().map(|server| (server.address, server)).collect();
        let mut next = Vec::new();
        let names = self.names.lock();
        for server in names.iter() {
            for address in &server.addresses {
                // An address of two names is one server, that of the first.
                if next
                    .iter()
                    .any(|one: &Arc<UpstreamServer>| one.address == *address)
                {
                    continue;
                }
                next.push(match held.remove(address) {
                    Some(kept) => Arc::clone(kept),
                    None => Arc::new(UpstreamServer::new(
                        &self.name,
                        &server.name,
                        *address,
                        peer(*address, &self.config),
                        Arc::clone(&server.gauge),
                    )),
                });
            }
        }
        self.servers.store(Arc::new(next));
    }
}

impl ConfiguredServer {
    fn resolved(&mut self, upstream: &str, result: &std::io::Result<Vec<SocketAddr>>) {
        let server = &*self.name;
        match result {
            Ok(addresses) => {
                if self.is_unresolved {
                    self.is_unresolved = false;
                    self.gauge.came_back();
                }
                if self.addresses != *addresses {
                    let is_first = self.addresses.is_empty();
                    self.addresses.clone_from(addresses);
                    if !is_first {
                        tracing::info!(upstream, server, ?addresses, "{ADDRESSES_CHANGED}");
                    }
                }
            }
            Err(error) if self.addresses.is_empty() => {
                if !self.is_unresolved {
                    self.is_unresolved = true;
                    self.gauge.went_down();
                    tracing::warn!(upstream, server, %error, "{NAME_NOT_RESOLVED}");
                }
            }
            Err(error) => tracing::warn!(upstream, server, %error, "{ADDRESSES_KEPT}"),
        }
    }
}

fn is_address(server: &str) -> bool {
    server.parse::<SocketAddr>().is_ok()
}

async fn lookup(name: &str) -> std::io::Result<Vec<SocketAddr>> {
    let resolved = tokio::time::timeout(RESOLVE_WITHIN, tokio::net::lookup_host(name)).await;
    let mut addresses: Vec<SocketAddr> = resolved
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))?
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    match addresses.is_empty() {
        true => Err(std::io::ErrorKind::NotFound.into()),
        false => Ok(addresses),
    }
}

fn without_margin(keep_alive: Duration) -> Duration {
    keep_alive - KEEP_ALIVE_MARGIN.min(keep_alive / 2)
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

fn options(config: &Upstream) -> ConnectorOptions {
    let mut options = ConnectorOptions::new(HTTP2_KEPT);
    let ca = config.tls.as_ref().and_then(|tls| tls.ca.as_ref());
    options.ca_file = ca.map(|ca| ca.file.to_string_lossy().into_owned());
    options
}

fn peer(address: SocketAddr, config: &Upstream) -> HttpPeer {
    let sni = config
        .tls
        .as_ref()
        .map_or_else(String::new, |tls| tls.sni.clone());
    let mut peer = HttpPeer::new(address, config.tls.is_some(), sni);
    peer.options.connection_timeout = Some(config.timeouts.connect);
    peer.options.total_connection_timeout = Some(config.timeouts.connect);
    peer.options.idle_timeout = Some(config.timeouts.idle);
    if config.http2 {
        peer.options.set_http_version(2, 2);
        peer.options.max_h2_streams = 100;
    }
    peer
}
