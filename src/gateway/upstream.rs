//! Pools of upstream servers: who is healthy, whose turn it is, and the connections kept to them.

use std::net::ToSocketAddrs;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::Uri;
use pingora_core::connectors::http::Connector;
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::client::HttpSession as ClientSession;
use pingora_core::protocols::http::v1::client::{HttpSession as H1Session, http_req_header_to_wire};
use pingora_core::upstreams::peer::{HttpPeer, Peer as _};
use pingora_error::{BError, Error, ErrorType};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_load_balancing::health_check::{HttpHealthCheck, TcpHealthCheck};
use pingora_load_balancing::selection::RoundRobin;
use pingora_load_balancing::{Backend, LoadBalancer};
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

/// One pool, ready to be used.
pub struct Pool {
    balancer: LoadBalancer<RoundRobin>,
    peers: Vec<HttpPeer>,
    connector: PoolConnector,
    idle: Duration,
    read: Duration,
    write: Duration,
    check_every: Option<Duration>,
}

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
pub struct Connection<'p> {
    peer: &'p HttpPeer,
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
        addresses.sort_unstable();
        addresses.dedup();
        let unusable = |error: String| PoolError::Unusable {
            pool: name.to_owned(),
            error,
        };
        let mut balancer = LoadBalancer::<RoundRobin>::try_from_iter(addresses.iter().copied())
            .map_err(|error| unusable(error.to_string()))?;
        if let Some(check) = &config.health_check {
            set_health_check(&mut balancer, check, config).map_err(|error| unusable(error.to_string()))?;
        }
        let peers = addresses
            .into_iter()
            .map(|address| peer(address, config))
            .collect();
        let connector = match config.http2 {
            true => PoolConnector::H2(Connector::new(Some(options(config)))),
            false => PoolConnector::H1(TransportConnector::new(Some(options(config)))),
        };
        Ok(Self {
            balancer,
            peers,
            connector,
            idle: config.timeouts.idle,
            read: config.timeouts.read,
            write: config.timeouts.write,
            check_every: config.health_check.as_ref().map(|check| check.interval),
        })
    }

    /// A connection to the server whose turn it is; a healthy one, kept or new.
    ///
    /// # Errors
    /// No server is healthy, or none of those tried accepted a connection in time.
    pub async fn connect(&self) -> Result<Connection<'_>, BError> {
        let mut last = Error::explain(ErrorType::ConnectNoRoute, "no server of the pool is healthy");
        for _ in 0..CONNECT_TRIES {
            let Some(peer) = self.next() else { break };
            let link = match &self.connector {
                PoolConnector::H1(connector) => connector
                    .get_stream(peer)
                    .await
                    .map(|(stream, _)| Link::Fresh(stream)),
                PoolConnector::H2(connector) => connector
                    .get_http_session(peer)
                    .await
                    .map(|(session, _)| Link::H2(Box::new(session))),
            };
            match link {
                Ok(link) => {
                    return Ok(Connection {
                        peer,
                        link,
                        read: self.read,
                        write: self.write,
                        is_cut_short: false,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn next(&self) -> Option<&HttpPeer> {
        if let [only] = self.peers.as_slice()
            && self.check_every.is_none()
        {
            return Some(only);
        }
        let chosen: Backend = self.balancer.select(b"", 2 * self.peers.len())?;
        self.peers.iter().find(|peer| peer._address == chosen.addr)
    }

    /// Gives a connection back after a complete exchange.
    pub async fn release(&self, connection: Connection<'_>) {
        if connection.is_cut_short {
            return;
        }
        match (connection.link, &self.connector) {
            (Link::H1(mut session), PoolConnector::H1(connector)) => {
                session.respect_keepalive();
                if let Some(stream) = session.reuse().await {
                    connector.release_stream(stream, connection.peer.reuse_hash(), Some(self.idle));
                }
            }
            (Link::H2(session), PoolConnector::H2(connector)) => {
                connector
                    .release_http_session(*session, connection.peer, Some(self.idle))
                    .await;
            }
            _ => {}
        }
    }

    /// Probes the servers until cancelled; returns at once where no check is configured.
    pub async fn keep_checking(&self) {
        let Some(every) = self.check_every else { return };
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.balancer.backends().run_health_check(true).await;
        }
    }
}

impl Connection<'_> {
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
                let (session, is_whole) = send_h1(stream, &request, body, self.peer, self.write).await?;
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

    /// Reads the next response head: an interim one, or the final one.
    ///
    /// # Errors
    /// The server sent something else, nothing in time, or closed.
    pub async fn response_head(&mut self) -> Result<ResponseHeader, BError> {
        let within = match self.is_cut_short {
            true => self.read.min(ANSWERED_ALREADY),
            false => self.read,
        };
        let missing = || Error::explain(ErrorType::InvalidHTTPHeader, "the upstream sent no response head");
        match &mut self.link {
            Link::H1(session) => {
                session.read_timeout = Some(within);
                session.read_response().await?;
                session.resp_header().cloned().ok_or_else(missing)
            }
            Link::H2(session) => {
                session.set_read_timeout(Some(within));
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
    options.ca_file = ca.map(|ca| ca.to_string_lossy().into_owned());
    options
}

fn peer(address: std::net::SocketAddr, config: &Upstream) -> HttpPeer {
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
