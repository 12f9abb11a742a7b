//! Who may be serving: running instances of edges, what each has in force and until when it takes itself for current.
//!
//! An instance is written down before it is first told that its policy is current, and so are the bounds of its lease:
//! a control plane that restarts, or another one on the same store, knows who may still accept by an older policy.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use super::edge_metrics::EdgeMetrics;
use super::instance_state::{EdgesInForce, InstanceState};
use crate::control::changes::Changes;
use crate::control::error::ControlError;
use crate::domain::ids::EdgeId;
use crate::domain::time::UnixSeconds;
use crate::feed::Publisher;
use crate::fleet::account::Account;
use crate::fleet::position::Position;
use crate::model::edge::{Edge, EdgeInstance};
use crate::store::Store;

/// How much later than it must the store says that a lease ends: rows are refreshed in bulk, at least this often.
const ROW_MARGIN: Duration = Duration::from_secs(60);

/// How often rows are refreshed whose instance only renewed its lease.
const REFRESH_EVERY: Duration = Duration::from_secs(30);

/// How long the row of an instance that lapsed is kept, for operators.
const KEPT_S: u64 = 86_400;

/// Instances that one edge may have. Each process of it is one, and counts until its lease is over.
const INSTANCES_OF_EDGE_MAX: usize = 1_000;

/// How often instances of other control planes are looked up while a caller waits.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The longest text that an instance may give for a refusal, in characters.
const REFUSAL_CHARS_MAX: usize = 256;

/// What is held of an instance that is connected to this control plane, or was.
#[derive(Clone)]
struct Held {
    row: EdgeInstance,
    /// By this machine's clock since boot.
    account: Account,
    /// The instance's own `max_age`; the fleet's may be shorter.
    max_age: Duration,
    /// The last report that was taken.
    reported: u64,
    /// When its row was last written, and with which version.
    written: (Duration, u64),
}

impl Held {
    fn state(&self, now: UnixSeconds, uptime: Duration, name: String) -> InstanceState {
        let left = self.account.lapses.saturating_sub(uptime);
        let lapses_at = (!self.row.unbounded).then(|| now.plus(left.as_millis().div_ceil(1_000) as u64));
        let has_lapsed = lapses_at.is_some() && left.is_zero();
        state_of(self.row.clone(), lapses_at, has_lapsed, name)
    }
}

/// What may be left of a lease that another control plane granted, or this one before it was restarted. The row was written
/// with a margin, and may be as old as a refresh.
fn granted_lease(row: &EdgeInstance, now: UnixSeconds, max_age: Duration) -> Duration {
    let written = Duration::from_secs(row.lapses_at.since(now)).saturating_sub(ROW_MARGIN);
    let longest = written + REFRESH_EVERY;
    // Only one that was granted under a longer `max_age` may run for longer than this one.
    if written > max_age {
        longest
    } else {
        longest.min(max_age)
    }
}

fn state_of(
    row: EdgeInstance,
    lapses_at: Option<UnixSeconds>,
    has_lapsed: bool,
    name: String,
) -> InstanceState {
    InstanceState {
        name,
        edge: Some(row.edge),
        instance: row.id,
        build: row.build,
        version: row.version,
        heard_at: row.heard_at,
        lapses_at,
        has_lapsed,
        refused: row.refused,
    }
}

/// The instances of all edges.
pub struct Instances {
    /// This control plane, in the rows of the store.
    own: String,
    /// The fleet's `max_age`, in seconds, as the store had it last.
    max_age_s: AtomicU64,
    held: Mutex<HashMap<String, Held>>,
    /// Names of enrolled edges that are not revoked.
    edges: RwLock<HashMap<EdgeId, Edge>>,
    news: watch::Sender<u64>,
    pub(crate) metrics: EdgeMetrics,
    store: Arc<Store>,
    changes: Arc<Changes>,
}

impl Instances {
    /// # Errors
    /// A metric's name is not allowed.
    pub(crate) fn new(
        own: String,
        max_age: Duration,
        store: Arc<Store>,
        changes: Arc<Changes>,
    ) -> Result<Self, prometheus::Error> {
        Ok(Self {
            metrics: EdgeMetrics::new()?,
            own,
            max_age_s: AtomicU64::new(max_age.as_secs()),
            held: Mutex::default(),
            edges: RwLock::default(),
            news: watch::Sender::new(0),
            store,
            changes,
        })
    }

    /// The fleet's `max_age`: no instance goes without renewal for longer.
    pub(crate) fn max_age(&self) -> Duration {
        Duration::from_secs(self.max_age_s.load(Ordering::Relaxed))
    }

    /// Takes the enrolled edges and the fleet's settings from the store. Instances of an edge that was revoked are served
    /// no more.
    pub(crate) async fn read_edges(&self) -> Result<(), ControlError> {
        let mut tx = self.store.read().await?;
        if let Some(max_age_s) = tx.fleet_settings().await?.max_age_s {
            self.max_age_s.store(max_age_s, Ordering::Relaxed);
        }
        let edges = tx.edges().await?;
        let current = edges.into_iter().filter(|edge| edge.revoked_at.is_none());
        let current: HashMap<EdgeId, Edge> = current.map(|edge| (edge.id.clone(), edge)).collect();
        *self.edges.write().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(())
    }

    /// Adds one that has just joined.
    pub(crate) fn add_edge(&self, edge: Edge) {
        let mut edges = self.edges.write().unwrap_or_else(PoisonError::into_inner);
        edges.insert(edge.id.clone(), edge);
    }

    /// Whether an edge is enrolled, as far as this control plane knows.
    pub(crate) fn is_enrolled(&self, edge: &EdgeId) -> bool {
        let edges = self.edges.read().unwrap_or_else(PoisonError::into_inner);
        edges.contains_key(edge)
    }

    /// Writes an instance down that opens a session. One that the store does not know yet cannot have been renewed. Of any
    /// other the lease may still run that another control plane granted, or this one before it was restarted.
    ///
    /// # Errors
    /// [`ControlError::Unauthenticated`] for an instance of another edge, [`ControlError::Busy`] for an edge with too many
    /// instances, [`ControlError::Store`]. It is not to be told that its policy is current then.
    pub(crate) async fn open(
        &self,
        edge: &EdgeId,
        instance: &str,
        build: &str,
        max_age: Duration,
        unbounded: bool,
    ) -> Result<(), ControlError> {
        let earlier = self.store.read().await?.edge_instance(instance).await?;
        if earlier.as_ref().is_some_and(|row| row.edge != *edge) {
            // Another edge could say what is in force there, and write it off.
            return Err(ControlError::Unauthenticated);
        }
        let (now, uptime) = (self.changes.now(), self.changes.clock.uptime());
        let granted = earlier.as_ref().map_or(Duration::ZERO, |row| {
            granted_lease(row, now, max_age.min(self.max_age()))
        });
        let held = {
            let mut all = self.lock();
            match all.get(instance) {
                // Another edge could say what is in force there, and write it off.
                Some(held) if held.row.edge != *edge => return Err(ControlError::Unauthenticated),
                Some(_) => {}
                None => make_room(&mut all, edge, now)?,
            }
            let held = all.entry(instance.to_owned()).or_insert_with(|| Held {
                row: EdgeInstance {
                    id: instance.to_owned(),
                    edge: edge.clone(),
                    control_plane: self.own.clone(),
                    build: build.chars().take(64).collect(),
                    version: earlier.as_ref().map_or(0, |row| row.version),
                    heard_at: now,
                    lapses_at: now,
                    unbounded,
                    refused: None,
                },
                account: Account {
                    version: earlier.as_ref().map_or(0, |row| row.version),
                    lapses: uptime + granted,
                },
                max_age,
                reported: 0,
                written: (Duration::ZERO, 0),
            });
            held.max_age = max_age;
            held.row.unbounded = unbounded;
            held.row.heard_at = now;
            let longest = held
                .account
                .lapses
                .saturating_sub(uptime)
                .max(max_age.min(self.max_age()));
            held.row.lapses_at = now.plus((longest + ROW_MARGIN).as_secs());
            held.clone()
        };
        self.store
            .put_edge_instances(std::slice::from_ref(&held.row))
            .await?;
        self.wrote(&[held.row], uptime);
        self.announce();
        Ok(())
    }

    /// Notes what an instance says is in force, and renews its lease where that is the newest version. Returns the fleet's
    /// `max_age` by which it is renewed.
    pub(crate) fn beat(
        &self,
        instance: &str,
        position: Option<Position>,
        refused: Option<&str>,
        newest: Position,
    ) -> Duration {
        let max_age = self.max_age();
        let (now, uptime) = (self.changes.now(), self.changes.clock.uptime());
        if let Some(held) = self.lock().get_mut(instance) {
            let effective = held.max_age.min(max_age);
            held.account.heard(position, newest, uptime, effective);
            held.row.version = held.account.version;
            held.row.heard_at = now;
            held.row.refused = refused.map(|text| text.chars().take(REFUSAL_CHARS_MAX).collect());
        }
        self.note_acknowledged();
        self.announce();
        max_age
    }

    /// Notes that a version was committed, as far as this control plane knows.
    pub(crate) fn note_committed(&self, version: u64) {
        self.metrics.committed(version, self.changes.clock.uptime());
        self.note_acknowledged();
    }

    /// Measures the changes that are in force by now at every instance that has not lapsed.
    fn note_acknowledged(&self) {
        if !self.metrics.is_waiting() {
            return;
        }
        let uptime = self.changes.clock.uptime();
        let lowest = {
            let held = self.lock();
            let live = held
                .values()
                .filter(|held| held.row.unbounded || held.account.lapses > uptime);
            live.map(|held| held.row.version).min()
        };
        let bundled = self.bundled().map(|publisher| publisher.installed());
        let lowest = lowest.into_iter().chain(bundled).min();
        self.metrics.acknowledged(lowest, uptime);
    }

    fn has_moved(&self, held: &Held, row: &EdgeInstance) -> bool {
        row.control_plane != self.own && row.heard_at >= held.row.heard_at
    }

    /// The gateway in this process, if there is one.
    pub(crate) fn bundled(&self) -> Option<Publisher> {
        let publisher = self.changes.publisher.read();
        publisher.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Brings the gauges up to date, for a scrape.
    pub(crate) fn refresh_metrics(&self) {
        let newest = *self.changes.versions.borrow();
        let uptime = self.changes.clock.uptime();
        let now = self.changes.now();
        let bundled = self
            .bundled()
            .map(|publisher| self.bundled_state(&publisher, now));
        let held: Vec<Held> = self.lock().values().cloned().collect();
        let states = held.iter().map(|held| held.state(now, uptime, String::new()));
        let states: Vec<InstanceState> = states.chain(bundled).collect();
        let live = states.iter().filter(|state| !state.has_lapsed);
        let lowest = live.map(|state| state.version).min();
        let lag = lowest.map_or(0, |lowest| newest.saturating_sub(lowest));
        self.metrics
            .show(states.iter().map(|state| state.word(newest)), lag);
    }

    fn bundled_state(&self, publisher: &Publisher, now: UnixSeconds) -> InstanceState {
        InstanceState {
            edge: None,
            name: "bundled".to_owned(),
            instance: "bundled".to_owned(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            version: publisher.installed(),
            heard_at: now,
            lapses_at: Some(now.plus(self.max_age().as_secs())),
            has_lapsed: false,
            refused: None,
        }
    }

    /// Whether a report with this number is news.
    pub(crate) fn is_new_report(&self, instance: &str, number: u64) -> bool {
        match self.lock().get_mut(instance) {
            Some(held) if number > held.reported => {
                held.reported = number;
                true
            }
            _ => false,
        }
    }

    /// Forgets an instance that ended: it accepts nothing any more.
    pub(crate) async fn end(&self, instance: &str) -> Result<(), ControlError> {
        self.lock().remove(instance);
        let nothing_else = UnixSeconds(0);
        self.store
            .delete_edge_instances(Some(instance), nothing_else)
            .await?;
        self.announce();
        Ok(())
    }

    /// Every instance that is known: those of this control plane, those that others wrote down, and the bundled gateway.
    ///
    /// # Errors
    /// [`ControlError::Store`].
    pub(crate) async fn states(
        &self,
        bundled: Option<&Publisher>,
    ) -> Result<Vec<InstanceState>, ControlError> {
        let rows = self.store.read().await?.edge_instances().await?;
        let (now, uptime) = (self.changes.now(), self.changes.clock.uptime());
        let mut states = Vec::new();
        if let Some(publisher) = bundled {
            states.push(self.bundled_state(publisher, now));
        }
        // Theirs are times of the wall clock: one that jumped shows no lease to be over.
        let is_clock_right = self.changes.watch.warning().is_none();
        let mut own = self.lock().clone();
        // One that has moved to another control plane is renewed there.
        for row in &rows {
            if own.get(&row.id).is_some_and(|held| self.has_moved(held, row)) {
                own.remove(&row.id);
            }
        }
        let others = rows.into_iter().filter(|row| !own.contains_key(&row.id));
        let edges = self.edges.read().unwrap_or_else(PoisonError::into_inner);
        let name_of = |row: &EdgeInstance| {
            let name = edges.get(&row.edge).map(|edge| edge.name.as_str().to_owned());
            name.unwrap_or_default()
        };
        for held in own.values() {
            states.push(held.state(now, uptime, name_of(&held.row)));
        }
        for row in others {
            let lapses_at = (!row.unbounded).then_some(row.lapses_at);
            let has_lapsed = is_clock_right && lapses_at.is_some_and(|at| at < now);
            let name = name_of(&row);
            states.push(state_of(row, lapses_at, has_lapsed, name));
        }
        Ok(states)
    }

    /// Waits until no instance accepts by a version before this one, at most `within`.
    ///
    /// # Errors
    /// [`ControlError::Store`].
    pub(crate) async fn wait(
        &self,
        version: u64,
        bundled: Option<&Publisher>,
        within: Duration,
    ) -> Result<EdgesInForce, ControlError> {
        let began = self.changes.clock.elapsed();
        let mut news = self.news.subscribe();
        loop {
            news.borrow_and_update();
            let mut found = EdgesInForce::default();
            for state in self.states(bundled).await? {
                if state.version >= version {
                    found.in_force += 1;
                } else if state.has_lapsed {
                    found.lapsed += 1;
                } else {
                    found.unbounded += usize::from(state.lapses_at.is_none());
                    found.pending.push(state);
                }
            }
            found.waited = self.changes.clock.elapsed().saturating_sub(began);
            if found.is_complete() || found.waited >= within {
                return Ok(found);
            }
            let left = within.saturating_sub(found.waited).min(LOOK_EVERY);
            let _ = tokio::time::timeout(left, news.changed()).await;
        }
    }

    /// Writes down what the store does not know yet, many instances in a statement, and drops rows that lapsed a day ago.
    pub(crate) async fn keep(&self) {
        let (now, uptime) = (self.changes.now(), self.changes.clock.uptime());
        let due: Vec<EdgeInstance> = {
            let mut all = self.lock();
            // Instances that ended without a word: their rows in the store stay for a while.
            all.retain(|_, held| held.row.unbounded || uptime < held.account.lapses + ROW_MARGIN);
            let due = all.values_mut().filter(|held| {
                let (at, version) = held.written;
                version != held.row.version || uptime.saturating_sub(at) >= REFRESH_EVERY
            });
            due.map(|held| {
                let left = held.account.lapses.saturating_sub(uptime);
                held.row.lapses_at = now.plus((left + ROW_MARGIN).as_secs());
                held.row.clone()
            })
            .collect()
        };
        if due.is_empty() {
            return;
        }
        let kept = async {
            self.store.put_edge_instances(&due).await?;
            let passed = self.changes.watch.passed();
            self.store.delete_edge_instances(None, passed.minus(KEPT_S)).await
        };
        match kept.await {
            Ok(()) => self.wrote(&due, uptime),
            Err(error) => self.changes.background_failure(&error, INSTANCES_NOT_WRITTEN),
        }
    }

    fn wrote(&self, rows: &[EdgeInstance], at: Duration) {
        let mut all = self.lock();
        for row in rows {
            if let Some(held) = all.get_mut(&row.id) {
                held.written = (at, row.version);
            }
        }
    }

    fn announce(&self) {
        self.news.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes sure that an edge may have one more instance. Those that were silent for a day are forgotten for it.
fn make_room(all: &mut HashMap<String, Held>, edge: &EdgeId, now: UnixSeconds) -> Result<(), ControlError> {
    let own = all.values().filter(|held| held.row.edge == *edge);
    if own.count() < INSTANCES_OF_EDGE_MAX {
        return Ok(());
    }
    let before = all.len();
    all.retain(|_, held| held.row.edge != *edge || held.row.heard_at >= now.minus(KEPT_S));
    match all.len() < before {
        true => Ok(()),
        false => Err(ControlError::Busy),
    }
}

const INSTANCES_NOT_WRITTEN: &str = "edge instances could not be written to the store";
