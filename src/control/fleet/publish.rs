//! Publishes the policy to gateways: a snapshot, then every change in the order of versions.
//!
//! A change is complete when it is in force: [`Changes::commit`](crate::control::changes::Changes::commit) waits
//! until the gateway confirms the version, and returns an error if it does not.

use super::stored_policy::policy_in;
use crate::store::Store;
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::FusedFuture as _;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use crate::control::changes::Changes;
use crate::control::changes::outage::log_failure;
use crate::control::error::ControlError;
use crate::control::sources::traffic::TrafficCounts;
use crate::domain::issue::IssuerIdentity;
use crate::domain::time::UnixSeconds;
use crate::feed::{FeedClosed, Publisher};
use crate::fleet::position::Position;
use crate::fleet::protocol::ChangeEvent;
use crate::snapshot;
use crate::snapshot::{Change, Snapshot, Update};

/// How often gateways are sent a confirmation if nothing has changed.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// How often the store is polled for changes that were committed but not announced, and the shortest time between two
/// snapshots.
const POLL: Duration = Duration::from_secs(1);

/// How long a gateway that ends may take for its last report.
const LAST_REPORT_WITHIN: Duration = Duration::from_secs(1);

/// How long storing the last reports may take: longer than the store waits for a lock.
const STORED_WITHIN: Duration = Duration::from_secs(10);

/// Versions read from the feed at once.
const FEED_ROWS: u32 = 256;

const VERSION_NOT_READ: &str = "policy version could not be read; retrying";
const POLICY_NOT_READ: &str = "policy could not be read; retrying";
const GATEWAY_ENDED: &str = "gateway ended; the feed stops";
const REPORTS_LOST: &str = "last traffic counts of a gateway could not be stored in time";
const SENDING_SNAPSHOT: &str = "sending a snapshot to the gateway";

/// Feeds gateways with snapshots and changes.
pub struct Fleet {
    pub(crate) identity: Arc<IssuerIdentity>,
    pub(crate) store: Arc<Store>,
    pub(crate) changes: Arc<Changes>,
}

impl Fleet {
    /// Watches the store for changes that other control planes make. Never returns.
    pub(crate) async fn watch_store(&self) {
        let mut notifications = self.store.notifications();
        loop {
            match notifications.next().await {
                Some(version) => self.changes.announce(version),
                // Notifications may have been missed.
                None => match self.changes.newest_version().await {
                    Ok(version) => self.changes.announce(version),
                    Err(error) => log_failure(&error, VERSION_NOT_READ),
                },
            }
        }
    }

    /// A snapshot: everything gateways must know, as of one version.
    ///
    /// # Errors
    /// [`ControlError::Store`].
    pub async fn snapshot(&self) -> Result<Snapshot, ControlError> {
        Ok(self.positioned_snapshot().await?.1)
    }

    /// The same with the position that it leads to.
    pub(crate) async fn positioned_snapshot(&self) -> Result<(Position, Snapshot), ControlError> {
        // The time is read first: the snapshot is at least as recent as it says.
        let issued_at = self.changes.now();
        let mut tx = self.store.read().await?;
        Ok(policy_in(&mut tx, &self.identity, issued_at).await?)
    }

    /// What the changes after a position are, at most 256 versions of them. None where the feed does not lead on from
    /// there: a snapshot does.
    ///
    /// # Errors
    /// [`ControlError::Store`].
    pub(crate) async fn changes_after(
        &self,
        position: Position,
    ) -> Result<Option<Vec<ChangeEvent>>, ControlError> {
        let Some(entries) = self.store.changes_after(position, FEED_ROWS).await? else {
            return Ok(None);
        };
        let mut events = Vec::with_capacity(entries.len());
        for entry in entries {
            let Ok(mut changes) = serde_json::from_str::<Vec<Change>>(&entry.body) else {
                return Ok(None);
            };
            for change in &mut changes {
                if let Change::PutIssuer(issuer) = change {
                    // Keys are added and ended beside this process, too; what it is called is its own to say, as
                    // it does in a snapshot.
                    self.identity.issuer.clone_into(&mut issuer.issuer);
                    issuer.audience.clone_from(&self.identity.audience);
                }
            }
            let UnixSeconds(issued_at) = entry.at;
            events.push(ChangeEvent {
                position: Position {
                    version: entry.version,
                    chain: entry.chain,
                },
                changes: snapshot::Changes {
                    version: entry.version,
                    issued_at,
                    changes,
                },
            });
        }
        Ok(Some(events))
    }
}

/// Feeds one gateway until `shutdown` or until the gateway ends. Changes made meanwhile wait for it.
pub async fn run(
    fleet: Arc<Fleet>,
    traffic: Arc<TrafficCounts>,
    publisher: Publisher,
    shutdown: impl Future<Output = ()> + Send,
) {
    attach(&fleet, Some(publisher.clone()));
    let (ended, feed_ended) = oneshot::channel::<()>();
    let deadline = async {
        let _ = feed_ended.await;
        tokio::time::sleep(LAST_REPORT_WITHIN).await;
    };
    // Not dropped when the feed ends: a report that is being stored would be lost.
    let mut reports = pin!(traffic.take_reports(publisher.clone(), deadline).fuse());
    tokio::select! {
        FeedClosed = feed(&fleet, &publisher) => tracing::info!("{GATEWAY_ENDED}"),
        () = &mut reports => {}
        () = shutdown => {}
    }
    // A gateway that ends reports once more.
    drop(ended);
    if !reports.is_terminated() && tokio::time::timeout(STORED_WITHIN, reports).await.is_err() {
        tracing::warn!("{REPORTS_LOST}");
    }
    attach(&fleet, None);
}

fn attach(fleet: &Fleet, publisher: Option<Publisher>) {
    *fleet
        .changes
        .publisher
        .write()
        .unwrap_or_else(PoisonError::into_inner) = publisher;
}

/// Feeds one gateway until it ends.
async fn feed(fleet: &Fleet, publisher: &Publisher) -> FeedClosed {
    let mut newest = fleet.changes.versions.subscribe();
    let mut heartbeat = ticks(HEARTBEAT);
    let mut poll = ticks(POLL);
    // A gateway that rejects a snapshot requests another one at once, repeatedly. The first tick is immediate.
    let mut snapshots = interval(POLL);
    snapshots.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The position that the gateway was last sent; `None` before its first snapshot.
    let mut sent = None;
    loop {
        let mut confirm = false;
        let step = match sent {
            None => {
                snapshots.tick().await;
                send_snapshot(fleet, publisher).await
            }
            Some(position) => {
                tokio::select! {
                    // The control plane holds the sender, so this never ends.
                    _ = newest.changed() => {}
                    () = publisher.snapshot_wanted() => { sent = None; continue; }
                    _ = heartbeat.tick() => confirm = true,
                    _ = poll.tick() => {}
                }
                send_changes(fleet, publisher, position, confirm).await
            }
        };
        match step {
            Ok(position) => sent = position,
            Err(Stopped::Closed(closed)) => return closed,
            Err(Stopped::Store(error)) => {
                log_failure(&error, POLICY_NOT_READ);
                poll.tick().await;
            }
        }
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    // The first tick comes after one period.
    ticks.reset();
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Why a step of the feed failed.
enum Stopped {
    Closed(FeedClosed),
    Store(ControlError),
}

impl From<FeedClosed> for Stopped {
    fn from(closed: FeedClosed) -> Self {
        Self::Closed(closed)
    }
}

/// Sends a snapshot. Returns its position.
async fn send_snapshot(fleet: &Fleet, publisher: &Publisher) -> Result<Option<Position>, Stopped> {
    let (position, snapshot) = fleet.positioned_snapshot().await.map_err(Stopped::Store)?;
    tracing::info!(policy.version = position.version, "{SENDING_SNAPSHOT}");
    publisher.publish(Update::Snapshot(Box::new(snapshot))).await?;
    Ok(Some(position))
}

/// Sends the changes after `position`, then, with `confirm`, a confirmation that there are no more. Returns the
/// position sent last, or `None` if the feed does not lead on from there and a snapshot is needed.
async fn send_changes(
    fleet: &Fleet,
    publisher: &Publisher,
    mut position: Position,
    confirm: bool,
) -> Result<Option<Position>, Stopped> {
    loop {
        // Read before the store is: what is confirmed was true then.
        let at = fleet.changes.now();
        let Some(events) = fleet.changes_after(position).await.map_err(Stopped::Store)? else {
            return Ok(None);
        };
        if events.is_empty() {
            if confirm {
                let version = position.version;
                publisher.publish(Update::Confirmed { version, at: at.0 }).await?;
            }
            return Ok(Some(position));
        }
        for event in events {
            publisher.publish(Update::Changes(event.changes)).await?;
            position = event.position;
        }
    }
}
