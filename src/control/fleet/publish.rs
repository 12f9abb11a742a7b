//! From the store to the gateways: a snapshot, then every change in the order of versions.
//!
//! A change counts as made when it is in force: [`Control::commit`] waits until the gateway says that it has
//! installed the version, and says so honestly where it does not.

use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::FusedFuture as _;
use tokio::time::{MissedTickBehavior, interval};

use crate::control::actor::Actor;
use crate::control::audit_event::Event;
use crate::control::error::ControlError;
use crate::control::plane::Control;
use crate::control::sources::traffic;
use crate::domain::time::UnixSeconds;
use crate::feed::{FeedClosed, Publisher};
use crate::snapshot::{
    Change, Changes, FORMAT, RevocationRecord, Snapshot, SourceRecord, Update, WorkspaceRecord,
};
use crate::store::WriteTx;

/// How long a change may take to be in force at the bundled gateway before its caller is told so.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(5);

/// How often gateways are told that nothing has changed.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// How often the store is looked at for changes whose maker was cut off before it could say so, and the shortest time
/// between two snapshots.
const POLL: Duration = Duration::from_secs(1);

/// How long a gateway that ends may take to report once more.
const LAST_REPORT_WITHIN: Duration = Duration::from_secs(1);

/// Versions read from the feed at once.
const FEED_ROWS: u32 = 256;

impl Control {
    /// Makes a change durable, together with the event that tells of it, and waits until the bundled gateway,
    /// if there is one, has it in force.
    pub(crate) async fn commit(
        &self,
        mut tx: WriteTx,
        actor: &Actor,
        changes: &[Change],
        event: Event,
    ) -> Result<(), ControlError> {
        self.note_retry(&mut tx, actor, event.made_id()).await?;
        self.append_audit(&mut tx, actor, event).await?;
        let body = serde_json::to_string(changes).map_err(|_| ControlError::Crypto("writing a change"))?;
        let version = tx.commit(&body, self.now()).await?;
        self.announce(version);
        self.in_force(version).await
    }

    /// Waits until the newest version is in force, whoever made it.
    pub(crate) async fn newest_in_force(&self) -> Result<(), ControlError> {
        let version = *self.versions.borrow();
        self.in_force(version).await
    }

    async fn in_force(&self, version: u64) -> Result<(), ControlError> {
        let publisher = self
            .publisher
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match publisher {
            Some(publisher) if !publisher.is_installed(version, IN_FORCE_WITHIN).await => {
                tracing::warn!(
                    policy.version = version,
                    "the gateway did not install a change in time"
                );
                Err(ControlError::NotYetInForce { version })
            }
            _ => Ok(()),
        }
    }

    /// Wakes whoever feeds gateways, where `version` is news.
    pub(crate) fn announce(&self, version: u64) {
        self.versions.send_if_modified(|newest| {
            let news = version > *newest;
            *newest = version.max(*newest);
            news
        });
    }

    /// Hears of the changes that other control planes make on the same store, and never ends.
    pub(crate) async fn hear(&self) {
        let mut notices = self.store.notices();
        loop {
            match notices.next().await {
                Some(version) => self.announce(version),
                // Some may have been missed.
                None => match self.newest_version().await {
                    Ok(version) => self.announce(version),
                    Err(error) => tracing::warn!(%error, "the policy version could not be read"),
                },
            }
        }
    }

    pub(crate) async fn newest_version(&self) -> Result<u64, ControlError> {
        Ok(self.store.read().await?.policy_version().await?)
    }

    /// Everything gateways must know, as of one version.
    ///
    /// # Errors
    /// [`ControlError::Store`].
    pub async fn snapshot(&self) -> Result<Snapshot, ControlError> {
        // The moment is taken first: the snapshot is at least as young as it says.
        let issued_at = self.now();
        let mut tx = self.store.read().await?;
        let version = tx.policy_version().await?;
        let issuer = self.issuer_in(&mut tx, issued_at).await?;
        let apps = tx.policy_apps().await?;
        let sources = tx.policy_sources().await?;
        let revocations = tx.policy_revocations(issued_at).await?;
        Ok(Snapshot {
            format: FORMAT,
            version,
            issued_at: issued_at.0,
            issuer: Some(issuer),
            apps: apps.into_iter().map(|app| self.policy_app(app)).collect(),
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
pub async fn run(control: Arc<Control>, publisher: Publisher, shutdown: impl Future<Output = ()> + Send) {
    attach(&control, Some(publisher.clone()));
    // Not dropped when the feed ends: a report that is being written down would be lost.
    let mut reports = pin!(traffic::take_reports(Arc::clone(&control), publisher.clone()).fuse());
    tokio::select! {
        FeedClosed = feed(&control, &publisher) => tracing::info!("the gateway has ended; it is told nothing more"),
        () = &mut reports => {}
        () = shutdown => {}
    }
    // A gateway that ends reports once more.
    if !reports.is_terminated() {
        let _ = tokio::time::timeout(LAST_REPORT_WITHIN, reports).await;
    }
    attach(&control, None);
}

fn attach(control: &Control, publisher: Option<Publisher>) {
    *control.publisher.write().unwrap_or_else(PoisonError::into_inner) = publisher;
}

/// Feeds one gateway for as long as it listens.
async fn feed(control: &Control, publisher: &Publisher) -> FeedClosed {
    let mut newest = control.versions.subscribe();
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
                send_snapshot(control, publisher).await
            }
            Some(version) => {
                tokio::select! {
                    // The control plane holds the sender, so this never ends.
                    _ = newest.changed() => {}
                    () = publisher.snapshot_wanted() => { sent = None; continue; }
                    _ = heartbeat.tick() => confirm = true,
                    _ = poll.tick() => {}
                }
                send_changes(control, publisher, version, confirm).await
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
async fn send_snapshot(control: &Control, publisher: &Publisher) -> Result<Option<u64>, Stopped> {
    let snapshot = control.snapshot().await.map_err(Stopped::Store)?;
    let version = snapshot.version;
    tracing::info!(policy.version = version, "sending the gateway a snapshot");
    publisher.publish(Update::Snapshot(Box::new(snapshot))).await?;
    Ok(Some(version))
}

/// Sends what came after `version`, then, if asked to, that this is all. Answers the version sent last, or
/// none when the feed no longer reaches back so far and a snapshot is needed.
async fn send_changes(
    control: &Control,
    publisher: &Publisher,
    mut version: u64,
    confirm: bool,
) -> Result<Option<u64>, Stopped> {
    loop {
        // Taken before the store is read: what is confirmed was true then.
        let at = control.now();
        let entries = control.store.feed_after(version, FEED_ROWS).await;
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
                    control.issuer().clone_into(&mut issuer.issuer);
                    issuer.audience.clone_from(&control.identity.audience);
                }
            }
            let UnixSeconds(issued_at) = entry.at;
            publisher
                .publish(Update::Changes(Changes {
                    version: entry.version,
                    issued_at,
                    changes,
                }))
                .await?;
            version = entry.version;
        }
    }
}
