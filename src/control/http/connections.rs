//! Connections of the control plane: their limits, and how long one may stay open while nothing comes of it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::instant;
use crate::config::ControlLimits;
use crate::connections::{ActiveRequest, Connection, ConnectionLimiter};
use crate::domain::network::neighbourhood;

/// What a client is told whose connection is refused. It must serve every path: the form is that of RFC 6749
/// section 5.2, with members of RFC 9457.
const REFUSAL: &str = r#"{"error":"temporarily_unavailable","error_description":"too many connections are open; close idle ones and retry","title":"Too many connections","status":503,"code":"too-many-connections"}"#;

/// The whole response to a refused connection.
pub fn refusal() -> Bytes {
    let length = REFUSAL.len();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n\
         Retry-After: 1\r\nX-RateLimit-Reset: 1\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{REFUSAL}"
    )
    .into()
}

/// How many connections, and how patient with them.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections of all clients together. When all are taken, the longest idle one ends for a new one.
    pub connections: usize,
    /// Connections of one address, or of one IPv6 customer. Further ones are answered 503. Listed proxies have no
    /// such bound: they bring everybody.
    pub connections_per_client: usize,
    /// How long the first request's head may take to arrive, and every head over HTTP/1 after the answer before it.
    pub header_timeout: Duration,
    /// How long a connection may be open without a request while more than half of the connections are taken.
    pub crowded_timeout: Duration,
    /// How long nothing may come of a connection: no request begins, no answer is ready, nothing of one is taken.
    /// Longer than a request may take.
    pub idle: Duration,
    /// How long what is under way may take once a connection is to end.
    pub drain: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self::from(&ControlLimits::default())
    }
}

impl From<&ControlLimits> for Bounds {
    fn from(limits: &ControlLimits) -> Self {
        Self {
            connections: limits.connections,
            connections_per_client: limits.connections_per_client,
            header_timeout: limits.header_timeout,
            crowded_timeout: Duration::from_secs(5),
            idle: Duration::from_secs(60),
            drain: Duration::from_secs(30),
        }
    }
}

/// Places for something that is held: so many in all, and so many for one neighbourhood.
pub struct Places {
    all: Arc<Semaphore>,
    of_one: usize,
    /// How many each neighbourhood has. Who has none is not in it.
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// A place, until it is dropped.
pub struct Place {
    _permit: OwnedSemaphorePermit,
    of: Arc<Places>,
    neighbourhood: IpAddr,
}

impl Places {
    /// So many in all, and so many of them for one neighbourhood.
    pub fn new(count: usize, of_one: usize) -> Arc<Self> {
        Arc::new(Self {
            all: Arc::new(Semaphore::new(count)),
            of_one,
            taken: Mutex::default(),
        })
    }

    /// Waits until there is a place for anybody.
    pub async fn free(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.all).acquire_owned().await.ok()
    }

    /// Gives the free place to a peer, unless its neighbourhood has all that it may have.
    pub fn seat(self: &Arc<Self>, permit: OwnedSemaphorePermit, peer: IpAddr) -> Option<Place> {
        let neighbourhood = neighbourhood(peer);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(neighbourhood).or_default();
        if *count >= self.of_one {
            return None;
        }
        *count += 1;
        Some(Place {
            _permit: permit,
            of: Arc::clone(self),
            neighbourhood,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.neighbourhood) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.neighbourhood);
            }
        }
    }
}

/// When something last came of a connection. What only keeps it open, as a ping does, is nothing.
pub struct ActivityTimer {
    opened: Instant,
    bounds: Bounds,
    limiter: Arc<ConnectionLimiter>,
    connection: Arc<Connection>,
    /// Milliseconds after it was opened; zero before its first request.
    last: AtomicU64,
}

impl ActivityTimer {
    pub fn new(bounds: &Bounds, limiter: &Arc<ConnectionLimiter>, connection: &Arc<Connection>) -> Arc<Self> {
        Arc::new(Self {
            opened: instant(),
            bounds: *bounds,
            limiter: Arc::clone(limiter),
            connection: Arc::clone(connection),
            last: AtomicU64::new(0),
        })
    }

    /// Notes that something came of it.
    pub fn touch(&self) {
        let now = instant().duration_since(self.opened).as_millis();
        // Nothing else depends on it: no ordering is needed.
        self.last
            .store(u64::try_from(now).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
    }

    /// Begins a request. `None` where the connection has just been evicted.
    pub fn begin_request(&self) -> Option<ActiveRequest> {
        self.touch();
        self.connection.begin_request()
    }

    /// Whether a request is being served.
    pub fn is_serving(&self) -> bool {
        self.connection.idle_for().is_none()
    }

    fn is_crowded(&self) -> bool {
        self.limiter.open() > self.bounds.connections / 2
    }

    /// How long it may go on like this; `None` where that is over.
    fn left(&self) -> Option<Duration> {
        let until = match self.last.load(Ordering::Relaxed) {
            0 => self.bounds.header_timeout,
            last => Duration::from_millis(last) + self.bounds.idle,
        };
        let mut left = until.saturating_sub(instant().duration_since(self.opened));
        if let Some(idle_for) = self.connection.idle_for()
            && self.is_crowded()
        {
            left = left.min(self.bounds.crowded_timeout.saturating_sub(idle_for));
        }
        (!left.is_zero()).then_some(left)
    }

    /// Waits until nothing has come of it for too long.
    pub async fn stopped(&self) {
        while let Some(left) = self.left() {
            // It may become crowded meanwhile.
            tokio::time::sleep(left.min(self.bounds.crowded_timeout)).await;
        }
    }
}

/// An answer's body: notes whenever a part of it is taken, and ends its request when it is done with.
pub struct Taken {
    body: Body,
    timer: Arc<ActivityTimer>,
    _request: ActiveRequest,
}

impl Taken {
    pub fn body(body: Body, timer: Arc<ActivityTimer>, request: ActiveRequest) -> Body {
        Body::new(Self {
            body,
            timer,
            _request: request,
        })
    }
}

impl HttpBody for Taken {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            self.timer.touch();
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
