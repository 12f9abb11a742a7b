//! Metrics of listeners: connections, handshakes, certificates.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::clock::instant;
use crate::connections::LogThrottle;
use crate::domain::time::UnixSeconds;

const PROXY_HEADER_REJECTED: &str =
    "connection closed: no valid PROXY header from a peer in `gateway.trusted_proxies`";

/// The metrics of the listeners.
#[derive(Clone)]
pub struct Transport {
    connections: IntGauge,
    not_accepted: IntCounter,
    handshakes: IntCounterVec,
    proxy_headers: IntCounterVec,
    proxy_throttle: Arc<LogThrottle>,
    began: Instant,
    tls_reload: IntCounterVec,
    certificate_expiry: IntGaugeVec,
}

/// How a TLS handshake ended.
#[derive(Clone, Copy, Debug)]
pub enum Handshake {
    Done,
    Failed,
    TimedOut,
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
        let expiry = Opts::new(
            "portcullis_tls_certificate_expiry_timestamp_seconds",
            "When each certificate in use expires.",
        );
        let metrics = Self {
            connections: IntGauge::new("portcullis_connections", "Connections of clients open now.")?,
            not_accepted: IntCounter::new(
                "portcullis_accept_errors_total",
                "Connections that could not be accepted, mostly because no file descriptor was left.",
            )?,
            handshakes: by_result("portcullis_tls_handshakes_total", "TLS handshakes by result.")?,
            proxy_headers: by_result(
                "portcullis_proxy_headers_total",
                "Connections to listeners that require the PROXY protocol, by what came of its header.",
            )?,
            proxy_throttle: Arc::default(),
            began: instant(),
            tls_reload: by_result(
                "portcullis_tls_reload_total",
                "Reloads of changed certificate files, by result.",
            )?,
            certificate_expiry: IntGaugeVec::new(expiry, &["listener", "certificate"])?,
        };
        // A counter of failures exists with 0 before the first failure.
        for result in ["ok", "error"] {
            metrics.tls_reload.with_label_values(&[result]);
        }
        for result in ["ok", "error", "timeout"] {
            metrics.handshakes.with_label_values(&[result]);
        }
        for result in ProxyHeader::ALL {
            metrics.proxy_headers.with_label_values(&[result.as_str()]);
        }
        for collector in [
            Box::new(metrics.connections.clone()) as Box<dyn Collector>,
            Box::new(metrics.not_accepted.clone()),
            Box::new(metrics.handshakes.clone()),
            Box::new(metrics.proxy_headers.clone()),
            Box::new(metrics.tls_reload.clone()),
            Box::new(metrics.certificate_expiry.clone()),
        ] {
            registry.register(collector)?;
        }
        Ok(metrics)
    }

    /// Counts one connection that could not be accepted.
    pub fn not_accepted(&self) {
        self.not_accepted.inc();
    }

    /// Counts one TLS handshake.
    pub fn handshake(&self, result: Handshake) {
        let result = match result {
            Handshake::Done => "ok",
            Handshake::Failed => "error",
            Handshake::TimedOut => "timeout",
        };
        self.handshakes.with_label_values(&[result]).inc();
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

    /// Counts one reload of changed certificate files.
    pub fn tls_reloaded(&self, good: bool) {
        let result = if good { "ok" } else { "error" };
        self.tls_reload.with_label_values(&[result]).inc();
    }

    /// Sets when a certificate of a listener expires.
    pub fn certificate_expires(&self, listener: &str, file: &str, at: UnixSeconds) {
        let at = i64::try_from(at.0).unwrap_or(i64::MAX);
        self.certificate_expiry
            .with_label_values(&[listener, file])
            .set(at);
    }

    /// Removes a certificate that is no longer in use.
    pub fn forget_certificate(&self, listener: &str, file: &str) {
        let _ = self.certificate_expiry.remove_label_values(&[listener, file]);
    }

    /// Sets how many connections are open.
    pub fn set_connections(&self, open: usize) {
        self.connections.set(i64::try_from(open).unwrap_or(i64::MAX));
    }
}

fn by_result(name: &str, help: &str) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(Opts::new(name, help), &["result"])
}
