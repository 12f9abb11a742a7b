//! The link of an edge to its control planes: joins once, follows the changes, keeps them on disk, proves freshness.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::rand;
use futures::future::{FusedFuture as _, FutureExt as _};
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until};

use super::client::{Client, Event, LinkError};
use super::denials::KnownDenials;
use super::folder::{FolderError, StateFolder, unpack};
use super::metrics::{LinkMetrics, Resync};
use super::reports;
use super::session::{Ended, Opened, SessionKeeper};
use super::setup_error::SetupError;
use crate::clock::Clock;
use crate::config::RemotePolicy;
use crate::domain::policy::Freshness;
use crate::feed::Publisher;
use crate::fleet::lease;
use crate::fleet::lease::{Proof, Question};
use crate::fleet::position::Position;
use crate::fleet::protocol::{Beat, BeatAnswer, ChangeEvent, Denials};
use crate::snapshot::{Changes, Snapshot, Update};

/// How long the gateway may take to install an update.
const INSTALL_WITHIN: Duration = Duration::from_secs(60);

/// The first and the longest pause between attempts to connect. Each is drawn at random up to it.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// The longest silence of the change stream, in heartbeats.
const SILENT_HEARTBEATS: u32 = 2;

/// How long before its end a session is replaced.
const RENEW_BEFORE: Duration = Duration::from_secs(120);

/// Answers in a row that may name an earlier version. One alone may come from a control plane that lags behind.
const EARLIER_ANSWERS_MAX: u32 = 3;

/// How often an edge that could not write its policy down tries again.
const DISK_RETRY_EVERY: Duration = Duration::from_secs(30);

/// How long the last report may take once the gateway has ended.
const LAST_REPORT_WITHIN: Duration = Duration::from_secs(1);

/// The link of one running edge.
pub struct RemoteLink {
    sessions: SessionKeeper,
    folder: StateFolder,
    publisher: Publisher,
    clock: Clock,
    freshness: Freshness,
    metrics: LinkMetrics,
    /// The revocations of what is in force.
    denials: KnownDenials,
    /// What is in force.
    position: Option<Position>,
    /// What the beats report: the position in force, once a restart would not fall behind it.
    acknowledged: Option<Position>,
    refused: Option<String>,
    beats: u64,
    /// Answers in a row that named an earlier version than the one in force.
    earlier_answers: u32,
    /// When the disk is tried again, on the clock since boot, where it could not be written.
    disk_retry_at: Duration,
}

impl RemoteLink {
    /// Opens the state folder. Nothing is sent yet.
    ///
    /// # Errors
    /// [`SetupError`] in a sentence for the operator.
    pub fn open(
        settings: &RemotePolicy,
        freshness: Freshness,
        publisher: Publisher,
        clock: Clock,
        metrics: LinkMetrics,
    ) -> Result<Self, SetupError> {
        let ca = match &settings.ca {
            None => None,
            Some(authorities) => {
                let read = std::fs::read(&authorities.file);
                Some(read.map_err(|error| SetupError::Authorities {
                    path: authorities.file.clone(),
                    error,
                })?)
            }
        };
        let client = Client::new(ca.as_deref())?;
        let folder = StateFolder::open(&settings.state)?;
        let identity = folder.identity()?;
        if identity.is_none() && settings.join.is_none() {
            return Err(SetupError::NoToken);
        }
        let sessions = SessionKeeper::new(client, settings, identity, freshness).ok_or(SetupError::Key)?;
        Ok(Self {
            sessions,
            folder,
            publisher,
            clock,
            freshness,
            metrics,
            denials: KnownDenials::default(),
            position: None,
            acknowledged: None,
            refused: None,
            beats: 0,
            earlier_answers: 0,
            disk_retry_at: Duration::ZERO,
        })
    }

    /// Installs the last good policy from disk, if there is one. It counts as current as long as its lease says.
    pub async fn install_stored(&mut self) {
        let Some(stored) = self.folder.policy() else {
            return;
        };
        let version = stored.snapshot.version;
        self.denials.replace(&stored.snapshot);
        let mut installed = self.take(undated(stored.snapshot), version).await;
        for event in stored.changes {
            self.denials.add(&event.changes.changes);
            if installed {
                let version = event.changes.version;
                installed = self.take(undated_changes(event.changes), version).await;
            }
        }
        if !installed {
            tracing::error!(error = self.publisher.refusal(), "{STORED_POLICY_REFUSED}");
            return;
        }
        self.position = Some(stored.position);
        self.acknowledged = self.position;
        tracing::info!(
            policy.version = stored.position.version,
            "{STORED_POLICY_INSTALLED}"
        );
        if let Some(until) = self.folder.lease() {
            self.confirm(stored.position.version, until).await;
        }
    }

    /// Follows the control planes, one at a time, until `stop`. Where `is_last` says that the gateway has ended by then,
    /// it tells the control plane that this instance no longer accepts requests.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send, is_last: Arc<AtomicBool>) {
        let mut stop = std::pin::pin!(stop.fuse());
        let session = self.sessions.shared();
        let reporting = reports::run(
            self.publisher.clone(),
            self.sessions.client(),
            session,
            self.metrics.clone(),
        );
        let reporting = tokio::spawn(reporting);
        let mut pause = RETRY_MIN;
        loop {
            let attempt = self.attempt();
            let ended = tokio::select! {
                ended = attempt => ended,
                () = &mut stop => break,
            };
            match ended {
                Ended::Resynced | Ended::Renew | Ended::NeedsSnapshot(_) => {
                    pause = RETRY_MIN;
                    continue;
                }
                Ended::Failed(LinkError::SessionEnded) if self.sessions.is_open() => self.sessions.close(),
                Ended::Failed(error) => {
                    let control_plane = self.sessions.control_plane().to_owned();
                    tracing::warn!(control_plane, %error, "{LINK_LOST}");
                    self.sessions.next_control_plane();
                }
                Ended::Folder(error) => tracing::error!(%error, "{FOLDER_FAILED}"),
            }
            tokio::select! {
                () = sleep(jitter(pause)) => {}
                () = &mut stop => break,
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
        // What was counted last is on its way already, or is sent within a second.
        let _ = tokio::time::timeout(LAST_REPORT_WITHIN, reporting).await;
        if is_last.load(Ordering::Relaxed) {
            // Written off, an instance must not come back with a lease.
            if self.folder.forget_lease() {
                self.sessions.goodbye().await;
            }
        }
    }

    /// Joins if that is to be done, opens a session and follows it.
    async fn attempt(&mut self) -> Ended {
        match self.follow().await {
            Ok(never) => match never {},
            Err(Ended::NeedsSnapshot(cause)) => {
                self.metrics.resynced(cause);
                self.resync(cause).await.err().unwrap_or(Ended::Resynced)
            }
            Err(ended) => ended,
        }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, Ended> {
        let opened = self.sessions.open(&self.folder).await?;
        let Some(position) = self.position else {
            return Err(Ended::NeedsSnapshot(Resync::First));
        };
        let client = self.sessions.client();
        let token = opened.token.clone();
        let mut stream = client
            .changes(&opened.control_plane, &token, Some(position))
            .await?;
        let mut ticks = interval(lease::beat_every(opened.heartbeat, self.max_age(&opened)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let renew_at = opened.opened + opened.expires_in.saturating_sub(RENEW_BEFORE);
        let silence_max = (opened.heartbeat * SILENT_HEARTBEATS).max(Duration::from_secs(1));
        let mut asked = std::pin::pin!(futures::future::Fuse::terminated());
        // What comes into force while a beat is under way is acknowledged by another one right after it.
        let mut is_beat_due = false;
        self.earlier_answers = 0;
        loop {
            if is_beat_due
                && asked.is_terminated()
                && let Some(question) = self.question()
            {
                asked.set(self.beat(&opened, question).fuse());
                is_beat_due = false;
            }
            tokio::select! {
                biased;
                answer = &mut asked, if !asked.is_terminated() => {
                    let (question, answer): (Question, Result<BeatAnswer, LinkError>) = answer;
                    match answer {
                        Ok(answer) => self.renew(&opened, question, &answer).await?,
                        Err(LinkError::SessionEnded) => return Err(LinkError::SessionEnded.into()),
                        // The stream tells of a link that is broken; one that is slow goes on.
                        Err(error) => tracing::debug!(%error, "beat failed"),
                    }
                }
                event = stream.next(silence_max) => {
                    if let Some(event) = event? {
                        self.take_event(&event).await?;
                        is_beat_due = true;
                    }
                }
                _ = ticks.tick() => {
                    self.try_the_disk()?;
                    is_beat_due = true;
                }
                () = sleep_until(renew_at) => {
                    self.sessions.close_for_renewal();
                    return Err(Ended::Renew);
                }
            }
        }
    }

    fn max_age(&self, opened: &Opened) -> Duration {
        self.own_max_age().min(opened.max_age)
    }

    const fn own_max_age(&self) -> Duration {
        Duration::from_secs(self.freshness.max_age_s)
    }

    /// What the next beat asks: whether what is acknowledged is the newest.
    fn question(&mut self) -> Option<Question> {
        let sent = self.clock.uptime();
        if self.folder.may_acknowledge(sent) {
            self.acknowledged = self.position;
        }
        let position = self.acknowledged?;
        Some(Question { position, sent })
    }

    /// Sends a beat. Resolves with the question and its answer.
    fn beat(
        &mut self,
        opened: &Opened,
        question: Question,
    ) -> impl Future<Output = (Question, Result<BeatAnswer, LinkError>)> + Send + use<> {
        self.beats += 1;
        let beat = Beat {
            number: self.beats,
            position: Some(question.position),
            refused: self.refused.clone(),
        };
        let (client, opened) = (self.sessions.client(), opened.clone());
        async move {
            let answer = client
                .call(&opened.control_plane, "/beats", Some(&opened.token), &beat)
                .await;
            let answer = answer.and_then(|answer: BeatAnswer| match answer.number == beat.number {
                true => Ok(answer),
                false => Err(LinkError::Answer("it answers another beat")),
            });
            (question, answer)
        }
    }

    /// Renews the lease where the answer shows that the position in the beat is the newest.
    async fn renew(&mut self, opened: &Opened, question: Question, answer: &BeatAnswer) -> Result<(), Ended> {
        let age = Duration::from_millis(answer.age_ms);
        let of_fleet = answer.max_age_s.map_or(opened.max_age, Duration::from_secs);
        let max_age = self.own_max_age().min(of_fleet);
        let proof = question.answered(answer.newest, age, max_age);
        self.earlier_answers = match proof {
            Proof::Ahead => self.earlier_answers + 1,
            _ => 0,
        };
        match proof {
            Proof::CurrentUntil(until) => {
                // What came into force meanwhile is later, and so it is current as well.
                let version = self
                    .position
                    .map_or(question.position.version, |held| held.version);
                self.confirm(version, until).await;
                self.folder.keep_lease(until);
                match of_fleet == opened.max_age {
                    true => Ok(()),
                    // The operator changed it: beats follow it from the next session on.
                    false => {
                        self.sessions.close_for_renewal();
                        Err(Ended::Renew)
                    }
                }
            }
            // The change is on its way over the stream.
            Proof::Behind => Ok(()),
            Proof::Ahead if self.earlier_answers < EARLIER_ANSWERS_MAX => Ok(()),
            Proof::Ahead => Err(Ended::NeedsSnapshot(Resync::EarlierVersion)),
            Proof::OtherHistory => Err(Ended::NeedsSnapshot(Resync::OtherHistory)),
        }
    }

    /// Goes on in memory after the disk could not be written.
    fn fall_behind(&mut self, error: &FolderError) {
        tracing::error!(%error, "{FOLDER_FAILED}");
        self.folder.fall_behind();
        self.disk_retry_at = self.clock.uptime() + DISK_RETRY_EVERY;
    }

    /// Asks for a snapshot, to be written down, once the disk can be written again.
    fn try_the_disk(&mut self) -> Result<(), Ended> {
        let now = self.clock.uptime();
        if !self.folder.is_behind() || now < self.disk_retry_at {
            return Ok(());
        }
        self.disk_retry_at = now + DISK_RETRY_EVERY;
        match self.folder.probe() {
            Ok(()) => Err(Ended::NeedsSnapshot(Resync::Disk)),
            Err(_) => Ok(()),
        }
    }

    /// Says that `version` is current until a moment on the clock since boot.
    async fn confirm(&self, version: u64, until: Duration) {
        let left = until.saturating_sub(self.clock.uptime());
        let at = lease::confirmed_at(self.clock.now().0, left, self.freshness.max_age_s);
        if let Some(at) = at {
            let _ = self.publisher.publish(Update::Confirmed { version, at }).await;
        }
    }

    /// Takes an event of the stream: installs it, and writes it down before it counts.
    async fn take_event(&mut self, event: &Event) -> Result<(), Ended> {
        match event.name.as_str() {
            "snapshot" => return Err(Ended::NeedsSnapshot(Resync::Feed)),
            "changes" => {}
            // Of a later version of the protocol, which may be skipped.
            _ => return Ok(()),
        }
        let event: ChangeEvent = serde_json::from_str(&event.data)
            .map_err(|_| LinkError::Answer("a change is not of a form that this version reads"))?;
        if self
            .position
            .is_some_and(|held| event.position.version <= held.version)
        {
            return Ok(());
        }
        let version = event.changes.version;
        if !self.take(undated_changes(event.changes.clone()), version).await {
            self.refused = self.publisher.refusal();
            return Err(Ended::NeedsSnapshot(Resync::RefusedChange));
        }
        self.position = Some(event.position);
        self.denials.add(&event.changes.changes);
        if self.folder.is_behind() {
            return Ok(());
        }
        if let Err(error) = self.folder.append(&event) {
            self.fall_behind(&error);
        }
        match self.folder.is_long() {
            true => Err(Ended::NeedsSnapshot(Resync::LongLog)),
            false => Ok(()),
        }
    }

    /// Takes a snapshot. Where the control plane may have lost changes, it first gets the revocations back that this edge
    /// knows: until it has them, they stay in force here.
    async fn resync(&mut self, cause: Resync) -> Result<(), Ended> {
        if cause.may_have_lost() {
            let opened = self.sessions.open(&self.folder).await?;
            let client = self.sessions.client();
            for revocations in self.denials.parts() {
                let (base, token) = (&opened.control_plane, Some(&opened.token));
                match client
                    .send(base, "/denials", token, &Denials { revocations })
                    .await
                {
                    // 404: of a version before this message.
                    Ok(_) | Err(LinkError::Refused { status: 404, .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        self.fetch_snapshot().await
    }

    async fn fetch_snapshot(&mut self) -> Result<(), Ended> {
        let opened = self.sessions.open(&self.folder).await?;
        let (position, packed) = self
            .sessions
            .client()
            .snapshot(&opened.control_plane, &opened.token)
            .await?;
        let unpacked = tokio::task::spawn_blocking(move || (unpack(&packed), packed)).await;
        let unusable = || LinkError::Answer("the snapshot is not of a form that this version reads");
        let (snapshot, packed) = unpacked.map_err(|_| unusable())?;
        let snapshot = snapshot.map_err(|_| unusable())?;
        let mut denials = KnownDenials::default();
        denials.replace(&snapshot);
        if !self.take(undated(snapshot), position.version).await {
            self.refused = self.publisher.refusal();
            tracing::error!(
                policy.version = position.version,
                error = self.refused,
                "{SNAPSHOT_REFUSED}"
            );
            return Err(LinkError::Answer("the snapshot was refused").into());
        }
        self.refused = None;
        self.denials = denials;
        self.position = Some(position);
        if let Err(error) = self.folder.keep_snapshot(position, &packed) {
            self.fall_behind(&error);
        }
        tracing::info!(
            policy.version = position.version,
            bytes = packed.len(),
            "{SNAPSHOT_INSTALLED}"
        );
        Ok(())
    }

    /// Hands an update to the gateway. Whether it is in force there.
    async fn take(&self, update: Update, version: u64) -> bool {
        self.publisher.publish(update).await.is_ok() && self.publisher.takes(version, INSTALL_WITHIN).await
    }
}

/// A snapshot that says nothing of when it was current: only the lease does.
fn undated(snapshot: Snapshot) -> Update {
    Update::Snapshot(Box::new(Snapshot {
        issued_at: 0,
        ..snapshot
    }))
}

fn undated_changes(changes: Changes) -> Update {
    Update::Changes(Changes {
        issued_at: 0,
        ..changes
    })
}

/// A random pause up to `most`, so that edges do not come back all at once.
fn jitter(most: Duration) -> Duration {
    let mut bytes = [0_u8; 4];
    let _ = rand::fill(&mut bytes);
    most.mul_f64(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}

const STORED_POLICY_REFUSED: &str = "the stored policy was refused; waiting for a control plane";
const STORED_POLICY_INSTALLED: &str = "stored policy installed";
const SNAPSHOT_INSTALLED: &str = "policy snapshot installed";
const SNAPSHOT_REFUSED: &str = "policy snapshot refused; keeping the policy in force, which ages";
const LINK_LOST: &str = "connection to the control plane lost; serving the last policy until `max_age`";
const FOLDER_FAILED: &str = "the state folder cannot be written; serving from memory, and retrying";
