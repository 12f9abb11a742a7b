//! The listener: connections in, bounded in number, time and size; the background work beside them.

use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, StatusCode, Version};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tracing::Instrument as _;

pub use super::connections::Bounds;
use super::connections::{ActivityTimer, Taken, refusal as connection_refusal};
use super::metered;
use super::metered::{Answering, RefusalForm};
use super::observed::note_route;
use super::problem::StoreFailure;
use super::routes::routes;
use crate::connections::{ConnectionLimiter, ConnectionLimits, RefusalAnswers};
use crate::control::bad_request::BadRequest;
use crate::control::plane::Control;

/// How long a whole request may take, its body and our answer included.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);

/// How long requests under way may take once we are told to stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

const HEAD_BYTES_MAX: usize = 32 * 1024;
const HEADERS_MAX: usize = 100;

/// Requests that an HTTP/2 connection may have in progress. What they hold is bounded in [`super::memory`], but for a
/// task each.
pub(crate) const STREAMS_MAX: u32 = 50;

/// The longest header list over HTTP/2, in bytes: decoded, a list of short fields takes many times as much.
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;

/// What an HTTP/2 client may send before anything of it is read: on one stream, and on all of a connection (no
/// less is possible there, RFC 9113 section 6.9.2).
const STREAM_WINDOW_BYTES: u32 = 32 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 65_535;

/// The most of a response that waits in an HTTP/2 stream before the next part is asked for.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Refused connections that are answered in order at once. With the default limits 300 requests at once from one
/// address are all answered.
const REFUSALS_AT_ONCE: usize = 256;

/// How long a connection without a request may take to end.
const GOODBYE: Duration = Duration::from_secs(1);

/// Serves the token endpoint, the key set and the management API on `listener` until `shutdown`, then lets the
/// requests under way finish. Kept connections may send one more within `grace`: its answer is their last.
pub async fn serve(
    control: Arc<Control>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
    grace: Duration,
) {
    serve_within(control, listener, shutdown, grace, Bounds::default()).await;
}

/// The same, with other bounds than the usual ones.
pub async fn serve_within(
    control: Arc<Control>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
    grace: Duration,
    bounds: Bounds,
) {
    let ending = Arc::new(AtomicBool::new(false));
    let routes = routes(Arc::clone(&control)).layer(from_fn(deadline));
    let routes = routes.layer(from_fn_with_state(Arc::clone(&control), count_failures));
    let routes = routes.layer(from_fn_with_state(Arc::clone(&ending), last_answer));
    let routes = routes.layer(from_fn(note_route));
    let service = TowerToHyperService::new(routes);
    let limiter = ConnectionLimiter::new(control.connections.clone());
    let (connections, refusals) = (limiter.group(), RefusalAnswers::new(REFUSALS_AT_ONCE));
    let limits = ConnectionLimits {
        connections: bounds.connections,
        per_client: bounds.connections_per_client,
        exempt: control.limits.trusted_proxies(),
    };
    let (end, ended) = watch::channel(false);
    let accept = async {
        loop {
            let (stream, peer) = accept_one(&listener).await;
            let Ok(permit) = connections.acquire(peer.ip(), &limits) else {
                refusals.answer(stream, connection_refusal());
                continue;
            };
            let connection_of = Arc::clone(permit.connection());
            let timer = ActivityTimer::new(&bounds, &limiter, &connection_of);
            let (service, control, touching) = (service.clone(), Arc::clone(&control), Arc::clone(&timer));
            let answers =
                service_fn(move |request| answer(&service, &control, &touching, peer.ip(), request));
            let connection = builder(&bounds)
                .serve_connection(TokioIo::new(stream), answers)
                .into_owned();
            let ended = ended.clone();
            let task = tokio::spawn(async move {
                hold(connection, &timer, ended, bounds.drain).await;
                drop(permit);
            });
            connections.set_task(&connection_of, task.abort_handle());
        }
    };
    tokio::select! {
        () = accept => {}
        () = control.maintain() => {}
        () = control.fleet.watch_store() => {}
        () = shutdown => {}
    }
    drop(listener);
    ending.store(true, Ordering::Relaxed);
    let _ = tokio::time::timeout(grace, connections.wait_until_empty()).await;
    end.send_replace(true);
    if tokio::time::timeout(DRAIN_WITHIN, connections.wait_until_empty())
        .await
        .is_err()
    {
        tracing::warn!("requests under way did not finish in time");
    }
    control.usage.flush_uses().await;
}

/// Answers a request within what the control plane may hold.
fn answer(
    service: &TowerToHyperService<Router>,
    control: &Arc<Control>,
    timer: &Arc<ActivityTimer>,
    peer: IpAddr,
    mut request: http::Request<Incoming>,
) -> Answering {
    let active = timer.begin_request();
    let trusted = control.limits.trusted_proxies();
    let observed = control.requests.begin(peer, request.headers(), trusted);
    let from = control.limits.client_address(peer, request.headers());
    request.extensions_mut().insert(from);
    let service = service.clone();
    let routed =
        move |request| async move { service.call(request).await.unwrap_or_else(|never| match never {}) };
    let answer = metered::serve(&control.memory, from.0, request, routed);
    let (timer, requests) = (Arc::clone(timer), Arc::clone(&control.requests));
    let span = observed.span.clone();
    let answering = async move {
        let Some(active) = active else {
            // Evicted in this moment: the connection is being closed.
            let mut answer = StatusCode::SERVICE_UNAVAILABLE.into_response();
            requests.end(&observed, &mut answer);
            return Ok(answer);
        };
        let mut answer = answer.await?;
        requests.end(&observed, &mut answer);
        timer.touch();
        Ok(answer.map(|body| Taken::body(body, timer, active)))
    };
    Answering::new(answering.instrument(span))
}

/// Serves a connection until it ends, nothing comes of it any more, or the service ends: then what is under way may
/// finish for a while.
async fn hold<C>(connection: C, timer: &ActivityTimer, ended: watch::Receiver<bool>, drain: Duration)
where
    C: GracefulConnection,
    C::Error: std::fmt::Display,
{
    let mut connection = pin!(connection);
    let done = tokio::select! {
        biased;
        done = connection.as_mut() => done,
        () = timer.stopped() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(GOODBYE, connection.as_mut()).await {
                Ok(done) => done,
                Err(_) if timer.is_serving() => finish(connection, drain).await,
                Err(_) => Ok(()),
            }
        }
        () = told(ended) => finish(connection, drain).await,
    };
    if let Err(error) = done {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Waits until the service ends.
async fn told(mut ended: watch::Receiver<bool>) {
    let _ = ended.wait_for(|ended| *ended).await;
}

async fn finish<C: GracefulConnection>(mut connection: Pin<&mut C>, drain: Duration) -> Result<(), C::Error> {
    connection.as_mut().graceful_shutdown();
    tokio::time::timeout(drain, connection).await.unwrap_or(Ok(()))
}

/// The next connection. Running out of descriptors passes; giving up would not.
async fn accept_one(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Answers are small and complete: waiting to fill a packet only delays them.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
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

/// Says that an answer is the last of its connection, once the service is ending.
async fn last_answer(State(ending): State<Arc<AtomicBool>>, request: Request, next: Next) -> Response {
    let http1 = request.version() <= Version::HTTP_11;
    let mut response = next.run(request).await;
    if http1 && ending.load(Ordering::Relaxed) {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

/// Counts the answers that tell of a failure of the store.
async fn count_failures(State(control): State<Arc<Control>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if let Some(StoreFailure(kind)) = response.extensions().get() {
        control.changes.count_store_failure(kind);
    }
    response
}

/// Ends a request that takes too long, in the form that its path answers in.
async fn deadline(request: Request, next: Next) -> Response {
    let form = RefusalForm::of(request.uri().path());
    match tokio::time::timeout(REQUEST_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => form.refusal(BadRequest::Timeout).await,
    }
}
