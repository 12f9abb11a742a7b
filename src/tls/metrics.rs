//! What is counted of the TLS of a plane's listeners: handshakes, certificate reloads, expiry.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::domain::time::UnixSeconds;

/// The TLS metrics of one plane, or of one kind of listener.
#[derive(Clone)]
pub struct TlsMetrics {
    handshakes: IntCounterVec,
    reloads: IntCounterVec,
    expiry: IntGaugeVec,
}

/// How a TLS handshake ended.
#[derive(Clone, Copy, Debug)]
pub enum Handshake {
    Done,
    Failed,
    TimedOut,
}

impl TlsMetrics {
    /// The metrics of `plane`. The counter of each result exists with 0.
    ///
    /// # Errors
    /// A name is malformed.
    pub fn new(plane: &'static str) -> Result<Self, prometheus::Error> {
        let opts = |name: &str, help: &str| Opts::new(name, help).const_label("plane", plane);
        let metrics = Self {
            handshakes: IntCounterVec::new(
                opts("portcullis_tls_handshakes_total", "TLS handshakes by result."),
                &["result"],
            )?,
            reloads: IntCounterVec::new(
                opts(
                    "portcullis_tls_reload_total",
                    "Reloads of changed certificate files, by result.",
                ),
                &["result"],
            )?,
            expiry: IntGaugeVec::new(
                opts(
                    "portcullis_tls_certificate_expiry_timestamp_seconds",
                    "When each certificate in use expires.",
                ),
                &["listener", "certificate"],
            )?,
        };
        for result in ["ok", "error"] {
            metrics.reloads.with_label_values(&[result]);
        }
        for result in ["ok", "error", "timeout"] {
            metrics.handshakes.with_label_values(&[result]);
        }
        Ok(metrics)
    }

    /// Adds the metrics to a registry.
    ///
    /// # Errors
    /// A name is taken there.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.handshakes.clone()))?;
        registry.register(Box::new(self.reloads.clone()))?;
        registry.register(Box::new(self.expiry.clone()))
    }

    pub(super) fn handshake(&self, result: Handshake) {
        let result = match result {
            Handshake::Done => "ok",
            Handshake::Failed => "error",
            Handshake::TimedOut => "timeout",
        };
        self.handshakes.with_label_values(&[result]).inc();
    }

    pub(super) fn reloaded(&self, good: bool) {
        let result = if good { "ok" } else { "error" };
        self.reloads.with_label_values(&[result]).inc();
    }

    pub(super) fn certificate_expires(&self, listener: &str, file: &str, at: UnixSeconds) {
        let at = i64::try_from(at.0).unwrap_or(i64::MAX);
        self.expiry.with_label_values(&[listener, file]).set(at);
    }

    pub(super) fn forget_certificate(&self, listener: &str, file: &str) {
        let _ = self.expiry.remove_label_values(&[listener, file]);
    }
}
