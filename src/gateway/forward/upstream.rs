//! Pools of upstream servers: who is healthy, whose turn it is, and the connections kept to them.

use std::collections::{BTreeSet, HashMap};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::{Buf as _, Bytes};
use futures::FutureExt as _;
use http::Uri;
use pingora_core::connectors::http::Connector;
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::client::HttpSession as ClientSession;
use pingora_core::protocols::http::v1::client::{HttpSession as H1Session, http_req_header_to_wire};
use pingora_core::upstreams::peer::{HttpPeer, Peer as _};
use pingora_error::{BError, Error, ErrorType};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_load_balancing::discovery::ServiceDiscovery;
use pingora_load_balancing::health_check::{HttpHealthCheck, TcpHealthCheck};
use pingora_load_balancing::selection::RoundRobin;
use pingora_load_balancing::{Backend, Backends, LoadBalancer};
use pingora_timeout::timeout;
use thiserror::Error as ThisError;
use tokio::io::AsyncWriteExt as _;

use crate::config::{HealthCheck, Upstream};

/// How many servers are tried until one accepts a connection. Only connecting is tried again: once a
/// byte of a request was sent, sending it a second time could deliver it twice.
const CONNECT_TRIES: usize = 2;

/// How long the response of a server that did not take the whole request is waited for: it is there, or
/// it will not come.
const ANSWERED_ALREADY: Duration = Duration::from_secs(1);

/// Unused connections kept to a pool. Fewer than the concurrency would mean connecting all the time.
const POOL_CONNECTIONS: usize = 1024;

/// How often the servers' names are looked up again, and how long one look-up may take.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);

/// One pool, ready to be used.
pub struct Pool {
    name: String,
    config: Upstream,
    balancer: LoadBalancer<RoundRobin>,
    servers: Arc<Servers>,
    connector: PoolConnector,
}

/// The servers that the names of a pool stand for now.
struct Servers(ArcSwap<Vec<Arc<HttpPeer>>>);

/// The same as the balancer looks at them.
struct Discovered(Arc<Servers>);

/// Kept connections by protocol.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one to a pool, and it never moves"
)]
enum PoolConnector {
    /// Below HTTP: the request is put on the wire here, head and body in one write.
    H1(TransportConnector),
    H2(Connector),
}

/// A pool that cannot be used, and why.
#[derive(Debug, ThisError)]
pub enum PoolError {
    #[error("the server `{server}` of upstream `{pool}` has no address: {error}")]
    Address {
        pool: String,
        server: String,
        error: std::io::Error,
    },
    #[error("upstream `{pool}`: {error}")]
    Unusable { pool: String, error: String },
}

/// A connection to one server of a pool, for one exchange.
pub struct Connection {
    peer: Arc<HttpPeer>,
    link: Link,
    read: Duration,
    write: Duration,
    /// The server did not take the whole request. It may have answered all the same, and then closed.
    is_cut_short: bool,
}

/// A connection by protocol, and by how far its exchange is.
enum Link {
    /// HTTP/1.1, nothing sent yet.
    Fresh(Stream),
    /// HTTP/1.1, request sent.
    H1(Box<H1Session>),
    H2(Box<ClientSession>),
    /// Given up.
    Gone,
}

impl Pool {
    /// Resolves the servers and prepares a pool.
    ///
    /// # Errors
    /// [`PoolError`] when a server's name has no address.
    pub fn new(name: &str, config: &Upstream) -> Result<Self, PoolError> {
        let mut addresses = Vec::new();
        for server in &config.servers {
            let resolved = server.to_socket_addrs().map_err(|error| PoolError::Address {
                pool: name.to_owned(),
                server: server.clone(),
                error,
            })?;
            addresses.extend(resolved);
        }
        let unusable = |error: BError| PoolError::Unusable {
            pool: name.to_owned(),
            error: error.to_string(),
        };
        let servers = Arc::new(Servers(ArcSwap::from_pointee(peers(addresses, config))));
        let backends = Backends::new(Box::new(Discovered(Arc::clone(&servers))));
        let mut balancer = LoadBalancer::<RoundRobin>::from_backends(backends);
        // What is discovered stands in `servers` already: nothing is waited for.
        if let Some(updated) = balancer.update().now_or_never() {
            updated.map_err(unusable)?;
        }
        if let Some(check) = &config.health_check {
            set_health_check(&mut balancer, check, config).map_err(unusable)?;
        }
        let connector = match config.http2 {
            true => PoolConnector::H2(Connector::new(Some(options(config)))),
            false => PoolConnector::H1(TransportConnector::new(Some(options(config)))),
        };
        Ok(Self {
            name: name.to_owned(),
            config: config.clone(),
            balancer,
            servers,
            connector,
        })
    }

    /// Whether this is the pool that `config` wants.
    #[must_use]
    pub fn is_for(&self, config: &Upstream) -> bool {
        self.config == *config
    }

    /// A connection to the server whose turn it is; a healthy one, kept or new.
    ///
    /// # Errors
    /// No server is healthy, or none of those tried accepted a connection in time.
    pub async fn connect(&self) -> Result<Connection, BError> {
        let mut last = Error::explain(ErrorType::ConnectNoRoute, "no server of the pool is healthy");
        for _ in 0..CONNECT_TRIES {
            let Some(peer) = self.next() else { continue };
            let link = match &self.connector {
                PoolConnector::H1(connector) => connector
                    .get_stream(&*peer)
                    .await
                    .map(|(stream, _)| Link::Fresh(stream)),
                PoolConnector::H2(connector) => connector
                    .get_http_session(&*peer)
                    .await
                    .map(|(session, _)| Link::H2(Box::new(session))),
            };
            match link {
                Ok(link) => {
                    return Ok(Connection {
                        peer,
                        link,
                        read: self.config.timeouts.read,
                        write: self.config.timeouts.write,
                        is_cut_short: false,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn next(&self) -> Option<Arc<HttpPeer>> {
        let peers = self.servers.0.load();
        if let [only] = peers.as_slice()
            && self.config.health_check.is_none()
        {
            return Some(Arc::clone(only));
        }
        let chosen: Backend = self.balancer.select(b"", 2 * peers.len())?;
        peers.iter().find(|peer| peer._address == chosen.addr).cloned()
    }

    /// Gives a connection back after a complete exchange.
    pub async fn release(&self, connection: Connection) {
        if connection.is_cut_short {
            return;
        }
        let idle = Some(self.config.timeouts.idle);
        match (connection.link, &self.connector) {
            (Link::H1(mut session), PoolConnector::H1(connector)) => {
                session.respect_keepalive();
                if let Some(stream) = session.reuse().await {
                    connector.release_stream(stream, connection.peer.reuse_hash(), idle);
                }
            }
            (Link::H2(session), PoolConnector::H2(connector)) => {
                connector
                    .release_http_session(*session, &*connection.peer, idle)
                    .await;
            }
            _ => {}
        }
    }

    /// Probes the servers and looks up their names until cancelled, each where there is something to do.
    pub async fn keep_current(&self) {
        let every = self.config.health_check.as_ref().map(|check| check.interval);
        let checking = async {
            let Some(every) = every else { return };
            let mut ticks = ticks(every);
            loop {
                ticks.tick().await;
                self.balancer.backends().run_health_check(true).await;
            }
        };
        let is_name = |server: &String| server.parse::<SocketAddr>().is_err();
        let resolving = async {
            if !self.config.servers.iter().any(is_name) {
                return;
            }
            let mut ticks = ticks(RESOLVE_EVERY);
            ticks.tick().await;
            loop {
                ticks.tick().await;
                match self.resolve().await {
                    Ok(addresses) => self.set_addresses(addresses).await,
                    Err(error) => {
                        tracing::warn!(upstream = self.name, %error, "the servers known so far stay");
                    }
                }
            }
        };
        tokio::join!(checking, resolving);
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, PoolError> {
        let mut addresses = Vec::new();
        for server in &self.config.servers {
            let failed = |error| PoolError::Address {
                pool: self.name.clone(),
                server: server.clone(),
                error,
            };
            let resolved = tokio::time::timeout(RESOLVE_WITHIN, tokio::net::lookup_host(server))
                .await
                .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
            addresses.extend(resolved.map_err(failed)?);
        }
        Ok(addresses)
    }

    /// Goes over to these servers. What is known of the health of those that stay is kept, and so are the
    /// connections to them.
    async fn set_addresses(&self, addresses: Vec<SocketAddr>) {
        let next = peers(addresses, &self.config);
        let before = self.servers.0.load_full();
        let of =
            |peers: &[Arc<HttpPeer>]| -> Vec<_> { peers.iter().map(|peer| peer._address.clone()).collect() };
        if next.is_empty() || of(&next) == of(&before) {
            return;
        }
        tracing::info!(upstream = self.name, servers = ?of(&next), "the servers' names have other addresses now");
        self.servers.0.store(Arc::new(next));
        // Until this is done a server that has gone may be chosen; it is then not found among the peers, and
        // the next one is tried.
        if let Err(error) = self.balancer.update().await {
            tracing::error!(upstream = self.name, %error, "the servers cannot be changed");
        }
    }
}

#[async_trait]
impl ServiceDiscovery for Discovered {
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>), BError> {
        let peers = self.0.0.load();
        let backends = peers.iter().map(|peer| Backend::new(&peer._address.to_string()));
        Ok((backends.collect::<Result<_, _>>()?, HashMap::new()))
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

impl Connection {
    /// Whether the server is spoken to in HTTP/2.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        matches!(self.link, Link::H2(_))
    }

    /// Whether the server is spoken to over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.peer.is_tls()
    }

    /// Sends a whole request. A server that takes only a part of it may have answered: its response is to
    /// be read then as always.
    ///
    /// # Errors
    /// The request cannot be sent at all.
    pub async fn send(&mut self, request: RequestHeader, body: &Bytes) -> Result<(), BError> {
        match std::mem::replace(&mut self.link, Link::Gone) {
            Link::Fresh(stream) => {
                let (session, is_whole) = send_h1(stream, &request, body, &self.peer, self.write).await?;
                self.is_cut_short = !is_whole;
                self.link = Link::H1(Box::new(session));
            }
            Link::H2(mut session) => {
                session.set_write_timeout(Some(self.write));
                session.write_request_header(Box::new(request)).await?;
                self.is_cut_short = send_h2_body(&mut session, body).await.is_err();
                self.link = Link::H2(session);
            }
            used => self.link = used,
        }
        Ok(())
    }

    /// How long the head of the final response is waited for, with all that comes before it.
    #[must_use]
    pub fn head_within(&self) -> Duration {
        match self.is_cut_short {
            true => self.read.min(ANSWERED_ALREADY),
            false => self.read,
        }
    }

    /// Reads the next response head: an interim one, or the final one.
    ///
    /// # Errors
    /// The server sent something else, nothing in time, or closed.
    pub async fn response_head(&mut self) -> Result<ResponseHeader, BError> {
        let missing = || Error::explain(ErrorType::InvalidHTTPHeader, "the upstream sent no response head");
        match &mut self.link {
            Link::H1(session) => {
                session.read_timeout = Some(self.read);
                session.read_response().await?;
                session.resp_header().cloned().ok_or_else(missing)
            }
            Link::H2(session) => {
                session.set_read_timeout(Some(self.read));
                session.read_response_header().await?;
                session.response_header().cloned().ok_or_else(missing)
            }
            Link::Fresh(_) | Link::Gone => Err(missing()),
        }
    }

    /// Reads the next part of the response's body, `None` at its end.
    ///
    /// # Errors
    /// The server stopped before the end.
    pub async fn response_body(&mut self) -> Result<Option<Bytes>, BError> {
        match &mut self.link {
            Link::H1(session) => session.read_body_bytes().await,
            Link::H2(session) => session.read_response_body().await,
            Link::Fresh(_) | Link::Gone => Ok(None),
        }
    }
}

async fn send_h2_body(session: &mut ClientSession, body: &Bytes) -> Result<(), BError> {
    if !body.is_empty() {
        session.write_request_body(body.clone(), true).await?;
    }
    session.finish_request_body().await
}

/// Puts head and body on the wire in one write: one call into the kernel, and one wake-up at the server.
/// Says whether all of it was taken.
async fn send_h1(
    mut stream: Stream,
    request: &RequestHeader,
    body: &Bytes,
    peer: &HttpPeer,
    within: Duration,
) -> Result<(H1Session, bool), BError> {
    let head = http_req_header_to_wire(request)
        .ok_or_else(|| Error::explain(ErrorType::InvalidHTTPHeader, "the request cannot be written"))?;
    let mut wire = head.freeze().chain(body.clone());
    let writing = async {
        stream.write_all_buf(&mut wire).await?;
        stream.flush().await
    };
    let is_whole = matches!(timeout(within, writing).await, Ok(Ok(())));
    Ok((H1Session::new_with_options(stream, peer), is_whole))
}

fn options(config: &Upstream) -> ConnectorOptions {
    let mut options = ConnectorOptions::new(POOL_CONNECTIONS);
    let ca = config.tls.as_ref().and_then(|tls| tls.ca.as_ref());
    options.ca_file = ca.map(|ca| ca.file.to_string_lossy().into_owned());
    options
}

fn peers(mut addresses: Vec<SocketAddr>, config: &Upstream) -> Vec<Arc<HttpPeer>> {
    addresses.sort_unstable();
    addresses.dedup();
    let peers = addresses
        .into_iter()
        .map(|address| Arc::new(peer(address, config)));
    peers.collect()
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

fn set_health_check(
    balancer: &mut LoadBalancer<RoundRobin>,
    check: &HealthCheck,
    config: &Upstream,
) -> Result<(), BError> {
    let sni = config.tls.as_ref().map_or("", |tls| tls.sni.as_str());
    let Some(path) = &check.path else {
        let mut tcp = if sni.is_empty() {
            TcpHealthCheck::new()
        } else {
            TcpHealthCheck::new_tls(sni)
        };
        tcp.set_connector(TransportConnector::new(Some(options(config))));
        tcp.consecutive_success = check.healthy_after;
        tcp.consecutive_failure = check.unhealthy_after;
        tcp.peer_template.options.connection_timeout = Some(check.timeout);
        balancer.set_health_check(tcp);
        return Ok(());
    };
    let host = if sni.is_empty() { "health-check" } else { sni };
    let mut probe = HttpHealthCheck::<()>::new(host, config.tls.is_some());
    probe.consecutive_success = check.healthy_after;
    probe.consecutive_failure = check.unhealthy_after;
    probe.peer_template.options.connection_timeout = Some(check.timeout);
    probe.peer_template.options.read_timeout = Some(check.timeout);
    probe.req.set_uri(
        path.parse::<Uri>()
            .map_err(|_| Error::new(ErrorType::InvalidHTTPHeader))?,
    );
    // A server is probed as it will be spoken to, or one that is well would be taken out.
    probe.set_connector(Connector::new(Some(options(config))));
    if config.http2 {
        probe.peer_template.options.set_http_version(2, 2);
        absolute_uri(&mut probe.req, host, config.tls.is_some())?;
        probe.req.remove_header(&http::header::HOST);
        probe.req.set_version(http::Version::HTTP_2);
    }
    balancer.set_health_check(Box::new(probe));
    Ok(())
}

/// The scheme and authority that an HTTP/2 request names its target by.
///
/// # Errors
/// The path and host do not form a URI.
pub fn absolute_uri(request: &mut RequestHeader, host: &str, tls: bool) -> Result<(), BError> {
    let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
    let uri = Uri::builder()
        .scheme(if tls { "https" } else { "http" })
        .authority(host)
        .path_and_query(path)
        .build()
        .map_err(|_| Error::explain(ErrorType::InvalidHTTPHeader, "the target is no URI"))?;
    request.set_uri(uri);
    Ok(())
}
