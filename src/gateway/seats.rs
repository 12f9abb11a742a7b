//! The connections of a listener: counted from the moment they are accepted, and ended when their time is over.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::clock::instant;

/// Stands for the moment since when a connection is idle, while a request is under way on it.
const BUSY: u64 = u64::MAX;

/// The connections of one listener that are open.
pub(super) struct Seats {
    /// Open connections of all listeners together.
    open: Arc<AtomicUsize>,
    taken: Mutex<HashMap<u64, Taken>>,
    next: AtomicU64,
    left: Notify,
    /// What moments are counted from.
    began: Instant,
}

struct Taken {
    /// None until the task is known.
    task: Option<AbortHandle>,
    /// Since when no request is under way, in milliseconds, or [`BUSY`].
    idle_since: Arc<AtomicU64>,
}

/// A connection's place among the open ones; given back when dropped.
pub(super) struct Seat {
    of: Arc<Seats>,
    id: u64,
    idle_since: Arc<AtomicU64>,
}

impl Seats {
    /// The seats of a listener; `open` is what all listeners count in.
    pub(super) fn new(open: Arc<AtomicUsize>) -> Arc<Self> {
        Arc::new(Self {
            open,
            taken: Mutex::default(),
            next: AtomicU64::new(0),
            left: Notify::new(),
            began: instant(),
        })
    }

    /// Milliseconds since the beginning.
    fn now(&self) -> u64 {
        u64::try_from((instant() - self.began).as_millis()).unwrap_or(BUSY - 1)
    }

    /// A seat, or none where `most` connections are open already.
    pub(super) fn take(self: &Arc<Self>, most: usize) -> Option<Seat> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let seat = Seat {
            of: Arc::clone(self),
            id: self.next.fetch_add(1, Ordering::Relaxed),
            idle_since: Arc::new(AtomicU64::new(self.now())),
        };
        if before >= most {
            return None;
        }
        let (task, idle_since) = (None, Arc::clone(&seat.idle_since));
        self.taken.lock().insert(seat.id, Taken { task, idle_since });
        Some(seat)
    }

    /// Remembers the task of a connection, unless the connection has ended already.
    pub(super) fn remember(&self, id: u64, task: AbortHandle) {
        if let Some(taken) = self.taken.lock().get_mut(&id) {
            taken.task = Some(task);
        }
    }

    /// Ends the connections on which no request has been under way for this long. Answers after what time
    /// the next one may be due.
    pub(super) fn end_idle(&self, after: Duration) -> Duration {
        let now = self.now();
        let mut next = after;
        for seat in self.taken.lock().values() {
            let since = seat.idle_since.load(Ordering::Acquire);
            if since == BUSY {
                continue;
            }
            let left = after.saturating_sub(Duration::from_millis(now.saturating_sub(since)));
            match &seat.task {
                Some(task) if left.is_zero() => task.abort(),
                _ => next = next.min(left),
            }
        }
        next
    }

    /// Ends every connection.
    pub(super) fn end_all(&self) -> usize {
        let taken = self.taken.lock();
        let tasks = taken.values().filter_map(|seat| seat.task.as_ref());
        tasks.map(AbortHandle::abort).count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken.lock().is_empty()
    }

    /// Resolves when no connection is open.
    pub(super) async fn are_empty(&self) {
        loop {
            let left = self.left.notified();
            if self.is_empty() {
                return;
            }
            left.await;
        }
    }
}

impl Seat {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// From now on a request is under way, or none.
    pub(super) fn set_busy(&self, busy: bool) {
        let idle_since = if busy { BUSY } else { self.of.now() };
        self.idle_since.store(idle_since, Ordering::Release);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.of.open.fetch_sub(1, Ordering::Relaxed);
        self.of.taken.lock().remove(&self.id);
        self.of.left.notify_waiters();
    }
}
