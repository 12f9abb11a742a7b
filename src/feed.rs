//! The seam inside one process: a bounded channel of updates; the version installed and reports come back.
//!
//! The control plane holds the [`Publisher`], the gateway the [`Subscriber`]; neither knows the other.
//! A remote gateway will be fed the same [`Update`]s over HTTP.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Mutex, Notify, mpsc, watch};

use crate::report::Report;
use crate::snapshot::Update;

/// Updates that may wait for the gateway. The publisher waits when it is full; nothing is dropped.
const WAITING_MAX: usize = 256;

/// Reports that may wait for the control plane. The gateway goes on counting when it is full.
const REPORTS_MAX: usize = 4;

/// The gateway has gone.
#[derive(Debug, Error)]
#[error("the gateway no longer takes updates")]
pub struct FeedClosed;

/// The control plane has gone.
#[derive(Debug, Error)]
#[error("the control plane no longer takes reports")]
pub struct ReportsClosed;

/// The control plane's end.
#[derive(Clone)]
pub struct Publisher {
    updates: mpsc::Sender<Update>,
    installed: watch::Receiver<u64>,
    snapshot_wanted: Arc<Notify>,
    refusal: watch::Receiver<Option<String>>,
    reports: Arc<Mutex<mpsc::Receiver<Report>>>,
}

/// The gateway's end.
pub struct Subscriber {
    updates: mpsc::Receiver<Update>,
    installed: watch::Sender<u64>,
    snapshot_wanted: Arc<Notify>,
    refusal: watch::Sender<Option<String>>,
    reports: Reporter,
}

/// The gateway's way to report.
#[derive(Clone)]
pub struct Reporter(mpsc::Sender<Report>);

/// A connected pair.
#[must_use]
pub fn feed() -> (Publisher, Subscriber) {
    let (updates_in, updates_out) = mpsc::channel(WAITING_MAX);
    let (installed_in, installed_out) = watch::channel(0);
    let snapshot_wanted = Arc::new(Notify::new());
    let (refusal_in, refusal_out) = watch::channel(None);
    let (reports_in, reports_out) = mpsc::channel(REPORTS_MAX);
    (
        Publisher {
            updates: updates_in,
            installed: installed_out,
            snapshot_wanted: Arc::clone(&snapshot_wanted),
            refusal: refusal_out,
            reports: Arc::new(Mutex::new(reports_out)),
        },
        Subscriber {
            updates: updates_out,
            installed: installed_in,
            snapshot_wanted,
            refusal: refusal_in,
            reports: Reporter(reports_in),
        },
    )
}

impl Publisher {
    /// Hands one update to the gateway, waiting while 256 others wait.
    ///
    /// # Errors
    /// [`FeedClosed`] when the gateway has ended.
    pub async fn publish(&self, update: Update) -> Result<(), FeedClosed> {
        self.updates.send(update).await.map_err(|_| FeedClosed)
    }

    /// Whether `version` or a later one is in force at the gateway before `within` has passed.
    pub async fn is_installed(&self, version: u64, within: Duration) -> bool {
        let mut installed = self.installed.clone();
        let reached = installed.wait_for(|held| *held >= version);
        matches!(tokio::time::timeout(within, reached).await, Ok(Ok(_)))
    }

    /// Whether exactly `version` comes into force at the gateway before `within` has passed, after an update to a version
    /// that may be a lower one. False as soon as the gateway refuses the update.
    pub async fn takes(&self, version: u64, within: Duration) -> bool {
        let mut installed = self.installed.clone();
        tokio::select! {
            reached = tokio::time::timeout(within, installed.wait_for(|held| *held == version)) => {
                matches!(reached, Ok(Ok(_)))
            }
            () = self.snapshot_wanted() => false,
        }
    }

    /// Why the gateway refused the last update that it refused.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        self.refusal.borrow().clone()
    }

    /// Resolves when the gateway could not use a change and wants a whole snapshot.
    pub async fn snapshot_wanted(&self) {
        self.snapshot_wanted.notified().await;
    }

    /// The newest version that the gateway has in force; 0 before the first.
    #[must_use]
    pub fn installed(&self) -> u64 {
        *self.installed.borrow()
    }

    /// The gateway's next report, or `None` when it has ended.
    pub async fn next_report(&self) -> Option<Report> {
        self.reports.lock().await.recv().await
    }
}

impl Reporter {
    /// Hands one report to the control plane, waiting while others wait.
    ///
    /// # Errors
    /// [`ReportsClosed`] when the control plane has ended.
    pub async fn report(&self, report: Report) -> Result<(), ReportsClosed> {
        self.0.send(report).await.map_err(|_| ReportsClosed)
    }
}

impl Subscriber {
    /// The next update, or `None` when the control plane has ended.
    pub async fn next(&mut self) -> Option<Update> {
        self.updates.recv().await
    }

    /// The way to report.
    #[must_use]
    pub fn reporter(&self) -> Reporter {
        self.reports.clone()
    }

    /// Says that `version` is in force now.
    pub fn installed(&self, version: u64) {
        self.installed.send_replace(version);
    }

    /// Asks for a whole snapshot, after an update that could not be installed for this reason.
    pub fn want_snapshot(&self, refusal: String) {
        self.refusal.send_replace(Some(refusal));
        self.snapshot_wanted.notify_one();
    }
}
