//! Connections that are held: how many, by whom, and for how long without anything coming of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::instant;
use crate::domain::network::{Network, neighbourhood};

/// How many connections, and how patient with them.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections served at once. Further ones wait in the listener's queue.
    pub connections: usize,
    /// Connections of one address, or of one IPv6 customer. Further ones are closed. Listed proxies have no such
    /// bound: they bring everybody.
    pub of_one: usize,
    /// How long the first request's head may take to arrive, and every head over HTTP/1 after the answer before it.
    pub head: Duration,
    /// How long nothing may come of a connection: no request begins, no answer is ready, nothing of one is taken.
    /// Longer than a request may take.
    pub idle: Duration,
    /// How long what is under way may take once a connection is to end.
    pub drain: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 1_024,
            of_one: 256,
            head: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            drain: Duration::from_secs(30),
        }
    }
}

/// The places for connections, or for something else that is held.
pub struct Places {
    all: Arc<Semaphore>,
    count: usize,
    of_one: usize,
    trusted: Vec<Network>,
    /// How many each neighbourhood has. Who has none is not in it.
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// A place, until it is dropped.
pub struct Place {
    _permit: OwnedSemaphorePermit,
    held: Option<(Arc<Places>, IpAddr)>,
}

impl Places {
    /// So many in all, and so many of them for one neighbourhood, unless it is trusted.
    pub fn new(count: usize, of_one: usize, trusted: &[Network]) -> Arc<Self> {
        Arc::new(Self {
            all: Arc::new(Semaphore::new(count)),
            count,
            of_one,
            trusted: trusted.to_vec(),
            taken: Mutex::default(),
        })
    }

    /// Waits until there is a place for anybody.
    pub async fn free(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.all).acquire_owned().await.ok()
    }

    /// Gives the free place to a peer, unless its neighbourhood has all that it may have.
    pub fn seat(self: &Arc<Self>, permit: OwnedSemaphorePermit, peer: IpAddr) -> Option<Place> {
        let peer = peer.to_canonical();
        if self.trusted.iter().any(|network| network.contains(peer)) {
            return Some(Place {
                _permit: permit,
                held: None,
            });
        }
        let key = neighbourhood(peer);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(key).or_default();
        if *count >= self.of_one {
            return None;
        }
        *count += 1;
        Some(Place {
            _permit: permit,
            held: Some((Arc::clone(self), key)),
        })
    }

    /// Waits until every connection has ended.
    pub async fn empty(&self) {
        let all = u32::try_from(self.count).unwrap_or(u32::MAX);
        let _ = self.all.acquire_many(all).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((places, key)) = &self.held else { return };
        let mut taken = places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(key);
            }
        }
    }
}

/// When something last came of a connection. What only keeps it open, as a ping does, is nothing.
pub struct Pulse {
    opened: Instant,
    head: Duration,
    idle: Duration,
    /// Milliseconds after it was opened; zero before its first request.
    last: AtomicU64,
}

impl Pulse {
    pub fn new(bounds: &Bounds) -> Arc<Self> {
        Arc::new(Self {
            opened: instant(),
            head: bounds.head,
            idle: bounds.idle,
            last: AtomicU64::new(0),
        })
    }

    /// Notes that something came of it.
    pub fn beat(&self) {
        let now = instant().duration_since(self.opened).as_millis();
        // Nothing else depends on it: no ordering is needed.
        self.last
            .store(u64::try_from(now).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
    }

    /// How long it may go on like this; `None` where that is over.
    fn left(&self) -> Option<Duration> {
        let until = match self.last.load(Ordering::Relaxed) {
            0 => self.head,
            last => Duration::from_millis(last) + self.idle,
        };
        let left = until.saturating_sub(instant().duration_since(self.opened));
        (!left.is_zero()).then_some(left)
    }

    /// Waits until nothing has come of it for too long.
    pub async fn stopped(&self) {
        while let Some(left) = self.left() {
            tokio::time::sleep(left).await;
        }
    }
}

/// An answer's body that beats whenever a part of it is taken, and once more when all of it was.
pub struct Taken {
    body: Body,
    pulse: Arc<Pulse>,
}

impl Taken {
    pub fn body(body: Body, pulse: Arc<Pulse>) -> Body {
        Body::new(Self { body, pulse })
    }
}

impl HttpBody for Taken {
    type Data = axum::body::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            self.pulse.beat();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
