//! A connection before its first request: the handshake, and which HTTP it speaks.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora_core::protocols::{ALPN, Ssl as _};
use pingora_core::server::ShutdownWatch;
use tokio::net::TcpStream;

use super::http1;
use super::http1::SpeaksHttp2;
use super::http2;
use crate::connections::{ConnectionLimits, ConnectionPermit};
use crate::gateway::observe::metrics::Metrics;
use crate::gateway::serve::request::Gateway;
use crate::gateway::wire::buffered::Buffered;
use crate::gateway::wire::socket::Socket;
use crate::gateway::wire::tls::Acceptor;

/// The gateway as it is set up now. Each request takes it once and keeps what it took.
pub struct App {
    current: ArcSwap<Gateway>,
    /// What the process's limit of open files leaves room for.
    descriptors_for: usize,
}

impl App {
    /// Serves as `gateway` says, with at most `descriptors_for` connections.
    #[must_use]
    pub fn new(gateway: Gateway, descriptors_for: usize) -> Self {
        Self {
            current: ArcSwap::from_pointee(gateway),
            descriptors_for,
        }
    }

    /// The gateway for a request that begins now.
    #[must_use]
    pub fn current(&self) -> Arc<Gateway> {
        self.current.load_full()
    }

    /// From now on requests are served as `gateway` says.
    pub fn replace(&self, gateway: Gateway) {
        self.current.store(Arc::new(gateway));
    }

    /// Calls `take` with how many connections may be open. Where the limit of open files leaves room for fewer than
    /// configured, a client's own limit shrinks in proportion.
    pub(crate) fn with_connection_limits<T>(&self, take: impl FnOnce(&ConnectionLimits<'_>) -> T) -> T {
        let gateway = self.current.load();
        let limits = &gateway.limits;
        let connections = limits.connections.min(self.descriptors_for);
        let per_client = match limits.connections {
            0 => 1,
            all => limits.connections_per_client.saturating_mul(connections) / all,
        };
        take(&ConnectionLimits {
            connections,
            per_client,
            exempt: &gateway.trusted_proxies,
        })
    }

    pub(crate) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.current.load().metrics)
    }
}

/// Serves a connection to its end. What only some of its life needs is boxed: most of it is waiting, and a task
/// is as large as its largest moment.
pub(crate) async fn serve(
    app: Arc<App>,
    stream: TcpStream,
    client: SocketAddr,
    tls: Option<Arc<Acceptor>>,
    permit: ConnectionPermit,
    shutdown: ShutdownWatch,
) {
    let stream = Buffered::new(stream);
    let stopped = shutdown.clone();
    let is_plain = tls.is_none();
    let socket = match tls {
        None => Socket::plain(stream, client, stopped),
        Some(tls) => {
            let within = app.current().limits.handshake_timeout;
            let metrics = app.metrics();
            let accepting = Box::pin(tls.accept(stream, within, &metrics.transport));
            let Some(stream) = accepting.await else {
                return;
            };
            Socket::tls(stream, client, stopped)
        }
    };
    let mut socket = Box::new(socket);
    if socket.selected_alpn_proto() != Some(ALPN::H2) {
        match http1::serve(&app, permit.connection(), socket, is_plain)
            .await
            .and_then(as_http2)
        {
            Some(http2) => socket = http2,
            None => return,
        }
    }
    Box::pin(http2::serve(&app, socket, permit.connection(), &shutdown)).await;
}

/// The connection with what was read from it put back.
fn as_http2(SpeaksHttp2(stream, read): SpeaksHttp2) -> Option<Box<Socket>> {
    let mut socket = stream.into_any().downcast::<Socket>().ok()?;
    socket.rewind(&read);
    Some(socket)
}
