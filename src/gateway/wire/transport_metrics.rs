//! Metrics of the gateway's listeners: connections, PROXY headers, TLS.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use prometheus::core::Collector;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

use crate::clock::instant;
use crate::connections::LogThrottle;
use crate::tls::metrics::TlsMetrics;

const PROXY_HEADER_REJECTED: &str =
    "connection closed: no valid PROXY header from a peer in `gateway.trusted_proxies`";

/// The metrics of the listeners.
#[derive(Clone)]
pub struct Transport {
    connections: IntGauge,
    proxy_headers: IntCounterVec,
    proxy_throttle: Arc<LogThrottle>,
    began: Instant,
    pub(crate) tls: TlsMetrics,
}

/// What came of the PROXY header of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    Read,
    /// The peer is not a trusted proxy.
    Untrusted,
    Malformed,
    /// It did not arrive in time.
    Incomplete,
}

impl ProxyHeader {
    const ALL: [Self; 4] = [Self::Read, Self::Untrusted, Self::Malformed, Self::Incomplete];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "ok",
            Self::Untrusted => "untrusted",
            Self::Malformed => "malformed",
            Self::Incomplete => "incomplete",
        }
    }
}

impl Transport {
    /// Registers the listeners' metrics.
    ///
    /// # Errors
    /// A name is taken already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            connections: IntGauge::new("portcullis_connections", "Connections of clients open now.")?,
            proxy_headers: by_result(
                "portcullis_proxy_headers_total",
                "Connections to listeners that require the PROXY protocol, by what came of its header.",
            )?,
            proxy_throttle: Arc::default(),
            began: instant(),
            tls: TlsMetrics::new("gateway")?,
        };
        metrics.tls.register(registry)?;
        // A counter of failures exists with 0 before the first failure.
        for result in ProxyHeader::ALL {
            metrics.proxy_headers.with_label_values(&[result.as_str()]);
        }
        for collector in [
            Box::new(metrics.connections.clone()) as Box<dyn Collector>,
            Box::new(metrics.proxy_headers.clone()),
        ] {
            registry.register(collector)?;
        }
        Ok(metrics)
    }

    /// Counts what came of one PROXY header, and logs failures at most once in ten seconds.
    pub fn proxy_header(&self, result: ProxyHeader, peer: IpAddr) {
        self.proxy_headers.with_label_values(&[result.as_str()]).inc();
        if result == ProxyHeader::Read {
            return;
        }
        let now_ms = u64::try_from((instant() - self.began).as_millis()).unwrap_or(u64::MAX);
        if let Some(connections) = self.proxy_throttle.count(now_ms) {
            tracing::warn!(connections, %peer, problem = result.as_str(), PROXY_HEADER_REJECTED);
        }
    }

    /// Sets how many connections are open.
    pub fn set_connections(&self, open: usize) {
        self.connections.set(i64::try_from(open).unwrap_or(i64::MAX));
    }
}

fn by_result(name: &str, help: &str) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(Opts::new(name, help), &["result"])
}
