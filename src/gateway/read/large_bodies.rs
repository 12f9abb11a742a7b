//! Lets other requests go first while a body is inflated and scanned.
//!
//! A worker is one thread with many requests. The work on a large body is done in slices, those of reading it among
//! them, and between two slices everybody else on the worker has a turn. Only one large body at a time is inflated and
//! scanned by a worker, however many have come, and only one of a client waits for that: so what the others wait for
//! is one slice, and what a large body waits for is one of each client.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use pingora_timeout::timeout;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::decision::DenyReason;

/// Bodies up to this size, inflated, wait for no turn, in bytes: less than a third of a millisecond of work.
const SMALL_BYTES_MAX: usize = 256 * 1024;

/// How much of a body is worked on before others go first, in bytes, while it may still be a small one.
const FIRST_SLICES_BYTES: usize = 32 * 1024;

/// The same once it is a large one: others are likely to wait, and a slice takes some 15 microseconds.
const LATER_SLICES_BYTES: usize = 16 * 1024;

/// The number of queues for clients on a worker. Two clients in one queue wait for each other.
const CLIENTS: usize = 256;

/// The turns of one worker.
struct Turns {
    /// Given to one body at a time.
    work: Arc<Semaphore>,
    /// Given to one body at a time of each client, by the client's number.
    by_client: Vec<Arc<Semaphore>>,
    /// Given for one slice of any large body, in the order of asking.
    slice: Arc<Semaphore>,
}

thread_local! {
    static TURNS: RefCell<Turns> = RefCell::new(Turns {
        work: Arc::new(Semaphore::new(1)),
        by_client: (0..CLIENTS).map(|_| Arc::new(Semaphore::new(1))).collect(),
        slice: Arc::new(Semaphore::new(1)),
    });
}

/// The work on one body, in slices.
pub(crate) struct Slices {
    client: usize,
    /// How long a turn is waited for.
    within: Duration,
    done: usize,
    /// What was worked on since others went first.
    since: usize,
    turn: Option<[OwnedSemaphorePermit; 2]>,
}

impl Slices {
    /// Nothing done yet of a body of the client of this number.
    pub(crate) fn new(client: usize, within: Duration) -> Self {
        Self {
            client,
            within,
            done: 0,
            since: 0,
            turn: None,
        }
    }

    /// How much to work on before [`Self::done`] is called, in bytes.
    pub(crate) fn size(&self) -> usize {
        match self.turn {
            Some(_) => LATER_SLICES_BYTES,
            None => FIRST_SLICES_BYTES,
        }
    }

    /// Whether the body is a large one that has its turn; no other one of this worker has.
    pub(crate) fn has_turn(&self) -> bool {
        self.turn.is_some()
    }

    /// Counts a slice that was worked on; others go first before the next one. Once it was more than a small body, it
    /// waits for the turn of a large one.
    ///
    /// # Errors
    /// [`DenyReason::Overloaded`]: other large bodies took all the time that this one may wait.
    pub(crate) async fn done(&mut self, bytes: usize) -> Result<(), DenyReason> {
        self.done = self.done.saturating_add(bytes);
        self.since = self.since.saturating_add(bytes);
        // A body of one slice is done with before anybody waits.
        if self.since < self.size() {
            return Ok(());
        }
        self.since = 0;
        if self.done < SMALL_BYTES_MAX {
            tokio::task::yield_now().await;
            return Ok(());
        }
        if self.turn.is_none() {
            let waiting = timeout(self.within, wait(self.client));
            let turn = waiting.await.ok().flatten();
            self.turn = Some(turn.ok_or(DenyReason::Overloaded)?);
        }
        let_others_go_first().await;
        Ok(())
    }

    /// Waits for a turn before the first slice where the body is known to be large.
    ///
    /// # Errors
    /// As [`Self::done`].
    pub(crate) async fn expect(&mut self, bytes: usize) -> Result<(), DenyReason> {
        match bytes > SMALL_BYTES_MAX && self.done < SMALL_BYTES_MAX {
            true => self.done(SMALL_BYTES_MAX).await,
            false => Ok(()),
        }
    }
}

/// Resolves when every other request of the worker had a turn, and the large bodies that asked before a slice each.
async fn let_others_go_first() {
    let slice = TURNS.with_borrow(|turns| Arc::clone(&turns.slice));
    // Nobody closes it.
    let _slice = slice.acquire_owned().await;
    tokio::task::yield_now().await;
}

async fn wait(client: usize) -> Option<[OwnedSemaphorePermit; 2]> {
    let turns = TURNS.with_borrow(|turns| {
        let own = turns.by_client.get(client % CLIENTS).map(Arc::clone);
        (own, Arc::clone(&turns.work))
    });
    // Nobody closes them. A client's own turn first: what waits for the worker is one body of each client.
    let own = turns.0?.acquire_owned().await.ok()?;
    let work = turns.1.acquire_owned().await.ok()?;
    Some([own, work])
}

/// Lets others go first after every slice of a body that is read.
#[derive(Default)]
pub(crate) struct Breather {
    read: usize,
    since: usize,
}

impl Breather {
    /// What reading one piece costs, in bytes that could have been scanned meanwhile.
    const PIECE_BYTES: usize = 256;

    /// Counts a piece that was read.
    pub(crate) async fn read(&mut self, bytes: usize) {
        let cost = bytes + Self::PIECE_BYTES;
        self.read = self.read.saturating_add(cost);
        self.since += cost;
        if self.since < FIRST_SLICES_BYTES {
            return;
        }
        self.since = 0;
        match self.read > SMALL_BYTES_MAX {
            true => let_others_go_first().await,
            false => tokio::task::yield_now().await,
        }
    }
}
