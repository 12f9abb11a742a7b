//! Bounds how many large leak reports are held at once: in all, and for one sender.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::network::neighbourhood;

/// Permits for large reports. A sender is an address, or the /64 of an IPv6 one.
pub(crate) struct ReportLimiter {
    all: Arc<Semaphore>,
    per_sender: usize,
    /// How many permits each sender has. A sender without one is absent.
    held: Mutex<HashMap<IpAddr, usize>>,
}

/// The right to hold one large report; given back when dropped.
pub(crate) struct ReportPermit {
    _permit: OwnedSemaphorePermit,
    limiter: Arc<ReportLimiter>,
    sender: IpAddr,
}

impl ReportLimiter {
    /// `count` permits. One sender gets at most `per_sender`.
    pub(crate) fn new(count: usize, per_sender: usize) -> Arc<Self> {
        Arc::new(Self {
            all: Arc::new(Semaphore::new(count)),
            per_sender,
            held: Mutex::default(),
        })
    }

    /// Waits until a permit is free. None where the sender has as many as it may have.
    pub(crate) async fn acquire(self: &Arc<Self>, peer: IpAddr) -> Option<ReportPermit> {
        let permit = Arc::clone(&self.all).acquire_owned().await.ok()?;
        let sender = neighbourhood(peer);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(sender).or_default();
        if *count >= self.per_sender {
            return None;
        }
        *count += 1;
        Some(ReportPermit {
            _permit: permit,
            limiter: Arc::clone(self),
            sender,
        })
    }
}

impl Drop for ReportPermit {
    fn drop(&mut self) {
        let mut held = self.limiter.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.sender) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.sender);
            }
        }
    }
}
