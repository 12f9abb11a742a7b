//! What the connection limiter refuses and evicts, counted, and logged at most once in ten seconds each.

use std::net::IpAddr;
use std::sync::Arc;

use super::throttle::LogThrottle;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// The counters of one plane.
#[derive(Clone)]
pub struct ConnectionMetrics {
    plane: &'static str,
    refused: IntCounterVec,
    client_limit: IntCounter,
    full: IntCounter,
    evicted: IntCounter,
    not_accepted: IntCounter,
    throttles: Arc<Throttles>,
}

#[derive(Default)]
struct Throttles {
    client_limit: LogThrottle,
    full: LogThrottle,
    evicted: LogThrottle,
    not_accepted: LogThrottle,
}

impl ConnectionMetrics {
    /// The counters of `plane`, each 0.
    ///
    /// # Errors
    /// A name is malformed.
    pub fn new(plane: &'static str) -> Result<Self, prometheus::Error> {
        let opts = |name: &str, help: &str| Opts::new(name, help).const_label("plane", plane);
        let refused = IntCounterVec::new(
            opts(
                "portcullis_connections_refused_total",
                "Connections refused: the client had reached its own limit, or every connection was serving a request.",
            ),
            &["reason"],
        )?;
        Ok(Self {
            plane,
            client_limit: refused.with_label_values(&["client_limit"]),
            full: refused.with_label_values(&["full"]),
            refused,
            evicted: IntCounter::with_opts(opts(
                "portcullis_connections_evicted_total",
                "Idle connections closed to make room for new ones.",
            ))?,
            not_accepted: IntCounter::with_opts(opts(
                "portcullis_accept_errors_total",
                "Connections that could not be accepted, mostly because no file descriptor was left.",
            ))?,
            throttles: Arc::default(),
        })
    }

    /// Adds the counters to a registry.
    ///
    /// # Errors
    /// A name is taken there.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.refused.clone()))?;
        registry.register(Box::new(self.not_accepted.clone()))?;
        registry.register(Box::new(self.evicted.clone()))
    }

    pub(super) fn refused(&self, why: Refused, peer: IpAddr, now_ms: u64) {
        let plane = self.plane;
        match why {
            Refused::ClientLimit => {
                self.client_limit.inc();
                if let Some(connections) = self.throttles.client_limit.count(now_ms) {
                    tracing::warn!(
                        plane,
                        connections,
                        client = %peer,
                        "connections refused: a client has reached `limits.connections_per_client`"
                    );
                }
            }
            Refused::Full => {
                self.full.inc();
                if let Some(connections) = self.throttles.full.count(now_ms) {
                    tracing::warn!(
                        plane,
                        connections,
                        "connections refused: all of `limits.connections` are serving requests"
                    );
                }
            }
        }
    }

    pub(super) fn not_accepted(&self, error: &std::io::Error, is_shortage: bool, now_ms: u64) {
        self.not_accepted.inc();
        if is_shortage && let Some(connections) = self.throttles.not_accepted.count(now_ms) {
            tracing::warn!(
                plane = self.plane,
                connections,
                %error,
                "no descriptor left for a connection; raise the limit of open files"
            );
        }
    }

    pub(super) fn evicted(&self, now_ms: u64) {
        self.evicted.inc();
        if let Some(connections) = self.throttles.evicted.count(now_ms) {
            tracing::warn!(
                plane = self.plane,
                connections,
                "idle connections evicted: all of `limits.connections` are taken"
            );
        }
    }
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The client has as many connections as it may have.
    ClientLimit,
    /// All connections are taken, and each is serving a request.
    Full,
}
