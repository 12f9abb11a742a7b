//! The gateway's metrics, with every handle of the hot path looked up beforehand.
//!
//! Labels take values of the config and of our own words only: a client cannot make a new series.

use std::sync::Arc;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use super::cut::Cut;
use super::origin_metrics::OriginMetrics;
use super::upstream_metrics::UpstreamMetrics;
use crate::clock::Clock;
use crate::domain::decision::DenyReason;
use crate::gateway::read::body::HeldBytes;
use crate::gateway::state::policy_cell::PolicyCell;
use crate::gateway::wire::transport_metrics::Transport;

/// The classes of responses: by the first digit of their status, or `cut` where they ended in the middle.
const CODE_CLASSES: [&str; 5] = ["2xx", "3xx", "4xx", "5xx", "cut"];

/// The label of requests that belong to no API.
const NO_API: &str = "none";

/// All metrics of the gateway.
#[derive(Clone)]
pub struct Metrics {
    apis: Vec<ApiMetrics>,
    decision_seconds: Histogram,
    cache_hit: IntCounter,
    cache_miss: IntCounter,
    policy_version: IntGauge,
    policy_age: IntGauge,
    revocations: IntGauge,
    held_bytes: IntGauge,
    pub policy_lapses: IntCounter,
    pub access_log_dropped: IntCounter,
    by_api: ByApi,
    pub transport: Transport,
    pub origins: OriginMetrics,
    pub upstreams: UpstreamMetrics,
}

/// What is counted for each API, over all of them.
#[derive(Clone)]
struct ByApi {
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    upstream_seconds: HistogramVec,
    cut: IntCounterVec,
    responses: IntCounterVec,
}

/// What is counted for one API.
#[derive(Clone)]
struct ApiMetrics {
    allow: IntCounter,
    /// By reason, in the order of [`DenyReason::ALL`].
    deny: Vec<IntCounter>,
    would_deny: Vec<IntCounter>,
    request_seconds: Histogram,
    upstream_seconds: Histogram,
    cut_by_upstream: IntCounter,
    cut_by_client: IntCounter,
    /// By class, in the order of [`CODE_CLASSES`].
    responses: Vec<IntCounter>,
}

impl Metrics {
    /// Registers the gateway's metrics for these APIs.
    ///
    /// # Errors
    /// A name is taken already.
    pub fn new(registry: &Registry, apis: &[&str]) -> Result<Self, prometheus::Error> {
        let cache = IntCounterVec::new(
            Opts::new("portcullis_token_cache_total", "Token cache look-ups."),
            &["result"],
        )?;
        let by_api = ByApi::new(registry)?;
        let metrics = Self {
            apis: by_api.of(apis),
            by_api,
            decision_seconds: decision_seconds()?,
            cache_hit: cache.with_label_values(&["hit"]),
            cache_miss: cache.with_label_values(&["miss"]),
            policy_version: IntGauge::new("portcullis_policy_version", "Version of the policy in force.")?,
            policy_age: IntGauge::new(
                "portcullis_policy_age_seconds",
                "Seconds since the policy was confirmed.",
            )?,
            revocations: IntGauge::new("portcullis_revocations", "Revocations held.")?,
            held_bytes: IntGauge::new("portcullis_held_body_bytes", "Bytes of request bodies held now.")?,
            policy_lapses: IntCounter::new(
                "portcullis_policy_lapses_total",
                "Times that the policy became too old, so that requests to enforced sources are denied.",
            )?,
            access_log_dropped: IntCounter::new(
                "portcullis_access_log_dropped_total",
                "Access log lines dropped since the log could not keep up.",
            )?,
            transport: Transport::new(registry)?,
            origins: OriginMetrics::new(registry)?,
            upstreams: UpstreamMetrics::new(registry)?,
        };
        for collector in [
            Box::new(cache) as Box<dyn Collector>,
            Box::new(metrics.decision_seconds.clone()),
            Box::new(metrics.policy_version.clone()),
            Box::new(metrics.policy_age.clone()),
            Box::new(metrics.revocations.clone()),
            Box::new(metrics.held_bytes.clone()),
            Box::new(metrics.policy_lapses.clone()),
            Box::new(metrics.access_log_dropped.clone()),
        ] {
            registry.register(collector)?;
        }
        Ok(metrics)
    }

    /// The same counters for another set of APIs. What was counted so far stays.
    #[must_use]
    pub fn with_apis(&self, apis: &[&str]) -> Self {
        Self {
            apis: self.by_api.of(apis),
            ..self.clone()
        }
    }

    fn api(&self, at: Option<usize>) -> Option<&ApiMetrics> {
        self.apis.get(at.unwrap_or(self.apis.len().saturating_sub(1)))
    }

    /// Counts one allowed request, and what it would have been denied for where it is only observed.
    pub fn allowed(&self, api: Option<usize>, would_deny: Option<DenyReason>) {
        let Some(api) = self.api(api) else { return };
        match would_deny {
            None => api.allow.inc(),
            Some(reason) => count(&api.would_deny, reason),
        }
    }

    /// Counts one request that was denied, or that failed.
    pub fn denied(&self, api: Option<usize>, reason: DenyReason) {
        if let Some(api) = self.api(api) {
            count(&api.deny, reason);
        }
    }

    /// Counts one response that ended in the middle.
    pub fn cut(&self, api: usize, cut: Cut) {
        let Some(api) = self.api(Some(api)) else { return };
        match cut {
            Cut::ByUpstream => api.cut_by_upstream.inc(),
            Cut::ByClient => api.cut_by_client.inc(),
        }
    }

    /// Counts one response by the class of its status, or as `cut` where it ended in the middle.
    pub fn responded(&self, api: Option<usize>, status: u16, is_cut: bool) {
        let class = match is_cut {
            true => CODE_CLASSES.len() - 1,
            false => usize::from(status / 100).saturating_sub(2),
        };
        if let Some(counter) = self.api(api).and_then(|api| api.responses.get(class)) {
            counter.inc();
        }
    }

    /// Counts one look-up in the token cache.
    pub fn cache(&self, hit: bool) {
        if hit {
            self.cache_hit.inc();
        } else {
            self.cache_miss.inc();
        }
    }

    /// Observes how long verifying and deciding took.
    pub fn decided(&self, took: Duration) {
        self.decision_seconds.observe(took.as_secs_f64());
    }

    /// Observes how long a request took, and the upstream's part of it.
    pub fn finished(&self, api: Option<usize>, took: Duration, upstream: Option<Duration>) {
        let Some(api) = self.api(api) else { return };
        api.request_seconds.observe(took.as_secs_f64());
        if let Some(upstream) = upstream {
            api.upstream_seconds.observe(upstream.as_secs_f64());
        }
    }

    /// Brings the gauges up to date, for a scrape.
    pub fn refresh(&self, cell: &Arc<PolicyCell>, held: &HeldBytes, clock: &Clock) {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        if let Some(policy) = cell.load().as_deref() {
            self.policy_version.set(signed(policy.version()));
            self.policy_age
                .set(signed(clock.now().since(policy.confirmed_at())));
            self.revocations
                .set(i64::try_from(policy.revocations()).unwrap_or(i64::MAX));
        }
        self.held_bytes.set(i64::try_from(held.now()).unwrap_or(i64::MAX));
    }
}

impl ByApi {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new(
                "portcullis_requests_total",
                "Requests by API, decision and reason.",
            ),
            &["api", "decision", "reason"],
        )?;
        let request_seconds = HistogramVec::new(
            opts(
                "portcullis_request_seconds",
                "From the end of a request's head to the end of its answer.",
            ),
            &["api"],
        )?;
        let upstream_seconds = HistogramVec::new(
            opts(
                "portcullis_upstream_seconds",
                "The part of a request that the upstream took.",
            ),
            &["api"],
        )?;
        let cut = IntCounterVec::new(
            Opts::new(
                "portcullis_responses_cut_total",
                "Responses that ended in the middle, by API and by whose fault; the client was told by a broken end.",
            ),
            &["api", "by"],
        )?;
        let responses = IntCounterVec::new(
            Opts::new(
                "portcullis_responses_total",
                "Responses by API and class of status code, those of upstreams and the gateway's own; `cut` are those that ended in the middle.",
            ),
            &["api", "code_class"],
        )?;
        for collector in [
            Box::new(responses.clone()) as Box<dyn Collector>,
            Box::new(requests.clone()),
            Box::new(request_seconds.clone()),
            Box::new(upstream_seconds.clone()),
            Box::new(cut.clone()),
        ] {
            registry.register(collector)?;
        }
        Ok(Self {
            requests,
            request_seconds,
            upstream_seconds,
            cut,
            responses,
        })
    }

    /// The counters of these APIs, and of what belongs to none.
    fn of(&self, apis: &[&str]) -> Vec<ApiMetrics> {
        apis.iter().chain([&NO_API]).map(|api| self.one(api)).collect()
    }

    fn one(&self, api: &str) -> ApiMetrics {
        let by_reason = |decision: fn(DenyReason) -> &'static str| {
            let each = DenyReason::ALL.iter();
            each.map(|reason| {
                let labels = [api, decision(*reason), reason.as_str()];
                self.requests.with_label_values(&labels)
            })
            .collect()
        };
        let classes = CODE_CLASSES.iter();
        let responses = classes.map(|class| self.responses.with_label_values(&[api, class]));
        ApiMetrics {
            allow: self.requests.with_label_values(&[api, "allow", ""]),
            deny: by_reason(DenyReason::decision),
            would_deny: by_reason(|_| "would_deny"),
            request_seconds: self.request_seconds.with_label_values(&[api]),
            upstream_seconds: self.upstream_seconds.with_label_values(&[api]),
            cut_by_upstream: self.cut.with_label_values(&[api, "upstream"]),
            cut_by_client: self.cut.with_label_values(&[api, "client"]),
            responses: responses.collect(),
        }
    }
}

fn count(counters: &[IntCounter], reason: DenyReason) {
    if let Some(counter) = counters.get(reason as usize) {
        counter.inc();
    }
}

fn decision_seconds() -> Result<Histogram, prometheus::Error> {
    let opts = HistogramOpts::new("portcullis_decision_seconds", "Verifying the token and deciding.");
    Histogram::with_opts(opts.buckets(vec![
        1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 1e-2, 0.1, 1.0,
    ]))
}

fn opts(name: &str, help: &str) -> HistogramOpts {
    HistogramOpts::new(name, help).buckets(vec![
        0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
    ])
}
