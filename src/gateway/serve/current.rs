//! The gateway with the current settings; a reload replaces all of them at once.

use super::request::Gateway;
use crate::connections::ConnectionLimits;
use crate::gateway::observe::metrics::Metrics;
use arc_swap::ArcSwap;
use std::sync::Arc;

/// The gateway with the current settings. Each request loads it once and keeps it.
pub struct CurrentGateway {
    current: ArcSwap<Gateway>,
    /// How many connections the process's limit of open files allows.
    descriptors_for: usize,
}

impl CurrentGateway {
    /// Serves as `gateway` says, with at most `descriptors_for` connections.
    #[must_use]
    pub fn new(gateway: Gateway, descriptors_for: usize) -> Self {
        Self {
            current: ArcSwap::from_pointee(gateway),
            descriptors_for,
        }
    }

    /// The gateway for a request that begins now.
    #[must_use]
    pub fn current(&self) -> Arc<Gateway> {
        self.current.load_full()
    }

    /// Serves requests that begin from now on as `gateway` says.
    pub fn replace(&self, gateway: Gateway) {
        self.current.store(Arc::new(gateway));
    }

    /// Calls `take` with the limits of open connections. Where the limit of open files allows fewer than configured, the
    /// limit of each client shrinks in proportion.
    pub(crate) fn with_connection_limits<T>(&self, take: impl FnOnce(&ConnectionLimits<'_>) -> T) -> T {
        let gateway = self.current.load();
        let limits = &gateway.limits;
        let connections = limits.connections.min(self.descriptors_for);
        let per_client = match limits.connections {
            0 => 1,
            all => limits.connections_per_client.saturating_mul(connections) / all,
        };
        take(&ConnectionLimits {
            connections,
            per_client,
            exempt: &gateway.trusted_proxies,
        })
    }

    pub(crate) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.current.load().metrics)
    }
}
