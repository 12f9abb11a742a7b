//! The edge listener: connections in, bounded in number and time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use super::routes::routes;
use super::service::{EdgeService, EdgeState};
use crate::control::client_address::ClientAddress;
use crate::control::error::ControlError;
use crate::control::http::observed::Requests;
use crate::control::plane::Control;

/// How long a request's head, and a TLS handshake, may take.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// How long requests in progress may take once the listener closes. Streams end at once.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);

const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
const STREAMS_MAX: u32 = 16;

/// Wraps the stream of an accepted connection, in TLS where the listener has it.
pub trait Accept: Clone + Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The stream to speak HTTP on; none where the handshake failed.
    fn accept(&self, stream: TcpStream) -> impl Future<Output = Option<Self::Stream>> + Send;
}

/// A listener without TLS.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Accept for Plain {
    type Stream = TcpStream;

    async fn accept(&self, stream: TcpStream) -> Option<TcpStream> {
        Some(stream)
    }
}

/// Serves edges on `listener` until `shutdown`.
///
/// # Errors
/// [`ControlError::Crypto`] where the system has no random numbers.
pub async fn serve<A: Accept>(
    control: Arc<Control>,
    service: EdgeService,
    listener: TcpListener,
    accept: A,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ControlError> {
    let state = Arc::new(EdgeState::new(&control, &service)?);
    let router = TowerToHyperService::new(routes(Arc::clone(&state)));
    let places = Arc::new(Semaphore::new(service.connections));
    let graceful = GracefulShutdown::new();
    let accepting = async {
        loop {
            let (stream, peer) = accept_one(&listener).await;
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                tracing::warn!(%peer, connections = service.connections, "{TOO_MANY_CONNECTIONS}");
                continue;
            };
            let (accept, router, watcher) = (accept.clone(), router.clone(), graceful.watcher());
            let requests = Arc::clone(&state.requests);
            tokio::spawn(async move {
                let Ok(Some(stream)) = tokio::time::timeout(HEAD_WITHIN, accept.accept(stream)).await else {
                    return;
                };
                let answers =
                    service_fn(move |request| answer(router.clone(), Arc::clone(&requests), peer, request));
                let connection = builder()
                    .serve_connection(TokioIo::new(stream), answers)
                    .into_owned();
                if let Err(error) = watcher.watch(connection).await {
                    tracing::debug!(%error, "connection ended early");
                }
                drop(place);
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        () = state.run() => {}
        () = shutdown => {}
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN_WITHIN, graceful.shutdown()).await;
    Ok(())
}

async fn answer(
    router: TowerToHyperService<Router>,
    requests: Arc<Requests>,
    peer: SocketAddr,
    request: http::Request<hyper::body::Incoming>,
) -> Result<axum::response::Response, std::convert::Infallible> {
    let mut request: Request = request.map(axum::body::Body::new);
    request.extensions_mut().insert(ClientAddress(peer.ip()));
    let observed = requests.begin(peer.ip(), request.headers(), &[]);
    let mut answer = router.call(request).instrument(observed.span.clone()).await?;
    requests.end(&observed, &mut answer);
    Ok(answer)
}

async fn accept_one(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            Err(error) => {
                // Running out of descriptors passes; giving up would not.
                tracing::warn!(%error, "{ACCEPT_FAILED}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEAD_WITHIN)
        .max_concurrent_streams(STREAMS_MAX);
    builder
}

const TOO_MANY_CONNECTIONS: &str = "edge connection refused: too many connections";
const ACCEPT_FAILED: &str = "accept failed on the edge listener; retrying";
