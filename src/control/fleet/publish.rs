//! From the store to the gateways: a snapshot, then every change in the order of versions.
//!
//! A change counts as made when it is in force: [`Control::commit`] waits until the gateway says that it has
//! installed the version, and says so honestly where it does not.

use crate::control::apps::app::Apps;
use crate::control::signing_keys::key_ring::IssuerKeys;
use crate::store::Store;
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::FusedFuture as _;
use tokio::time::{MissedTickBehavior, interval};

use crate::control::changes::Changes;
use crate::control::error::ControlError;
use crate::control::sources::traffic::TrafficCounts;
use crate::domain::issue::IssuerIdentity;
use crate::domain::time::UnixSeconds;
use crate::feed::{FeedClosed, Publisher};
use crate::snapshot;
use crate::snapshot::{Change, FORMAT, RevocationRecord, Snapshot, SourceRecord, Update, WorkspaceRecord};

/// How often gateways are told that nothing has changed.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// How often the store is looked at for changes whose maker was cut off before it could say so, and the shortest time
/// between two snapshots.
const POLL: Duration = Duration::from_secs(1);

/// How long a gateway that ends may take to report once more.
const LAST_REPORT_WITHIN: Duration = Duration::from_secs(1);

/// Versions read from the feed at once.
const FEED_ROWS: u32 = 256;

/// Feeds gateways: snapshots and changes.
pub struct Fleet {
    pub(crate) identity: Arc<IssuerIdentity>,
    pub(crate) store: Arc<Store>,
    pub(crate) apps: Arc<Apps>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) issuer_keys: Arc<IssuerKeys>,
}

impl Fleet {
    /// Hears of the changes that other control planes make on the same store, and never ends.
    pub(crate) async fn watch_store(&self) {
        let mut notices = self.store.notices();
        loop {
            match notices.next().await {
                Some(version) => self.changes.announce(version),
                // Some may have been missed.
                None => match self.changes.newest_version().await {
                    Ok(version) => self.changes.announce(version),
                    Err(error) => tracing::warn!(%error, "the policy version could not be read"),
                },
            }
        }
    }

    /// Everything gateways must know, as of one version.
    ///
    /// # Errors
    /// [`ControlError::Store`].
    pub async fn snapshot(&self) -> Result<Snapshot, ControlError> {
        // The moment is taken first: the snapshot is at least as young as it says.
        let issued_at = self.changes.now();
        let mut tx = self.store.read().await?;
        let version = tx.policy_version().await?;
        let issuer = self.issuer_keys.issuer_in(&mut tx).await?;
        let apps = tx.policy_apps().await?;
        let sources = tx.policy_sources().await?;
        let revocations = tx.policy_revocations().await?;
        Ok(Snapshot {
            format: FORMAT,
            version,
            issued_at: issued_at.0,
            issuer: Some(issuer),
            apps: apps.into_iter().map(|app| self.apps.policy_app(app)).collect(),
            workspaces: tx
                .ended_workspaces()
                .await?
                .into_iter()
                .map(|(id, not_issued_before)| WorkspaceRecord {
                    id,
                    not_issued_before,
                })
                .collect(),
            sources: sources
                .into_iter()
                .map(|source| SourceRecord {
                    id: source.id,
                    workspace: source.workspace,
                    write_key_digest: source.write_key_digest,
                    enforcement: source.enforcement,
                    app: source.app,
                })
                .collect(),
            revocations: revocations
                .into_iter()
                .map(|revoked| RevocationRecord {
                    issuer: revoked.issuer,
                    token_id: revoked.token_id,
                    expires_at: revoked.expires_at,
                })
                .collect(),
        })
    }
}

/// Feeds one gateway until `shutdown` or until the gateway has ended. Changes made meanwhile wait for it.
pub async fn run(
    fleet: Arc<Fleet>,
    traffic: Arc<TrafficCounts>,
    publisher: Publisher,
    shutdown: impl Future<Output = ()> + Send,
) {
    attach(&fleet, Some(publisher.clone()));
    // Not dropped when the feed ends: a report that is being written down would be lost.
    let mut reports = pin!(traffic.take_reports(publisher.clone()).fuse());
    tokio::select! {
        FeedClosed = feed(&fleet, &publisher) => tracing::info!("the gateway has ended; it is told nothing more"),
        () = &mut reports => {}
        () = shutdown => {}
    }
    // A gateway that ends reports once more.
    if !reports.is_terminated() {
        let _ = tokio::time::timeout(LAST_REPORT_WITHIN, reports).await;
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

/// Feeds one gateway for as long as it listens.
async fn feed(fleet: &Fleet, publisher: &Publisher) -> FeedClosed {
    let mut newest = fleet.changes.versions.subscribe();
    let mut heartbeat = ticks(HEARTBEAT);
    let mut poll = ticks(POLL);
    // A gateway that cannot take a snapshot asks for another one at once, and again. The first tick is now.
    let mut snapshots = interval(POLL);
    snapshots.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The version that the gateway was last told of; none before its first snapshot.
    let mut sent = None;
    loop {
        let mut confirm = false;
        let step = match sent {
            None => {
                snapshots.tick().await;
                send_snapshot(fleet, publisher).await
            }
            Some(version) => {
                tokio::select! {
                    // The control plane holds the sender, so this never ends.
                    _ = newest.changed() => {}
                    () = publisher.snapshot_wanted() => { sent = None; continue; }
                    _ = heartbeat.tick() => confirm = true,
                    _ = poll.tick() => {}
                }
                send_changes(fleet, publisher, version, confirm).await
            }
        };
        match step {
            Ok(version) => sent = version,
            Err(Stopped::Closed(closed)) => return closed,
            Err(Stopped::Store(error)) => {
                tracing::error!(%error, "the policy could not be read; trying again");
                poll.tick().await;
            }
        }
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    // The first tick is a whole period away.
    ticks.reset();
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Why a step of the feed was not made.
enum Stopped {
    Closed(FeedClosed),
    Store(ControlError),
}

impl From<FeedClosed> for Stopped {
    fn from(closed: FeedClosed) -> Self {
        Self::Closed(closed)
    }
}

/// Sends everything. Answers the version sent.
async fn send_snapshot(fleet: &Fleet, publisher: &Publisher) -> Result<Option<u64>, Stopped> {
    let snapshot = fleet.snapshot().await.map_err(Stopped::Store)?;
    let version = snapshot.version;
    tracing::info!(policy.version = version, "sending the gateway a snapshot");
    publisher.publish(Update::Snapshot(Box::new(snapshot))).await?;
    Ok(Some(version))
}

/// Sends what came after `version`, then, if asked to, that this is all. Answers the version sent last, or
/// none when the feed no longer reaches back so far and a snapshot is needed.
async fn send_changes(
    fleet: &Fleet,
    publisher: &Publisher,
    mut version: u64,
    confirm: bool,
) -> Result<Option<u64>, Stopped> {
    loop {
        // Taken before the store is read: what is confirmed was true then.
        let at = fleet.changes.now();
        let entries = fleet.store.feed_after(version, FEED_ROWS).await;
        let entries = entries.map_err(|error| Stopped::Store(error.into()))?;
        if entries.is_empty() {
            if confirm {
                publisher.publish(Update::Confirmed { version, at: at.0 }).await?;
            }
            return Ok(Some(version));
        }
        for entry in entries {
            let changes: Result<Vec<Change>, _> = serde_json::from_str(&entry.body);
            let (true, Ok(mut changes)) = (entry.version == version + 1, changes) else {
                return Ok(None);
            };
            for change in &mut changes {
                if let Change::PutIssuer(issuer) = change {
                    // Keys are added and ended beside this process, too; what it is called is its own to say, as
                    // it does in a snapshot.
                    fleet.identity.issuer.clone_into(&mut issuer.issuer);
                    issuer.audience.clone_from(&fleet.identity.audience);
                }
            }
            let UnixSeconds(issued_at) = entry.at;
            publisher
                .publish(Update::Changes(snapshot::Changes {
                    version: entry.version,
                    issued_at,
                    changes,
                }))
                .await?;
            version = entry.version;
        }
    }
}
