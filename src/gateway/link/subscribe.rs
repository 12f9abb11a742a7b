//! Receives updates, checks, compiles and installs them; keeps the last good policy.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::Watcher as _;
use prometheus::IntCounter;
use tokio::sync::mpsc;

use super::file_stamp::{Stamp, settled};
use crate::clock::Clock;
use crate::clock::guard::ClockWatch;
use crate::config::{ConfigError, OutsideIssuer, load_policy};
use crate::domain::ids::{Audience, TokenDigest};
use crate::domain::policy::{Freshness, Policy};
use crate::domain::time::UnixSeconds;
use crate::feed::Subscriber;
use crate::gateway::observe::origin_metrics::OriginMetrics;
use crate::gateway::state::policy_cell::PolicyCell;
use crate::snapshot;
use crate::snapshot::{Change, InvalidSnapshot, RevocationRecord, Snapshot, Update};

/// Log messages.
const UPDATE_REFUSED: &str = "policy update refused; keeping the current policy and requesting a snapshot";
const CONTROL_PLANE_STOPPED: &str = "control plane stopped; serving the last policy until `max_age`";
const NOT_WATCHED: &str = "the folder of the policy file cannot be watched; checking the file every 2 s";
const FILE_READ: &str = "policy file read again";
const FILE_REFUSED: &str = "policy file refused; keeping the last policy until `max_age`";

/// How often the clocks are read, and expired revocations dropped.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The smallest step of the clock, in seconds, by which the policy's age is corrected. Clocks are read to the second, so
/// a smaller one may be rounding.
const STEP_MIN_S: u64 = 2;

/// The most revocations dropped in one sweep, so that it takes milliseconds at most.
const SWEPT_MAX: usize = 10_000;

/// How often a policy file is checked where its folder cannot be watched, and confirmed as current.
const FILE_EVERY: Duration = Duration::from_secs(2);

/// Installs updates into the cell, one after the other.
pub struct Installer {
    cell: Arc<PolicyCell>,
    freshness: Freshness,
    /// The gateway's public URL, an audience besides the control plane's.
    own_audience: Option<Audience>,
    clock: Clock,
    watch: Arc<ClockWatch>,
    /// What the wall clock and the time since boot showed when the policy's age was last corrected, in seconds.
    seen: (UnixSeconds, u64),
    /// Revocations by the moment they end, soonest first.
    ending: BinaryHeap<Reverse<(UnixSeconds, [u8; 16])>>,
    /// The policy file whose content is in force, where it comes from one.
    file: Option<Stamp>,
    lapses: Option<IntCounter>,
    /// Whether the policy was current when it was last looked at.
    was_current: bool,
}

fn with_own_audience(policy: Policy, audience: Option<&Audience>) -> Policy {
    match audience {
        Some(audience) => snapshot::with_own_audience(policy, audience),
        None => policy,
    }
}

impl Installer {
    /// An installer for `cell`.
    #[must_use]
    pub fn new(
        cell: Arc<PolicyCell>,
        freshness: Freshness,
        own_audience: Option<Audience>,
        clock: Clock,
        watch: Arc<ClockWatch>,
    ) -> Self {
        Self {
            cell,
            freshness,
            own_audience,
            seen: (clock.now(), clock.uptime().as_secs()),
            clock,
            watch,
            ending: BinaryHeap::new(),
            file: None,
            lapses: None,
            was_current: false,
        }
    }

    /// Counts how often the policy becomes too old.
    #[must_use]
    pub fn counting_lapses(self, lapses: IntCounter) -> Self {
        Self {
            lapses: Some(lapses),
            ..self
        }
    }

    /// Installs one update whole, or not at all.
    ///
    /// # Errors
    /// [`InvalidSnapshot`]; the policy in force stays.
    pub fn install(&mut self, update: &Update) -> Result<(), InvalidSnapshot> {
        self.follow_clock();
        let now = self.clock.now();
        match update {
            Update::Snapshot(snapshot) => self.install_snapshot(snapshot),
            Update::Changes(changes) => {
                self.cell.replace(|policy, _| match policy {
                    Some(policy) => snapshot::apply(policy, changes)
                        .map(|policy| with_own_audience(policy, self.own_audience.as_ref()))
                        .map(|policy| snapshot::not_confirmed_after(policy, now)),
                    None => Err(InvalidSnapshot {
                        field: "version".to_owned(),
                        problem: "changes came before a snapshot".to_owned(),
                    }),
                })?;
                for change in &changes.changes {
                    if let Change::Revoke(record) = change {
                        self.remember(record);
                    }
                }
                Ok(())
            }
            Update::Confirmed { version, at } => {
                self.cell.change(|policy| match policy.version() == *version {
                    true => snapshot::confirm(policy, UnixSeconds(*at).min(now)),
                    false => policy.clone(),
                });
                Ok(())
            }
        }
    }

    fn install_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), InvalidSnapshot> {
        let now = self.clock.now();
        self.cell.replace(|_, outside| {
            snapshot::compile(snapshot, outside, self.freshness)
                .map(|policy| with_own_audience(policy, self.own_audience.as_ref()))
                .map(|policy| snapshot::not_confirmed_after(policy, now))
        })?;
        self.ending.clear();
        snapshot
            .revocations
            .iter()
            .for_each(|record| self.remember(record));
        Ok(())
    }

    fn remember(&mut self, record: &RevocationRecord) {
        let token = TokenDigest::of(&record.issuer, &record.token_id);
        self.ending
            .push(Reverse((UnixSeconds(record.expires_at), token.0.to_bytes())));
    }

    /// Takes a step of the wall clock out of the policy's age: a jump makes no policy older or younger.
    fn follow_clock(&mut self) {
        let now = (self.clock.now(), self.clock.uptime().as_secs());
        let before = std::mem::replace(&mut self.seen, now);
        let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        let on_wall = signed(now.0.0).saturating_sub(signed(before.0.0));
        let step = on_wall.saturating_sub(signed(now.1.saturating_sub(before.1)));
        if step.unsigned_abs() >= STEP_MIN_S {
            self.cell.change(|policy| snapshot::with_clock_step(policy, step));
        }
    }

    fn count_lapse(&mut self) {
        let policy = self.cell.load();
        let is_current = policy
            .as_deref()
            .is_some_and(|policy| !policy.is_stale(self.clock.now()));
        if let (true, false, Some(lapses)) = (self.was_current, is_current, &self.lapses) {
            lapses.inc();
        }
        self.was_current = is_current;
    }

    /// Drops revocations of tokens that have certainly expired by themselves, and counts a policy that became too old.
    pub fn sweep(&mut self) {
        self.follow_clock();
        self.count_lapse();
        let ended_before = self.watch.look(None).ended_before();
        let mut expired = Vec::new();
        while let Some(Reverse((until, token))) = self.ending.peek()
            && *until < ended_before
            && expired.len() < SWEPT_MAX
        {
            expired.push(TokenDigest::from_bytes(*token));
            self.ending.pop();
        }
        if !expired.is_empty() {
            self.cell
                .change(|policy| snapshot::without_revocations(policy, &expired));
        }
    }

    /// Takes updates from the control plane in this process until it ends.
    pub async fn follow(mut self, mut updates: Subscriber) {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        loop {
            let update = tokio::select! {
                update = updates.next() => update,
                _ = sweep.tick() => {
                    self.sweep();
                    continue;
                }
            };
            let Some(update) = update else { break };
            match self.install(&update) {
                Ok(()) => {
                    if let Some(policy) = self.cell.load().as_deref() {
                        updates.installed(policy.version());
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "{UPDATE_REFUSED}");
                    updates.want_snapshot(error.to_string());
                }
            }
        }
        tracing::info!("{CONTROL_PLANE_STOPPED}");
    }

    /// Installs a policy file's content.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem of the file; the policy in force stays.
    pub fn install_file(&mut self, path: &Path, issuers: &[OutsideIssuer]) -> Result<(), ConfigError> {
        // Taken first: a file that changes while it is read is found to be another one then.
        let file = Stamp::of(path);
        let version = self.cell.load().as_ref().map_or(0, |policy| policy.version()) + 1;
        let snapshot = load_policy(path, issuers, version, self.clock.now())?;
        self.install_snapshot(&snapshot)
            .map_err(|error| ConfigError::of_file(path, error.to_string()))?;
        self.file = file;
        Ok(())
    }

    /// Reads a policy file again whenever it changes, until cancelled. The policy is fresh as long as the
    /// installed file is in place. While the file is missing or was refused, the policy ages.
    pub async fn follow_file(mut self, path: PathBuf, issuers: Vec<OutsideIssuer>, metrics: OriginMetrics) {
        let (changed_in, mut changed) = mpsc::channel::<()>(1);
        // The folder is watched, since editors and config managers replace the file itself.
        let watcher = notify::recommended_watcher(move |_: notify::Result<notify::Event>| {
            let _ = changed_in.try_send(());
        });
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let watching = watcher.and_then(|mut watcher| {
            watcher.watch(folder, notify::RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        if let Err(error) = &watching {
            tracing::warn!(%error, "{NOT_WATCHED}");
        }
        let mut looked = tokio::time::interval(FILE_EVERY);
        let mut seen = self.file;
        loop {
            tokio::select! {
                _ = changed.recv(), if watching.is_ok() => {}
                _ = looked.tick() => self.sweep(),
            }
            self.follow_clock();
            let at = self.clock.now();
            let now = Stamp::of(&path);
            if now == seen {
                if now.is_some() && now == self.file {
                    self.cell.change(|policy| snapshot::confirm(policy, at));
                }
                continue;
            }
            seen = settled(&path).await;
            let result = self.install_file(&path, &issuers);
            metrics.policy_file_read(result.is_ok());
            match result {
                Ok(()) => tracing::info!(file = %path.display(), "{FILE_READ}"),
                Err(error) => {
                    tracing::error!(%error, "{FILE_REFUSED}");
                }
            }
        }
    }
}
