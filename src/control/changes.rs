//! The one way to write: a change begins for an actor whose credential is checked again, or for the server with a
//! reason. It commits together with its audit event, and returns when it is in force at the bundled gateway.

pub(crate) mod outage;

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use prometheus::{IntCounterVec, Opts};
use tokio::sync::watch;

use self::outage::Outage;
use super::actor::{Actor, Who};
use super::audit_event::Event;
use super::error::ControlError;
use super::fair_queue;
use super::fair_queue::{Lane, Turns};
use super::ids::Ids;
use super::limiter::Wait;
use super::rate_limits::Limits;
use crate::clock::Clock;
use crate::clock::guard::ClockWatch;
use crate::domain::time::UnixSeconds;
use crate::feed::Publisher;
use crate::model::audit::AuditRow;
use crate::snapshot::Change;
use crate::store::{AuditTx, ReadTx, Store, StoreError, WriteTx};

/// How long a change waits to be in force at the bundled gateway before the caller gets an error.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(5);

/// The most changes that wait for their turn: in all, of one workspace, of one person.
const CHANGES_WAITING: &[usize] = &[512, 256, 128];

const NOT_IN_FORCE: &str = "change committed but not in force at the gateway in time";

tokio::task_local! {
    /// The version that the request in progress committed last.
    static COMMITTED: Cell<Option<u64>>;
}

/// Runs what handles a request. Answers the policy version that it committed last, too, if it changed anything.
pub(crate) async fn noting_version<R>(request: impl Future<Output = R>) -> (R, Option<u64>) {
    COMMITTED
        .scope(Cell::new(None), async {
            let answer = request.await;
            (answer, COMMITTED.with(Cell::get))
        })
        .await
}

/// A change that is not committed yet, with its author. Dropping it without [`Changes::commit`] rolls it back.
pub(crate) struct ChangeTx {
    tx: WriteTx,
    author: Actor,
}

/// A write by a request that authenticates while it is handled: a sign-on, an invitation, a new password. It becomes
/// a change when [`UnprovedTx::proved`] sets its author.
pub(crate) struct UnprovedTx(WriteTx);

impl UnprovedTx {
    /// The change, once its author is authenticated.
    pub(crate) fn proved(self, author: Actor) -> ChangeTx {
        ChangeTx { tx: self.0, author }
    }
}

impl Deref for UnprovedTx {
    type Target = WriteTx;

    fn deref(&self) -> &WriteTx {
        &self.0
    }
}

impl DerefMut for UnprovedTx {
    fn deref_mut(&mut self) -> &mut WriteTx {
        &mut self.0
    }
}

impl Deref for ChangeTx {
    type Target = WriteTx;

    fn deref(&self) -> &WriteTx {
        &self.tx
    }
}

impl DerefMut for ChangeTx {
    fn deref_mut(&mut self) -> &mut WriteTx {
        &mut self.tx
    }
}

/// The one way to write: begins a change for an actor, appends its audit event, commits, and waits until it is in
/// force.
pub struct Changes {
    /// The trusted time.
    pub(crate) watch: ClockWatch,
    pub(crate) changing: Turns,
    pub(crate) clock: Clock,
    pub(crate) ids: Arc<Ids>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) publisher: RwLock<Option<Publisher>>,
    pub(crate) store: Arc<Store>,
    pub(crate) store_failures: IntCounterVec,
    pub(crate) outage: Outage,
    pub(crate) versions: watch::Sender<u64>,
}

impl Changes {
    /// Changes to `store`, whose newest policy version is `version`.
    ///
    /// # Errors
    /// A metric's name is malformed.
    pub(crate) fn new(
        store: Arc<Store>,
        ids: Arc<Ids>,
        limits: Arc<Limits>,
        clock: Clock,
        mark: UnixSeconds,
        (version, location): (u64, String),
    ) -> Result<Self, prometheus::Error> {
        Ok(Self {
            watch: ClockWatch::new("control", clock.clone(), mark)?,
            clock,
            ids,
            limits,
            changing: Turns::new(1, &[], CHANGES_WAITING),
            store,
            store_failures: IntCounterVec::new(
                Opts::new(
                    "portcullis_store_failures_total",
                    "Requests and background work of the control plane that the store failed, by kind.",
                ),
                &["kind"],
            )?,
            outage: Outage::none(location),
            versions: watch::Sender::new(version),
            publisher: RwLock::new(None),
        })
    }

    /// Commits a change with its audit event, and waits until it is in force at the bundled gateway, if there is one.
    pub(crate) async fn commit(
        &self,
        change: ChangeTx,
        changes: &[Change],
        event: Event,
    ) -> Result<(), ControlError> {
        let ChangeTx { mut tx, author } = change;
        self.remember_created(&mut tx, &author, event.created_id())
            .await?;
        self.append_audit(&mut tx, &author, event).await?;
        let body = serde_json::to_string(changes).map_err(|_| ControlError::Crypto("writing a change"))?;
        let version = tx.commit(&body, self.now()).await?;
        // Outside a request nobody asks.
        let _ = COMMITTED.try_with(|committed| committed.set(Some(version)));
        self.announce(version);
        self.in_force(version).await
    }

    /// Waits until the newest version is in force.
    pub(crate) async fn newest_in_force(&self) -> Result<(), ControlError> {
        let version = *self.versions.borrow();
        self.in_force(version).await
    }

    /// The way to the bundled gateway, where there is one.
    pub(crate) fn bundled(&self) -> Option<Publisher> {
        self.publisher
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn in_force(&self, version: u64) -> Result<(), ControlError> {
        match self.bundled() {
            Some(publisher) if !publisher.is_installed(version, IN_FORCE_WITHIN).await => {
                tracing::warn!(policy.version = version, "{NOT_IN_FORCE}");
                Err(ControlError::NotYetInForce { version })
            }
            _ => Ok(()),
        }
    }

    /// Wakes the tasks that feed gateways if `version` is new.
    pub(crate) fn announce(&self, version: u64) {
        self.versions.send_if_modified(|newest| {
            let news = version > *newest;
            *newest = version.max(*newest);
            news
        });
    }

    pub(crate) async fn newest_version(&self) -> Result<u64, ControlError> {
        Ok(self.store.read().await?.policy_version().await?)
    }

    pub(crate) fn count_store_failure(&self, kind: &str) {
        self.store_failures.with_label_values(&[kind]).inc();
    }

    /// Logs and counts a store failure of a background task.
    pub(crate) fn background_failure(&self, error: &StoreError, what: &'static str) {
        match error.is_outage() {
            true => tracing::debug!(%error, "{what}"),
            false => tracing::warn!(%error, "{what}"),
        }
        if let Some(kind) = error.failure() {
            self.count_store_failure(kind);
        }
    }

    pub(crate) fn now(&self) -> UnixSeconds {
        self.clock.now()
    }

    /// Appends the event to the trail in the transaction of its change.
    pub(crate) async fn append_audit(
        &self,
        tx: &mut WriteTx,
        actor: &Actor,
        event: Event,
    ) -> Result<(), ControlError> {
        let row = self.audit_row(actor, event);
        Ok(tx.append_audit(&row).await?)
    }

    /// The event as a row of the trail, with the current time.
    pub(crate) fn audit_row(&self, actor: &Actor, event: Event) -> AuditRow {
        event.into_row(&self.ids, self.now(), actor)
    }

    /// Begins a change for an actor, when it is their turn. Members and apps wait in fair queues by workspace and
    /// person, so that nobody's changes wait for all the changes of another. The credential is checked again: a
    /// request's body may take half a minute to arrive, and the credential may have been revoked since it was read.
    ///
    /// # Errors
    /// [`ControlError::Unauthenticated`] if the membership or the credential is no longer valid,
    /// [`ControlError::RolesChanged`] if the member's grants differ from those that were checked,
    /// [`ControlError::TooMany`] if the actor is over the rate limit of changes.
    pub(crate) async fn begin(&self, actor: &Actor) -> Result<ChangeTx, ControlError> {
        let path = match &actor.who {
            Who::Member(member) => {
                self.limits.change_by_member(member, actor.from)?;
                Some(vec![
                    fair_queue::name(member.workspace.as_str()),
                    fair_queue::name(member.account.as_str()),
                ])
            }
            Who::App(app) => {
                self.limits.change_by_app(app)?;
                Some(vec![fair_queue::name(app.as_str())])
            }
            Who::System(_) => None,
        };
        let turn = match path {
            None => None,
            Some(path) => {
                let turn = self.changing.take(Lane::Open, path).await;
                Some(turn.map_err(|_| ControlError::TooMany(Wait::SHORTEST))?)
            }
        };
        let mut tx = self.store.write().await?;
        // The next change waits for this one in the store. No others wait behind the two.
        drop(turn);
        self.check_credential(&mut tx, actor).await?;
        Ok(ChangeTx {
            tx,
            author: actor.clone(),
        })
    }

    /// Begins audit events that are no change of the policy: they take no policy version.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) async fn begin_audit(&self) -> Result<AuditTx, StoreError> {
        self.store.begin_audit().await
    }

    /// Begins a write by a request that has yet to authenticate.
    ///
    /// # Errors
    /// [`ControlError::Store`].
    pub(crate) async fn begin_unproved(&self) -> Result<UnprovedTx, ControlError> {
        Ok(UnprovedTx(self.store.write().await?))
    }

    /// Re-checks that the actor's membership and credential are still valid; for work that outlives one request, such
    /// as exports.
    pub(crate) async fn require_still_valid(&self, actor: &Actor) -> Result<(), ControlError> {
        if actor.by.is_none() {
            return Ok(());
        }
        self.check_credential(&mut self.store.read().await?, actor).await
    }

    async fn check_credential(&self, tx: &mut ReadTx, actor: &Actor) -> Result<(), ControlError> {
        let (Some(member), Some(credential)) = (actor.as_member(), &actor.by) else {
            return Ok(());
        };
        match tx.credential_status(&member.id, credential, self.now()).await? {
            None => Err(ControlError::Unauthenticated),
            Some(revision) if revision != member.revision => Err(ControlError::RolesChanged),
            Some(_) => Ok(()),
        }
    }
}
