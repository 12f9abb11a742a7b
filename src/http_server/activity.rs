//! How long a connection may stay open unused, and what counts as use.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::clock::instant;
use crate::connections::{ActiveRequest, Connection, ConnectionLimiter};

/// How many connections a server holds, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections of all clients together. When all are taken, the longest idle one ends for a new one.
    pub connections: usize,
    /// Connections of one address, or of one IPv6 customer. Further ones are refused. Listed proxies have no
    /// such limit: they bring every client.
    pub connections_per_client: usize,
    /// How long the TLS handshake and the first request's head together may take, and over HTTP/1 every head after the
    /// response before it.
    pub header_timeout: Duration,
    /// How long a connection may be open without a request while more than half of the connections are taken.
    pub crowded_timeout: Duration,
    /// How long a connection may be unused: no request begins, no response is ready, no part of one is taken. Longer
    /// than a request may take.
    pub idle: Duration,
    /// How long requests in progress may take once a connection is to end.
    pub drain: Duration,
}

/// When a connection was last used: a request began, or a part of a response was ready or taken. A ping does not count.
pub(super) struct ActivityTimer {
    opened: Instant,
    bounds: Bounds,
    limiter: Arc<ConnectionLimiter>,
    connection: Arc<Connection>,
    /// Milliseconds after it was opened; zero before its first request.
    last: AtomicU64,
}

impl ActivityTimer {
    pub(super) fn new(
        bounds: &Bounds,
        limiter: &Arc<ConnectionLimiter>,
        connection: &Arc<Connection>,
    ) -> Arc<Self> {
        Arc::new(Self {
            opened: instant(),
            bounds: *bounds,
            limiter: Arc::clone(limiter),
            connection: Arc::clone(connection),
            last: AtomicU64::new(0),
        })
    }

    /// Notes a use of the connection.
    pub(super) fn touch(&self) {
        let now = instant().duration_since(self.opened).as_millis();
        // Nothing else depends on it: no ordering is needed.
        self.last
            .store(u64::try_from(now).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
    }

    /// Begins a request. `None` where the connection has just been evicted.
    pub(super) fn begin_request(&self) -> Option<ActiveRequest> {
        self.touch();
        self.connection.begin_request()
    }

    /// Whether a request is being served.
    pub(super) fn is_serving(&self) -> bool {
        self.connection.idle_for().is_none()
    }

    fn is_crowded(&self) -> bool {
        self.limiter.open() > self.bounds.connections / 2
    }

    /// How long it may stay open unless it is used; `None` where that is over.
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

    /// Resolves when the connection has been unused for too long.
    pub(super) async fn stopped(&self) {
        while let Some(left) = self.left() {
            // It may become crowded meanwhile.
            tokio::time::sleep(left.min(self.bounds.crowded_timeout)).await;
        }
    }
}

/// A response's body, which touches the timer whenever a part of it is taken. Its request is active until it is dropped.
#[derive(Default)]
pub struct ActiveBody<B> {
    body: B,
    active: Option<(Arc<ActivityTimer>, ActiveRequest)>,
}

impl<B> ActiveBody<B> {
    pub(super) fn new(body: B, timer: Arc<ActivityTimer>, request: ActiveRequest) -> Self {
        Self {
            body,
            active: Some((timer, request)),
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for ActiveBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready()
            && let Some((timer, _)) = &self.active
        {
            timer.touch();
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
