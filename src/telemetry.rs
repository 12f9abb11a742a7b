//! Logs, metrics and health: how they are set up and served, and what is never in them.
//!
//! Tokens, assertions, keys, passwords and write keys are types that cannot be printed, so no log line can hold one by
//! accident.

pub mod log;

use std::net::IpAddr;
use std::panic::PanicHookInfo;
use std::sync::{Arc, LazyLock, Once};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder as _, IntCounter, IntGaugeVec, Opts, Registry, TextEncoder};
use tokio::net::TcpListener;

use crate::connections::ConnectionMetrics;
use crate::http_server::{Bounds, HttpServer};
use crate::tls::acceptor::Acceptor;

/// The version of this build.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that this build was made of, from `PORTCULLIS_COMMIT` in the environment of the build.
const COMMIT: &str = match option_env!("PORTCULLIS_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Counts every panic of the process, and makes one record of each.
///
/// What a panic says may quote the request that led to it, so only text that stands in the source is shown; the
/// place in the source tells the rest.
pub fn record_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(record_panic)));
}

fn record_panic(panic: &PanicHookInfo<'_>) {
    PANICS.as_ref().inspect(|count| count.inc());
    let thread = std::thread::current();
    tracing::error!(
        at = panic.location().map(tracing::field::display),
        thread = thread.name(),
        problem = panic.payload().downcast_ref::<&'static str>(),
        "a panic, which is a mistake in this program; please report it"
    );
}

/// How often anything has panicked.
static PANICS: LazyLock<Option<IntCounter>> = LazyLock::new(|| {
    let help =
        "Panics. One in a request ends its connection alone, one in a task that all rests on the process.";
    IntCounter::new("portcullis_panics_total", help).ok()
});

/// Shows in `registry` which build runs, and what its process uses.
///
/// # Errors
/// A name is taken already.
pub fn show_process(registry: &Registry) -> Result<(), prometheus::Error> {
    let opts = Opts::new(
        "portcullis_build_info",
        "Always 1: the build that runs, by its version and commit.",
    );
    let build = IntGaugeVec::new(opts, &["version", "commit"])?;
    build.with_label_values(&[VERSION, COMMIT]).set(1);
    registry.register(Box::new(build))?;
    registry.register(Box::new(ProcessCollector::for_self()))
}

/// Shows in `registry` how often anything has panicked.
///
/// # Errors
/// The name is taken already.
pub fn show_panics(registry: &Registry) -> Result<(), prometheus::Error> {
    match &*PANICS {
        Some(count) => registry.register(Box::new(count.clone())),
        None => Ok(()),
    }
}

/// What the observability listener asks the process.
pub trait Health: Send + Sync + 'static {
    /// Brings gauges up to date before they are read.
    fn refresh(&self);

    /// Whether requests can be decided now.
    ///
    /// # Errors
    /// What is missing, in one sentence.
    fn ready(&self) -> Result<(), &'static str>;

    /// What operators should look at although requests can be decided.
    fn warning(&self) -> Option<&'static str>;
}

/// The connections of scrapers and health checks, and how long they may take.
const BOUNDS: Bounds = Bounds {
    connections: 256,
    connections_per_client: 256,
    header_timeout: Duration::from_secs(10),
    crowded_timeout: Duration::from_secs(5),
    idle: Duration::from_secs(120),
    drain: Duration::from_secs(2),
};

/// The whole response to a connection beyond the limits.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Where metrics and health are served.
pub struct Listening {
    pub socket: TcpListener,
    /// Without it the listener speaks plain HTTP.
    pub tls: Option<Arc<Acceptor>>,
    pub metrics: ConnectionMetrics,
}

/// Serves `/metrics`, `/healthz` and `/readyz` until `shutdown`.
pub async fn serve(
    listening: Listening,
    registry: Registry,
    health: Arc<dyn Health>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let ready = Arc::clone(&health);
    let app = Router::new()
        .route(
            "/metrics",
            get(move || async move { metrics(&registry, &*health) }),
        )
        .route("/healthz", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(move || async move {
                let (status, mut body) = match ready.ready() {
                    Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
                    Err(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {missing}\n")),
                };
                // In the body alone: balancers that took every replica out for a clock would do more harm than it.
                if let Some(warning) = ready.warning() {
                    body.push_str(&format!("warning: {warning}\n"));
                }
                (status, body)
            }),
        );
    let app = TowerToHyperService::new(app);
    let server = HttpServer::new(
        BOUNDS,
        listening.tls,
        listening.metrics,
        Bytes::from_static(REFUSAL),
    );
    let service = move |_: IpAddr, request: Request<Incoming>| app.call(request.map(Body::new));
    tokio::select! {
        () = server.accept(listening.socket, &[], service) => {}
        () = shutdown => {}
    }
    let _ = server.drain(Duration::ZERO, BOUNDS.drain).await;
}

fn metrics(registry: &Registry, health: &dyn Health) -> Response {
    health.refresh();
    let mut text = Vec::new();
    let encoder = TextEncoder::new();
    match encoder.encode(&registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
