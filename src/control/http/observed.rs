//! What every request to the control plane gets besides its answer: an id, a span for its log lines, and a count.

use std::net::IpAddr;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};
use tracing::Span;

use crate::clock::instant;
use crate::connections::{RequestIds, X_REQUEST_ID, forwarded_id, is_trusted};
use crate::domain::network::Network;

const ID: HeaderName = HeaderName::from_static(X_REQUEST_ID);

/// The route of requests that no route serves, and of those that were rejected before one was looked for.
const NO_ROUTE: &str = "none";

/// Makes ids and counts requests.
pub(crate) struct Requests {
    ids: RequestIds,
    total: IntCounterVec,
    seconds: HistogramVec,
}

/// A request that is being answered.
pub(crate) struct OneRequest {
    id: HeaderValue,
    /// The span of its log lines.
    pub span: Span,
    began: Instant,
}

/// The route that served a request, as it stands in the router: clients cannot make new ones.
#[derive(Clone)]
struct Route(MatchedPath);

impl Requests {
    /// Metrics that are not registered yet.
    ///
    /// # Errors
    /// A metric's name is malformed.
    pub fn new() -> Result<Self, prometheus::Error> {
        let seconds = HistogramOpts::new(
            "portcullis_control_request_seconds",
            "From the head of a request to the control plane to the head of its response, by route.",
        );
        Ok(Self {
            ids: RequestIds::default(),
            total: IntCounterVec::new(
                Opts::new(
                    "portcullis_control_requests_total",
                    "Requests to the control plane by route and class of status code; `none` are those that no route serves.",
                ),
                &["route", "code_class"],
            )?,
            seconds: HistogramVec::new(
                seconds.buckets(vec![
                    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
                ]),
                &["route"],
            )?,
        })
    }

    /// Registers the metrics. Requests that no route serves are there with 0.
    ///
    /// # Errors
    /// A metric of that name is registered already.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        self.seconds.with_label_values(&[NO_ROUTE]);
        for class in ["2xx", "3xx", "4xx", "5xx"] {
            self.total.with_label_values(&[NO_ROUTE, class]);
        }
        registry.register(Box::new(self.total.clone()))?;
        registry.register(Box::new(self.seconds.clone()))
    }

    /// A request of `peer` begins. Its id is the one that a trusted proxy sent, or a new one.
    pub fn begin(&self, peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> OneRequest {
        let is_trusted = is_trusted(peer.to_canonical(), trusted);
        let forwarded = is_trusted.then(|| forwarded_id(headers)).flatten();
        let id = forwarded.map_or_else(|| self.ids.next(), str::to_owned);
        OneRequest {
            // At level error, so that lines of every level have it.
            span: tracing::error_span!("request", request_id = id),
            // Visible characters, all of them.
            id: HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("-")),
            began: instant(),
        }
    }

    /// Puts the id into the response, and counts it.
    pub fn end(&self, request: &OneRequest, response: &mut Response) {
        response.headers_mut().insert(ID, request.id.clone());
        let route = response.extensions().get::<Route>();
        let route = route.map_or(NO_ROUTE, |route| route.0.as_str());
        let class = match response.status().as_u16() / 100 {
            1 | 2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        self.total.with_label_values(&[route, class]).inc();
        let seconds = self.seconds.with_label_values(&[route]);
        seconds.observe(request.began.elapsed().as_secs_f64());
    }
}

/// Notes in the response which route served it.
pub(crate) async fn note_route(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned().map(Route);
    let mut response = next.run(request).await;
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    response
}
