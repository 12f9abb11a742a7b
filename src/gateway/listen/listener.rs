//! Listeners: accept connections, give each a permit and a task, and drain them.

use std::net::{SocketAddr, TcpListener as BoundSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use pingora_runtime::{Runtime, current_handle};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::connection;
use crate::config;
use crate::config::ProxyProtocol;
use crate::connections::{
    ConnectionGroup, ConnectionLimiter, ConnectionPermit, Incoming, RefusalAnswers, Refused, is_trusted,
};
use crate::domain::decision::DenyReason;
use crate::gateway::forward::respond::Answer;
use crate::gateway::serve::current::CurrentGateway;
use crate::gateway::wire::buffered::Buffered;
use crate::gateway::wire::proxy_header;
use crate::gateway::wire::proxy_header::ProxyHeaderError;
use crate::gateway::wire::transport_metrics::ProxyHeader;
use crate::task_monitor::TaskMonitor;
use crate::tls::acceptor::Acceptor;

/// The shortest time between two checks for connections to end while draining.
const CHECK_EVERY: Duration = Duration::from_millis(20);

/// How many refused connections each listener answers at once.
pub(crate) const REFUSALS_AT_ONCE: usize = 64;

/// How a listener drains.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// How long a kept connection may wait for one more request after its last response. A client that sends again
    /// sooner never meets a connection that is being closed; one that has been idle for longer is closed at once.
    pub idle_grace: Duration,
    /// The drain timeout: remaining connections are closed then.
    pub within: Duration,
}

/// A listener whose socket is bound.
pub(crate) struct Listener {
    /// As configured. Listeners differ by it.
    pub(crate) config: config::Listener,
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Arc<Acceptor>>,
    /// A second handle to the socket, to hand over to the next process. The socket is closed with the last.
    socket: Mutex<Option<BoundSocket>>,
    connections: Arc<ConnectionGroup>,
    refusals: RefusalAnswers,
    stop: watch::Sender<bool>,
}

impl Listener {
    /// A listener on `socket` that does not accept yet. `limiter` counts the connections of all listeners.
    pub(crate) fn new(
        config: config::Listener,
        socket: BoundSocket,
        tls: Option<Arc<Acceptor>>,
        limiter: &Arc<ConnectionLimiter>,
    ) -> std::io::Result<Self> {
        Ok(Self {
            address: socket.local_addr()?,
            config,
            tls,
            socket: Mutex::new(Some(socket)),
            connections: limiter.group(),
            refusals: RefusalAnswers::new(REFUSALS_AT_ONCE),
            stop: watch::channel(false).0,
        })
    }

    /// Registers the socket with a thread of `runtime`.
    pub(crate) fn register(&self, runtime: &Runtime) -> std::io::Result<TcpListener> {
        let socket = self.handle()?.ok_or(std::io::ErrorKind::NotConnected)?;
        let _on_runtime = runtime.get_handle().enter();
        TcpListener::from_std(socket)
    }

    /// Begins to accept on `runtime`, on the socket that was registered with it.
    pub(crate) fn accept_on(
        self: &Arc<Self>,
        runtime: &Runtime,
        app: &Arc<CurrentGateway>,
        socket: TcpListener,
        monitor: &TaskMonitor,
    ) {
        let accepting = Arc::clone(self).accept(socket, Arc::clone(app));
        runtime.get_handle().spawn(monitor.watch("listener", accepting));
    }

    /// Whether no connection is open.
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// A further handle to the socket; none once it has stopped.
    pub(crate) fn handle(&self) -> std::io::Result<Option<BoundSocket>> {
        self.socket
            .lock()
            .as_ref()
            .map(BoundSocket::try_clone)
            .transpose()
    }

    async fn accept(self: Arc<Self>, socket: TcpListener, app: Arc<CurrentGateway>) {
        let mut stop = self.stop.subscribe();
        let mut incoming = Incoming::new(socket, &self.connections);
        loop {
            let (stream, peer) = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = incoming.next() => accepted,
            };
            self.serve(&app, stream, peer, &stop);
        }
    }

    fn serve(
        self: &Arc<Self>,
        app: &Arc<CurrentGateway>,
        stream: TcpStream,
        peer: SocketAddr,
        stop: &watch::Receiver<bool>,
    ) {
        let is_proxied = self.config.proxy_protocol == ProxyProtocol::Require;
        let acquired = app.with_connection_limits(|limits| match is_proxied {
            true if !is_trusted(peer.ip(), limits.exempt) => None,
            _ => Some(self.connections.acquire(peer.ip(), limits)),
        });
        let permit = match acquired {
            Some(Ok(permit)) => permit,
            Some(Err(refused)) => return self.refuse(app, stream, Bytes::new(), refused),
            None => {
                return app
                    .metrics()
                    .transport
                    .proxy_header(ProxyHeader::Untrusted, peer.ip());
            }
        };
        let connection = Arc::clone(permit.connection());
        // A request that panics ends only this task: the connection is closed, and its permit and what it held are
        // released.
        // A clone of a receiver that saw no stop: the connection sees one from now on as a change.
        let (app, tls, stop) = (Arc::clone(app), self.tls.clone(), stop.clone());
        let task = match is_proxied {
            false => {
                let stream = Buffered::new(stream);
                current_handle().spawn(connection::serve(app, stream, peer, tls, permit, stop))
            }
            true => {
                let listener = Arc::clone(self);
                current_handle().spawn(async move {
                    let behind = Box::pin(listener.read_proxy_header(&app, stream, peer, &permit));
                    if let Some((stream, client)) = behind.await {
                        connection::serve(app, stream, client, tls, permit, stop).await;
                    }
                })
            }
        };
        self.connections.set_task(&connection, task.abort_handle());
    }

    /// Reads the PROXY header of a load balancer and counts the connection for the client that it names. None where
    /// the connection must end.
    async fn read_proxy_header(
        &self,
        app: &CurrentGateway,
        stream: TcpStream,
        peer: SocketAddr,
        permit: &ConnectionPermit,
    ) -> Option<(Buffered, SocketAddr)> {
        let within = app.current().limits.header_timeout;
        let read = proxy_header::read(stream, within).await;
        let result = match &read {
            Ok(_) => ProxyHeader::Read,
            Err(ProxyHeaderError::Malformed) => ProxyHeader::Malformed,
            Err(ProxyHeaderError::Incomplete) => ProxyHeader::Incomplete,
        };
        app.metrics().transport.proxy_header(result, peer.ip());
        let (stream, client) = read.ok()?;
        let client = client.unwrap_or(peer);
        let attributed = app.with_connection_limits(|limits| permit.attribute_to(client.ip(), limits));
        if let Err(refused) = attributed {
            let (stream, read) = stream.into_parts();
            self.refuse(app, stream, read, refused);
            return None;
        }
        Some((stream, client))
    }

    /// Responds to a client beyond the limits. Over TLS the connection is closed without a response.
    fn refuse(&self, app: &CurrentGateway, stream: TcpStream, read: Bytes, refused: Refused) {
        let gateway = app.current();
        gateway.metrics.denied(None, DenyReason::Overloaded);
        if self.tls.is_some() {
            return;
        }
        let detail = match refused {
            Refused::ClientLimit => "too many connections from this address; close some and retry",
            Refused::Full => "too many connections are open; retry later",
        };
        let request_id = gateway.request_ids.next();
        let answer = Answer {
            detail: Some(detail.into()),
            ..Answer::new(DenyReason::Overloaded, &request_id)
        };
        self.refusals.answer_after(stream, read, answer.to_http1().into());
    }

    /// Stops accepting. From now on every response is the last of its connection.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
        *self.socket.lock() = None;
    }

    /// Stops, and resolves when the last connection has ended or the drain timeout is over.
    pub(crate) async fn drain(&self, drain: Drain) {
        self.stop();
        let ended = tokio::time::timeout(drain.within, async {
            while !self.connections.is_empty() {
                let next = self.connections.end_idle(drain.idle_grace).max(CHECK_EVERY);
                let _ = tokio::time::timeout(next, self.connections.wait_until_empty()).await;
            }
        });
        if ended.await.is_err() {
            let cut = self.connections.end_all();
            if cut > 0 {
                tracing::warn!(address = %self.address, connections = cut, "drain timeout reached; closing remaining connections");
            }
        }
    }

    /// Stops and ends every connection now.
    pub(crate) fn cut(&self) {
        self.stop();
        self.connections.end_all();
    }
}
