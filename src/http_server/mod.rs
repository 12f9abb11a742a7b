//! The HTTP server of every listener but the gateway's: connections bounded in number and time, with TLS or without.
//!
//! It serves HTTP/1.1 and HTTP/2, over TLS by ALPN and else with prior knowledge. What a request means is up to the
//! service that it is given.

mod activity;

use std::error::Error;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::{Body, Incoming as IncomingBody};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub use self::activity::Bounds;
use self::activity::{ActiveBody, ActivityTimer};
use crate::connections::{
    ConnectionGroup, ConnectionLimiter, ConnectionLimits, ConnectionMetrics, Incoming, RefusalAnswers,
};
use crate::domain::network::Network;
use crate::tls::acceptor::Acceptor;

const HEAD_BYTES_MAX: usize = 32 * 1024;
const HEADERS_MAX: usize = 100;

/// Requests that an HTTP/2 connection may have in progress.
pub const STREAMS_MAX: u32 = 50;

/// The longest header list over HTTP/2, in bytes: decoded, a list of short fields takes many times as much.
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;

/// What an HTTP/2 client may send before anything of it is read: on one stream, and on all of a connection (no
/// less is possible there, RFC 9113 section 6.9.2).
const STREAM_WINDOW_BYTES: u32 = 32 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 65_535;

/// The most of a response that waits in an HTTP/2 stream before the next part is asked for.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Refused connections that are answered in order at once. With the default limits of the control plane, 300 requests
/// at once from one address are all answered.
const REFUSALS_AT_ONCE: usize = 256;

/// How long a TLS handshake may take, within the time for the first head.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// How long a connection without a request may take to end.
const GOODBYE: Duration = Duration::from_secs(1);

/// What a service may fail with. The connection, or over HTTP/2 the stream, ends then.
type Failure = Box<dyn Error + Send + Sync>;

/// A server of one listener.
pub struct HttpServer {
    tls: Option<Arc<Acceptor>>,
    bounds: Bounds,
    limiter: Arc<ConnectionLimiter>,
    connections: Arc<ConnectionGroup>,
    refusals: RefusalAnswers,
    refusal: Bytes,
    ended: watch::Sender<bool>,
}

impl HttpServer {
    /// A server that counts what it refuses in `metrics`. A connection beyond the limits is answered with `refusal`, a
    /// whole HTTP/1 response that says `Connection: close`; over TLS it is closed without a response.
    #[must_use]
    pub fn new(
        bounds: Bounds,
        tls: Option<Arc<Acceptor>>,
        metrics: ConnectionMetrics,
        refusal: Bytes,
    ) -> Self {
        let limiter = ConnectionLimiter::new(metrics);
        Self {
            tls,
            bounds,
            connections: limiter.group(),
            limiter,
            refusals: RefusalAnswers::new(REFUSALS_AT_ONCE),
            refusal,
            ended: watch::channel(false).0,
        }
    }

    /// Serves the connections that arrive at `socket` with `service`, until it is dropped. Peers in `exempt` have no
    /// limit of their own. The service is called as soon as a request's head is read; only the future that it returns
    /// waits for its turn.
    pub async fn accept<S, F, B, E>(&self, socket: TcpListener, exempt: &[Network], service: S)
    where
        S: Fn(IpAddr, Request<IncomingBody>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<B>, E>> + Send + 'static,
        B: Body<Data = Bytes> + Default + Unpin + Send + 'static,
        B::Error: Into<Failure>,
        E: Into<Failure>,
    {
        let limits = ConnectionLimits {
            connections: self.bounds.connections,
            per_client: self.bounds.connections_per_client,
            exempt,
        };
        let mut incoming = Incoming::new(socket, &self.connections);
        loop {
            let (stream, peer) = incoming.next().await;
            let Ok(permit) = self.connections.acquire(peer.ip(), &limits) else {
                self.refuse(stream);
                continue;
            };
            let connection = Arc::clone(permit.connection());
            let timer = ActivityTimer::new(&self.bounds, &self.limiter, &connection);
            let (service, touching) = (service.clone(), Arc::clone(&timer));
            let service = service_fn(move |request| {
                let (active, timer) = (touching.begin_request(), Arc::clone(&touching));
                let answer = service(peer.ip(), request);
                async move {
                    let Some(active) = active else {
                        // Evicted in this moment: the connection is being closed.
                        let mut response = Response::new(ActiveBody::default());
                        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                        return Ok(response);
                    };
                    let response = answer.await?;
                    timer.touch();
                    Ok::<_, E>(response.map(|body| ActiveBody::new(body, timer, active)))
                }
            });
            let (bounds, ended, tls) = (self.bounds, self.ended.subscribe(), self.tls.clone());
            let task = tokio::spawn(async move {
                match tls {
                    None => serve(stream, service, &timer, &bounds, ended).await,
                    Some(tls) => Box::pin(serve_tls(&tls, stream, service, &timer, &bounds, ended)).await,
                }
                drop(permit);
            });
            self.connections.set_task(&connection, task.abort_handle());
        }
    }

    fn refuse(&self, stream: TcpStream) {
        if self.tls.is_none() {
            self.refusals.answer(stream, self.refusal.clone());
        }
    }

    /// Lets the connections end: kept ones may send one more request within `grace`, then requests in progress have
    /// `within` to finish. Returns whether all have ended. Call it once nothing is accepted any more.
    pub async fn drain(&self, grace: Duration, within: Duration) -> bool {
        let _ = tokio::time::timeout(grace, self.connections.wait_until_empty()).await;
        self.ended.send_replace(true);
        let ended = tokio::time::timeout(within, self.connections.wait_until_empty());
        ended.await.is_ok()
    }
}

/// Performs the TLS handshake, then serves the connection. The handshake counts as an unused connection: it is evicted
/// like one, and ends with the time for the first head.
async fn serve_tls<S, B>(
    tls: &Acceptor,
    stream: TcpStream,
    service: S,
    timer: &ActivityTimer,
    bounds: &Bounds,
    ended: watch::Receiver<bool>,
) where
    S: Service<Request<IncomingBody>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Failure>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Failure>,
{
    let within = HANDSHAKE_WITHIN.min(bounds.header_timeout);
    let stream = tokio::select! {
        stream = tls.accept(stream, within) => stream,
        () = timer.stopped() => None,
        () = until_set(ended.clone()) => None,
    };
    if let Some(stream) = stream {
        serve(stream, service, timer, bounds, ended).await;
    }
}

/// Serves a connection until it ends, is unused for too long, or the server ends.
async fn serve<I, S, B>(
    stream: I,
    service: S,
    timer: &ActivityTimer,
    bounds: &Bounds,
    ended: watch::Receiver<bool>,
) where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<IncomingBody>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Failure>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Failure>,
{
    let connection = builder(bounds)
        .serve_connection(TokioIo::new(stream), service)
        .into_owned();
    let mut connection = pin!(connection);
    let done = tokio::select! {
        biased;
        done = connection.as_mut() => done,
        () = timer.stopped() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(GOODBYE, connection.as_mut()).await {
                Ok(done) => done,
                Err(_) if timer.is_serving() => finish(connection, bounds.drain).await,
                Err(_) => Ok(()),
            }
        }
        () = until_set(ended) => finish(connection, bounds.drain).await,
    };
    if let Err(error) = done {
        tracing::debug!(%error, "connection ended early");
    }
}

/// Resolves when the value is true.
async fn until_set(mut value: watch::Receiver<bool>) {
    let _ = value.wait_for(|is_set| *is_set).await;
}

async fn finish<C: GracefulConnection>(mut connection: Pin<&mut C>, drain: Duration) -> Result<(), C::Error> {
    connection.as_mut().graceful_shutdown();
    tokio::time::timeout(drain, connection).await.unwrap_or(Ok(()))
}

fn builder(bounds: &Bounds) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(bounds.header_timeout)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES);
    builder
}
