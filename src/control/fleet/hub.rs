//! One reader of the change feed for all edges: the newest position with its age, and a ring of encoded events that
//! streams follow as cursors.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, broadcast, watch};

use super::instances::Instances;
use super::publish::Fleet;
use crate::control::changes::outage::log_failure;
use crate::control::error::ControlError;
use crate::fleet::position::{FleetIdentity, Position};
use crate::fleet::protocol::ChangeEvent;

/// Events that a stream may fall behind before it ends and resumes from the store.
const RING_EVENTS: usize = 4_096;

/// How often the store is asked for the newest position, so that the answer's age stays small.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// How often enrolled edges are read again where no change says so.
const EDGES_EVERY: Duration = Duration::from_secs(5);

/// How old a snapshot may be that is served again. The edge follows the changes after it.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(10);

const NEWEST_UNKNOWN: &str = "the newest policy version could not be read; no edge is renewed";

/// The newest position as edges name it, and when the store was asked for it, on this machine's clock since boot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newest {
    pub position: Position,
    pub asked: Duration,
}

/// A server-sent event with the position that it leads to.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    pub position: Position,
    pub text: Arc<str>,
}

impl Encoded {
    pub(crate) fn of(event: &ChangeEvent) -> Result<Self, ControlError> {
        let json = serde_json::to_string(event).map_err(|_| ControlError::Crypto("writing a change"))?;
        let position = event.position;
        Ok(Self {
            position,
            text: format!("event: changes\nid: {position}\ndata: {json}\n\n").into(),
        })
    }
}

/// A snapshot as edges fetch it: gzip of the JSON text.
#[derive(Clone)]
pub(crate) struct PackedSnapshot {
    pub position: Position,
    pub bytes: bytes::Bytes,
    made: Duration,
}

/// What all edges of one control plane are served from.
pub struct Hub {
    fleet: Arc<Fleet>,
    pub(crate) instances: Arc<Instances>,
    identity: FleetIdentity,
    newest: watch::Sender<Option<Newest>>,
    events: broadcast::Sender<Encoded>,
    snapshot: Mutex<Option<PackedSnapshot>>,
    downloads: Semaphore,
}

impl Hub {
    pub(crate) fn new(fleet: Arc<Fleet>, instances: Arc<Instances>, downloads: usize) -> Self {
        let identity = FleetIdentity::of(&fleet.identity.issuer, &fleet.identity.audience);
        Self {
            fleet,
            instances,
            identity,
            newest: watch::Sender::new(None),
            events: broadcast::Sender::new(RING_EVENTS),
            snapshot: Mutex::default(),
            downloads: Semaphore::new(downloads),
        }
    }

    /// What the changes after a position are, at most 256 versions of them; positions are those that edges name. None
    /// where the feed does not lead on from there: a snapshot does.
    ///
    /// # Errors
    /// [`ControlError::Store`].
    pub(crate) async fn changes_after(
        &self,
        position: Position,
    ) -> Result<Option<Vec<ChangeEvent>>, ControlError> {
        let stored = position.bound_to(self.identity);
        let events = self.fleet.changes_after(stored).await?;
        Ok(events.map(|events| {
            let bound = events.into_iter().map(|event| ChangeEvent {
                position: event.position.bound_to(self.identity),
                ..event
            });
            bound.collect()
        }))
    }

    /// Follows the store and never ends.
    pub(crate) async fn run(&self) {
        let mut versions = self.fleet.changes.versions.subscribe();
        let mut at: Option<Position> = None;
        let mut edges_read = None;
        loop {
            let clock = &self.fleet.changes.clock;
            let asked = clock.uptime();
            let is_due = edges_read.is_none_or(|read| asked.saturating_sub(read) >= EDGES_EVERY);
            let step = async {
                let stored = self.fleet.store.read().await?.policy_position().await?;
                let position = stored.bound_to(self.identity);
                if is_due || at != Some(position) {
                    self.instances.read_edges().await?;
                    edges_read = Some(asked);
                }
                if at.is_some_and(|at| at.version < position.version) {
                    self.instances.note_committed(position.version);
                }
                // Before the events: an edge that has installed one asks at once whether it is the newest.
                self.newest.send_replace(Some(Newest { position, asked }));
                self.send_events(&mut at, position).await
            };
            if let Err(error) = step.await {
                log_failure(&error, NEWEST_UNKNOWN);
            }
            self.instances.keep().await;
            let _ = tokio::time::timeout(POLL_EVERY, versions.changed()).await;
        }
    }

    /// Puts what came after `at` into the ring, up to `newest`. The first time, and where the feed does not lead on from
    /// there, nothing: streams notice that they are behind, and read the store.
    async fn send_events(&self, at: &mut Option<Position>, newest: Position) -> Result<(), ControlError> {
        while let Some(position) = *at
            && position.version < newest.version
        {
            let events = self.changes_after(position).await?.unwrap_or_default();
            if events.is_empty() {
                break;
            }
            for event in &events {
                // Nobody may be listening.
                let _ = self.events.send(Encoded::of(event)?);
                *at = Some(event.position);
            }
        }
        *at = Some(newest);
        Ok(())
    }

    /// The newest position known; none before the store was read.
    pub(crate) fn newest(&self) -> Option<Newest> {
        *self.newest.borrow()
    }

    /// Events from now on.
    pub(crate) fn events(&self) -> broadcast::Receiver<Encoded> {
        self.events.subscribe()
    }

    /// A snapshot that the feed leads on from, unless too many edges fetch one at once.
    ///
    /// # Errors
    /// [`ControlError::Busy`], [`ControlError::Store`].
    pub(crate) async fn snapshot(&self) -> Result<PackedSnapshot, ControlError> {
        let _place = self.downloads.try_acquire().map_err(|_| ControlError::Busy)?;
        let mut kept = self.snapshot.lock().await;
        let now = self.fleet.changes.clock.uptime();
        if let Some(packed) = &*kept
            && now.saturating_sub(packed.made) < SNAPSHOT_EVERY
            && self.changes_after(packed.position).await?.is_some()
        {
            return Ok(packed.clone());
        }
        let (position, snapshot) = self.fleet.positioned_snapshot().await?;
        let packed = tokio::task::spawn_blocking(move || pack(&snapshot)).await;
        let bytes = packed.map_err(|_| ControlError::Crypto("writing a snapshot"))??;
        let packed = PackedSnapshot {
            position: position.bound_to(self.identity),
            bytes: bytes.into(),
            made: now,
        };
        *kept = Some(packed.clone());
        Ok(packed)
    }
}

fn pack(snapshot: &crate::snapshot::Snapshot) -> Result<Vec<u8>, ControlError> {
    let failed = |_| ControlError::Crypto("writing a snapshot");
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    serde_json::to_writer(&mut packer, snapshot).map_err(|_| ControlError::Crypto("writing a snapshot"))?;
    packer.finish().map_err(failed)
}
