//! Replay protection: each client assertion is accepted once, by any control plane.
//!
//! Entries that arrive while a write is in progress are written together by the next one, so that a burst costs a few
//! commits, not one for each. A caller gets its result only after the commit that contains its entry.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use sqlx::AnyPool;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::error::StoreError;
use super::rows::{number, seconds};
use crate::domain::time::UnixSeconds;

/// Entries written by one statement.
const TOGETHER_MAX: usize = 64;

/// Entries waiting to be written; further requests wait.
const WAITING_MAX: usize = 1_024;

const ASSERTIONS_NOT_RECORDED: &str = "used client assertions could not be recorded; their requests fail";

/// Whether an assertion was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssertionUse {
    /// First use, with the policy version at the time it was recorded.
    Fresh {
        version: u64,
    },
    Replayed,
}

/// An entry to be written.
struct Entry {
    digest: String,
    expires_at: UnixSeconds,
    answer: oneshot::Sender<Result<AssertionUse, StoreError>>,
}

/// Sends entries to the task that writes them.
#[derive(Clone, Debug)]
pub(super) struct Replays(mpsc::Sender<Entry>);

impl Replays {
    /// Starts the task. It ends when the last handle of the store is dropped.
    pub(super) fn start(ledger: AnyPool, turn: Option<Arc<Mutex<()>>>) -> Self {
        let (sender, entries) = mpsc::channel(WAITING_MAX);
        tokio::spawn(write_all(ledger, turn, entries));
        Self(sender)
    }

    /// Records the use of an assertion. Of several callers with one digest, in all processes, exactly one gets
    /// `Fresh`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; the assertion may then count as used.
    pub(super) async fn record(
        &self,
        digest: String,
        expires_at: UnixSeconds,
    ) -> Result<AssertionUse, StoreError> {
        let (answer, answered) = oneshot::channel();
        let entry = Entry {
            digest,
            expires_at,
            answer,
        };
        let ended = || StoreError::Unavailable(sqlx::Error::WorkerCrashed);
        self.0.send(entry).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

async fn write_all(ledger: AnyPool, turn: Option<Arc<Mutex<()>>>, mut entries: mpsc::Receiver<Entry>) {
    let mut batch = Vec::with_capacity(TOGETHER_MAX);
    while entries.recv_many(&mut batch, TOGETHER_MAX).await > 0 {
        let written = {
            let _turn = match &turn {
                Some(turn) => Some(turn.lock().await),
                None => None,
            };
            // Callers would wait forever, or be rejected, if this task panicked.
            let writing = AssertUnwindSafe(write(&ledger, &batch)).catch_unwind();
            writing
                .await
                .unwrap_or(Err(StoreError::Unavailable(sqlx::Error::WorkerCrashed)))
        };
        answer(batch.drain(..), written);
    }
}

/// Writes a batch in one statement. Returns the new digests, and the policy version at that time.
async fn write(ledger: &AnyPool, batch: &[Entry]) -> Result<(HashSet<String>, u64), StoreError> {
    let mut sorted: Vec<&Entry> = batch.iter().collect();
    // Always in the same order, so that two processes cannot deadlock.
    sorted.sort_unstable_by(|a, b| a.digest.cmp(&b.digest));
    sorted.dedup_by(|a, b| a.digest == b.digest);
    let mut sql = "INSERT INTO used_assertions (digest, expires_at) VALUES ".to_owned();
    for at in 0..sorted.len() {
        let comma = if at == 0 { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(sql, "{comma}(${}, ${})", 2 * at + 1, 2 * at + 2);
    }
    sql.push_str(
        " ON CONFLICT (digest) DO NOTHING RETURNING digest, (SELECT version FROM policy_version WHERE only_row = 1)",
    );
    let mut query = sqlx::query_as::<_, (String, i64)>(sqlx::AssertSqlSafe(sql));
    for entry in &sorted {
        query = query.bind(entry.digest.as_str()).bind(seconds(entry.expires_at));
    }
    let rows = query.fetch_all(ledger).await?;
    let version = rows
        .first()
        .map_or(Ok(0), |(_, version)| number(*version, "policy_version"))?;
    Ok((rows.into_iter().map(|(digest, _)| digest).collect(), version))
}

fn answer(batch: impl Iterator<Item = Entry>, written: Result<(HashSet<String>, u64), StoreError>) {
    match written {
        // Of several entries with one digest, the first one gets `Fresh`.
        Ok((mut new, version)) => {
            for entry in batch {
                let use_ = if new.remove(&entry.digest) {
                    AssertionUse::Fresh { version }
                } else {
                    AssertionUse::Replayed
                };
                let _ = entry.answer.send(Ok(use_));
            }
        }
        Err(error) => {
            match error.is_outage() {
                true => tracing::debug!(%error, "{ASSERTIONS_NOT_RECORDED}"),
                false => tracing::warn!(%error, "{ASSERTIONS_NOT_RECORDED}"),
            }
            let kind = if matches!(error, StoreError::Full(_)) {
                StoreError::Full
            } else {
                StoreError::Unavailable
            };
            for entry in batch {
                let _ = entry.answer.send(Err(kind(sqlx::Error::WorkerCrashed)));
            }
        }
    }
}
