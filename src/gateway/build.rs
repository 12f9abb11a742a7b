//! Builds the [`Gateway`] that a config describes, at the start and at every reload.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::Registry;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::forward::upstream::Pool;
use super::link::jwks;
use super::link::jwks::KeyFetcher;
use super::link::key_file::KeyFile;
use super::link::tally::Tally;
use super::listen::listener::REFUSALS_AT_ONCE;
use super::observe::access_log::AccessLog;
use super::observe::metrics::Metrics;
use super::observe::upstream_metrics::UpstreamMetrics;
use super::read::body::HeldBytes;
use super::serve::request::Gateway;
use super::start_error::StartError;
use super::state::policy_cell::PolicyCell;
use super::state::token_cache::TokenCache;
use super::wire::trace_context::SpanIds;
use crate::clock::Clock;
use crate::clock::guard::ClockWatch;
use crate::config;
use crate::config::{KeyOrigin, OutsideIssuer};
use crate::connections::RequestIds;
use crate::domain::time::UnixSeconds;
use crate::task_monitor::TaskMonitor;

/// Descriptors for everything except connections: the store, logs, listeners, files that are read again, and refused
/// connections that are being answered.
const DESCRIPTORS_KEPT: u64 = 32 + REFUSALS_AT_ONCE as u64;

/// The pools by name.
pub(super) type Pools = BTreeMap<String, Arc<Pool>>;

/// The pools that a config names: those that exist already where it has not changed them, new ones otherwise.
pub(super) fn pools(config: &config::Gateway, existing: &Pools, metrics: &UpstreamMetrics) -> Pools {
    let upstreams = config.upstreams.iter();
    let pools = upstreams.map(|(name, upstream)| {
        let pool = match existing.get(name) {
            Some(pool) if pool.is_for(upstream) => Arc::clone(pool),
            _ => Arc::new(Pool::new(name, upstream, metrics)),
        };
        (name.clone(), pool)
    });
    pools.collect()
}

fn by_api(config: &config::Gateway, pools: &Pools) -> Vec<Arc<Pool>> {
    let apis = config.apis.iter();
    apis.filter_map(|api| pools.get(&api.upstream).cloned()).collect()
}

fn names(config: &config::Gateway) -> Vec<&str> {
    config.apis.iter().map(|api| api.name.as_str()).collect()
}

/// The first gateway of a process.
pub(super) fn gateway(
    config: &config::Gateway,
    issuers: &[OutsideIssuer],
    access_log: Option<&config::AccessLog>,
    clock: Clock,
    registry: &Registry,
    monitor: &TaskMonitor,
) -> Result<(Gateway, Pools), StartError> {
    let metrics = Metrics::new(registry, &names(config))?;
    let pools = pools(config, &Pools::new(), &metrics.upstreams);
    let mut trusted = Vec::new();
    let mut key_files = Vec::new();
    let mut fetchers = Vec::new();
    for issuer in issuers {
        if matches!(issuer.keys, KeyOrigin::Uri(_)) {
            metrics.origins.expect_issuer(&issuer.issuer);
        }
        let failed = |error| StartError::Keys {
            issuer: issuer.issuer.clone(),
            error,
        };
        let file = KeyFile::new(issuer).map(Arc::new);
        let keys = file
            .as_ref()
            .map(|file| file.first())
            .transpose()
            .map_err(failed)?;
        fetchers.extend(KeyFetcher::new(issuer).map_err(failed)?.map(Arc::new));
        trusted.push(jwks::trusted(issuer, keys));
        key_files.extend(file);
    }
    let dropped = metrics.access_log_dropped.clone();
    let log = access_log.map(|log| AccessLog::start(log, dropped, monitor));
    let log = log.transpose().map_err(StartError::AccessLog)?.map(Arc::new);
    let gateway = Gateway {
        apis: config.apis.clone(),
        pools: by_api(config, &pools),
        limits: config.limits,
        trusted_proxies: config.trusted_proxies.clone().into(),
        public_url: config.public_url.clone(),
        policy: Arc::new(PolicyCell::new(trusted)),
        tokens: Arc::new(TokenCache::new(config.token_cache_entries)),
        key_files,
        fetchers,
        held: HeldBytes::new(&config.limits),
        metrics: Arc::new(metrics),
        tally: Arc::new(Tally::default()),
        access_log: log,
        watch: Arc::new(clock_watch(&clock, registry)?),
        clock,
        request_ids: Arc::new(RequestIds::default()),
        span_ids: Arc::new(SpanIds::new(random())),
        denials: None,
    };
    Ok((gateway, pools))
}

/// The gateway has no store for a trusted time: it begins without one, and deletes nothing for a day.
fn clock_watch(clock: &Clock, registry: &Registry) -> Result<ClockWatch, prometheus::Error> {
    let watch = ClockWatch::new("gateway", clock.clone(), UnixSeconds(0))?;
    watch.register(registry)?;
    Ok(watch)
}

/// The gateway after a reload: the APIs, pools and limits of `config`, and everything else of `before`.
pub(super) fn next(before: &Gateway, config: &config::Gateway, pools: &Pools) -> Gateway {
    Gateway {
        apis: config.apis.clone(),
        pools: by_api(config, pools),
        limits: config.limits,
        trusted_proxies: config.trusted_proxies.clone().into(),
        metrics: Arc::new(before.metrics.with_apis(&names(config))),
        ..before.clone()
    }
}

/// How many connections the limit of open files allows, with a warning where it is fewer than configured.
pub(super) fn descriptors_for(limits: &config::Limits) -> usize {
    let connections = connections_for_descriptors();
    if connections < limits.connections {
        tracing::warn!(
            connections,
            "the limit of open files allows fewer connections than limits.connections; raise it (ulimit -n)"
        );
    }
    connections
}

/// How many connections the process's limit of open files allows, after raising it as far as possible: each may need
/// a second descriptor, to its upstream.
fn connections_for_descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            ..limit
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "the limit of open files could not be raised; keeping the current one");
        }
    }
    match getrlimit(Resource::Nofile).current {
        None => usize::MAX,
        Some(limit) => usize::try_from(limit.saturating_sub(DESCRIPTORS_KEPT) / 2).unwrap_or(usize::MAX),
    }
}

/// Where the ids of spans begin. Ids that are only unlikely to be alike are better than no gateway.
fn random() -> u64 {
    let mut bytes = [0; 8];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}
