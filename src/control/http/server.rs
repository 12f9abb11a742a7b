//! The control plane's listener, and the background work beside it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Version};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tracing::Instrument as _;

use super::connections::refusal as connection_refusal;
use super::metered;
use super::metered::{Answering, RefusalForm};
use super::observed::note_route;
use super::problem::StoreFailure;
use super::routes::routes;
use crate::control::bad_request::BadRequest;
use crate::control::plane::Control;
use crate::http_server::{Bounds, HttpServer};
use crate::tls::acceptor::Acceptor;

/// How long a whole request may take, its body and our answer included.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);

/// How long requests under way may take once we are told to stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// Where the control plane listens, and within which bounds.
pub struct Listening {
    pub socket: TcpListener,
    /// Without it the listener speaks plain HTTP.
    pub tls: Option<Arc<Acceptor>>,
    pub bounds: Bounds,
    /// How long kept connections may wait for one more request once the control plane stops.
    pub grace: Duration,
}

/// Serves the token endpoint, the key set, the management API and the console until `shutdown`, then lets the requests
/// in progress finish. Kept connections may send one more: its response is their last.
pub async fn serve(control: Arc<Control>, listening: Listening, shutdown: impl Future<Output = ()> + Send) {
    let ending = Arc::new(AtomicBool::new(false));
    let routes = routes(Arc::clone(&control)).layer(from_fn(deadline));
    let routes = routes.layer(from_fn_with_state(Arc::clone(&control), count_failures));
    let routes = routes.layer(from_fn_with_state(Arc::clone(&ending), last_answer));
    let routes = TowerToHyperService::new(routes.layer(from_fn(note_route)));
    let metrics = control.connections.clone();
    let server = HttpServer::new(listening.bounds, listening.tls, metrics, connection_refusal());
    let answering = Arc::clone(&control);
    let service = move |peer, request| answer(&routes, &answering, peer, request);
    tokio::select! {
        () = server.accept(listening.socket, control.limits.trusted_proxies(), service) => {}
        () = control.maintain() => {}
        () = control.fleet.watch_store() => {}
        () = control.changes.outage.watch(&control.changes.store) => {}
        () = shutdown => {}
    }
    ending.store(true, Ordering::Relaxed);
    if !server.drain(listening.grace, DRAIN_WITHIN).await {
        tracing::warn!("requests under way did not finish in time");
    }
    control.usage.flush_uses().await;
}

/// Answers a request within what the control plane may hold.
fn answer(
    routes: &TowerToHyperService<Router>,
    control: &Arc<Control>,
    peer: IpAddr,
    mut request: http::Request<Incoming>,
) -> Answering {
    let trusted = control.limits.trusted_proxies();
    let observed = control.requests.begin(peer, request.headers(), trusted);
    let from = control.limits.client_address(peer, request.headers());
    request.extensions_mut().insert(from);
    let routes = routes.clone();
    let routed =
        move |request| async move { routes.call(request).await.unwrap_or_else(|never| match never {}) };
    let answer = metered::serve(&control.memory, from.0, request, routed);
    let requests = Arc::clone(&control.requests);
    let span = observed.span.clone();
    let answering = async move {
        let mut answer = answer.await?;
        requests.end(&observed, &mut answer);
        Ok(answer)
    };
    Answering::new(answering.instrument(span))
}

/// Says that a response is the last of its connection, once the service is ending.
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
        control.changes.outage.failed_request(kind);
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
