//! A look at a gateway from outside: gauges for a scrape, and whether it can decide.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::serve::current::CurrentGateway;
use crate::connections::ConnectionLimiter;
use crate::domain::policy::Policy;

/// Looks at a gateway from outside, for metrics and health.
#[derive(Clone)]
pub struct Probe {
    pub(super) app: Arc<CurrentGateway>,
    pub(super) limiter: Arc<ConnectionLimiter>,
    pub(super) ending: Arc<AtomicBool>,
}

impl Probe {
    /// Brings the gauges up to date.
    pub fn refresh(&self) {
        let gateway = self.app.current();
        gateway.metrics.transport.set_connections(self.limiter.open());
        gateway
            .metrics
            .refresh(&gateway.policy, &gateway.held, &gateway.clock);
    }

    /// The warning about the system's clock, if there is one.
    #[must_use]
    pub fn clock_warning(&self) -> Option<&'static str> {
        self.app.current().watch.warning()
    }

    /// Whether there is a usable policy, and keys of at least one issuer.
    ///
    /// # Errors
    /// The sentence that says what is missing.
    pub fn ready(&self) -> Result<(), &'static str> {
        if self.ending.load(Ordering::Relaxed) {
            return Err("it is ending");
        }
        let gateway = self.app.current();
        let policy = gateway.policy.load();
        let policy: &Policy = policy.as_deref().ok_or("no policy has been installed yet")?;
        if policy.is_stale(gateway.clock.now()) {
            return Err("the policy is older than max_age");
        }
        if policy.issuers().iter().all(|issuer| issuer.keys.is_none()) {
            return Err("no issuer's signing keys have been fetched yet");
        }
        Ok(())
    }
}
