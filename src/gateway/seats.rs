//! The connections of a listener: counted from the moment they are accepted, and ended when their time is over.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// The connections of one listener that are open.
#[derive(Default)]
pub(super) struct Seats {
    /// Open connections of all listeners together.
    open: Arc<AtomicUsize>,
    taken: Mutex<HashMap<u64, Taken>>,
    next: AtomicU64,
    left: Notify,
}

struct Taken {
    /// None until the task is known.
    task: Option<AbortHandle>,
    busy: Arc<AtomicBool>,
}

/// A connection's place among the open ones; given back when dropped.
pub(super) struct Seat {
    of: Arc<Seats>,
    id: u64,
    busy: Arc<AtomicBool>,
}

impl Seats {
    /// The seats of a listener; `open` is what all listeners count in.
    pub(super) fn new(open: Arc<AtomicUsize>) -> Arc<Self> {
        Arc::new(Self {
            open,
            ..Self::default()
        })
    }

    /// A seat, or none where `most` connections are open already.
    pub(super) fn take(self: &Arc<Self>, most: usize) -> Option<Seat> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let seat = Seat {
            of: Arc::clone(self),
            id: self.next.fetch_add(1, Ordering::Relaxed),
            busy: Arc::default(),
        };
        if before >= most {
            return None;
        }
        let (task, busy) = (None, Arc::clone(&seat.busy));
        self.taken.lock().insert(seat.id, Taken { task, busy });
        Some(seat)
    }

    /// Remembers the task of a connection, unless the connection has ended already.
    pub(super) fn remember(&self, id: u64, task: AbortHandle) {
        if let Some(taken) = self.taken.lock().get_mut(&id) {
            taken.task = Some(task);
        }
    }

    /// Ends the connections on which no request is under way.
    pub(super) fn end_idle(&self) -> usize {
        let taken = self.taken.lock();
        let idle = taken.values().filter(|seat| !seat.busy.load(Ordering::Acquire));
        idle.filter_map(|seat| seat.task.as_ref())
            .map(AbortHandle::abort)
            .count()
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
        self.busy.store(busy, Ordering::Release);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.of.open.fetch_sub(1, Ordering::Relaxed);
        self.of.taken.lock().remove(&self.id);
        self.of.left.notify_waiters();
    }
}
