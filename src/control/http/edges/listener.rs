//! The edge listener: the edge protocol over HTTP, within bounds of its own.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tracing::Instrument as _;

use super::routes::routes;
use super::service::{EdgeService, EdgeState};
use crate::connections::ConnectionMetrics;
use crate::control::error::ControlError;
use crate::control::http::connections::refusal;
use crate::control::plane::Control;
use crate::http_server::{Bounds, HttpServer};
use crate::tls::acceptor::Acceptor;

/// How long a TLS handshake and the first request's head may take.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// How long a connection without a request may stay open while more than half of the connections are taken.
const CROWDED_WITHIN: Duration = Duration::from_secs(5);

/// The shortest time that a connection may be unused. A stream of changes is used at each heartbeat.
const IDLE_MIN: Duration = Duration::from_secs(60);

/// The part of the connections that one address may have. Proxies in `trusted_proxies` have no such bound.
const CLIENT_PART: usize = 4;

/// How long requests in progress may take once the listener closes. Streams end at once.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);

/// Where edges connect.
pub struct EdgeListening {
    pub socket: TcpListener,
    /// Without it the listener speaks plain HTTP.
    pub tls: Option<Arc<Acceptor>>,
    pub metrics: ConnectionMetrics,
}

/// Serves edges until `shutdown`.
///
/// # Errors
/// [`ControlError::Crypto`] where the system has no random numbers.
pub async fn serve(
    control: Arc<Control>,
    service: EdgeService,
    listening: EdgeListening,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ControlError> {
    let state = Arc::new(EdgeState::new(&control, &service)?);
    let router = TowerToHyperService::new(routes(Arc::clone(&state)));
    let bounds = Bounds {
        connections: service.connections,
        connections_per_client: service.connections.div_ceil(CLIENT_PART),
        header_timeout: HEAD_WITHIN,
        crowded_timeout: CROWDED_WITHIN,
        idle: IDLE_MIN.max(service.heartbeat * 3),
        drain: DRAIN_WITHIN,
    };
    let server = HttpServer::new(bounds, listening.tls, listening.metrics, refusal());
    let (requests, limits) = (Arc::clone(&state.requests), Arc::clone(&state.limits));
    let answer = move |peer: IpAddr, request: http::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        let from = limits.client_address(peer, request.headers());
        request.extensions_mut().insert(from);
        let requests = Arc::clone(&requests);
        let observed = requests.begin(peer, request.headers(), limits.trusted_proxies());
        let answer = router.call(request).instrument(observed.span.clone());
        async move {
            let mut answer = answer.await?;
            requests.end(&observed, &mut answer);
            Ok::<_, Infallible>(answer)
        }
    };
    let trusted = Arc::clone(&state.limits);
    tokio::select! {
        () = server.accept(listening.socket, trusted.trusted_proxies(), answer) => {}
        () = state.run() => {}
        () = shutdown => {}
    }
    let _ = server.drain(Duration::ZERO, DRAIN_WITHIN).await;
    Ok(())
}
