//! Which upstream servers are up, as a metric.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

/// The state of every server of every upstream.
#[derive(Clone)]
pub struct UpstreamMetrics {
    up: IntGaugeVec,
}

/// The state of one configured server, which may have several addresses.
pub struct ServerGauge {
    gauge: IntGauge,
    /// How many of its addresses are down, or 1 where its name has none.
    down: AtomicI64,
}

impl UpstreamMetrics {
    /// Registers the metric.
    ///
    /// # Errors
    /// The name is taken already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = Opts::new(
            "portcullis_upstream_up",
            "Whether each configured server of an upstream works: 0 after a failed exchange, connection attempt, health check or look-up of its name, 1 once it works again.",
        );
        let up = IntGaugeVec::new(opts, &["upstream", "server"])?;
        registry.register(Box::new(up.clone()))?;
        Ok(Self { up })
    }

    /// The gauge of a server, which begins as up.
    #[must_use]
    pub fn server(&self, upstream: &str, server: &str) -> Arc<ServerGauge> {
        let gauge = self.up.with_label_values(&[upstream, server]);
        gauge.set(1);
        Arc::new(ServerGauge {
            gauge,
            down: AtomicI64::new(0),
        })
    }

    /// Removes a server that is no longer configured.
    pub fn forget(&self, upstream: &str, server: &str) {
        // There is no series where the server was never used.
        let _ = self.up.remove_label_values(&[upstream, server]);
    }
}

impl ServerGauge {
    /// One of the server's addresses went down.
    pub fn went_down(&self) {
        self.add(1);
    }

    /// One of the server's addresses came back, or is no longer used.
    pub fn came_back(&self) {
        self.add(-1);
    }

    fn add(&self, addresses: i64) {
        let down = self.down.fetch_add(addresses, Ordering::Relaxed) + addresses;
        self.gauge.set(i64::from(down <= 0));
    }
}
