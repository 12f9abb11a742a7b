//! The store itself: its connections, and transactions that read or change.

use super::error::StoreError;
use super::replay::{AssertionUse, Replays};
use super::rows::number;
use super::rows::seconds;
use crate::domain::time::UnixSeconds;
use crate::store_location::DatabaseUrl;
use sqlx::Any;
use sqlx::AnyConnection;
use sqlx::AnyPool;
use sqlx::Transaction;
use std::fs::File;
use std::ops::Deref;
use std::ops::DerefMut;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::sync::OwnedMutexGuard;

/// How long a statement waits for another connection's write, and a caller for a connection.
pub(crate) const WAIT: Duration = Duration::from_secs(5);

/// Changes kept for gateways that resume. One that was away for longer gets a snapshot.
pub const CHANGES_KEPT: u64 = 10_000;

/// The store of one control plane.
#[derive(Debug)]
pub struct Store {
    /// One connection: changes are made one after the other.
    pub(super) writer: AnyPool,
    /// For the rows beside the policy: assertions used, last uses.
    pub(super) ledger: AnyPool,
    pub(super) readers: AnyPool,
    /// Whose turn it is to write. A queue is fair, and nobody polls for a lock of the database or holds a
    /// connection while waiting for one.
    pub(super) turn: Arc<Mutex<()>>,
    pub(super) replays: Replays,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Sqlite {
        /// Held while the store is open. The operating system lets go of it however the process ends.
        lock: File,
    },
    Postgres(DatabaseUrl),
}

/// A consistent view: everything read in it is as of one moment.
pub struct ReadTx(pub(super) Transaction<'static, Any>);

/// A change in the making. Dropped without [`WriteTx::commit`], it never happened.
pub struct WriteTx {
    read: ReadTx,
    /// The version that the change will be.
    version: i64,
    /// Whether other processes are to be told.
    shared: bool,
    _turn: OwnedMutexGuard<()>,
}

/// Something in the making that the trail tells of and that is no change of the policy. Dropped without
/// [`AuditTx::commit`], it never happened.
pub struct AuditTx(pub(super) WriteTx);

impl Store {
    /// Records the use of a client assertion. Of several callers with one digest, in all processes, exactly one is
    /// first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; the assertion may count as used then.
    pub(crate) async fn use_assertion(
        &self,
        digest: String,
        expires_at: UnixSeconds,
    ) -> Result<AssertionUse, StoreError> {
        self.replays.record(digest, expires_at).await
    }

    /// Begins a change. One change is made at a time, by whichever process; others wait here.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn write(&self) -> Result<WriteTx, StoreError> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let mut read = ReadTx(self.begin_change().await?);
        // INVARIANT: the counter is a row of this transaction, not a sequence: versions have no gaps, and
        // nobody sees a version before all the versions below it. It is raised first: its row is the lock
        // that keeps the changes of all processes one after the other.
        let version = sqlx::query_scalar(
            "UPDATE policy_version SET version = version + 1 WHERE only_row = 1 RETURNING version",
        )
        .fetch_one(read.connection())
        .await?;
        Ok(WriteTx {
            read,
            version,
            shared: self.is_shared(),
            _turn: turn,
        })
    }

    /// Begins what the trail tells of and no gateway hears of: it has its turn among the changes, since the trail
    /// is one chain, and makes no version.
    pub(crate) async fn begin_audit(&self) -> Result<AuditTx, StoreError> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let mut read = ReadTx(self.begin_change().await?);
        // The row that keeps the changes of all processes apart is taken, and left as it is.
        let version = sqlx::query_scalar(
            "UPDATE policy_version SET version = version WHERE only_row = 1 RETURNING version",
        )
        .fetch_one(read.connection())
        .await?;
        Ok(AuditTx(WriteTx {
            read,
            version,
            shared: self.is_shared(),
            _turn: turn,
        }))
    }

    pub(super) async fn begin_change(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        match self.kind {
            Kind::Sqlite { .. } => self.writer.begin_with("BEGIN IMMEDIATE").await,
            Kind::Postgres(_) => self.writer.begin().await,
        }
    }

    /// Begins a transaction beside the policy: no version, and nobody is told.
    pub(super) async fn begin_ledger(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        match self.kind {
            Kind::Sqlite { .. } => self.ledger.begin_with("BEGIN IMMEDIATE").await,
            Kind::Postgres(_) => self.ledger.begin().await,
        }
    }

    /// Waits for the turn to write a row beside the policy. `PostgreSQL` orders such writes by itself.
    pub(super) async fn ledger_turn(&self) -> Option<OwnedMutexGuard<()>> {
        match self.kind {
            Kind::Sqlite { .. } => Some(Arc::clone(&self.turn).lock_owned().await),
            Kind::Postgres(_) => None,
        }
    }

    /// Begins a consistent view.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn read(&self) -> Result<ReadTx, StoreError> {
        // Readers' connections read only, and in PostgreSQL as of one moment: their openers have set them so.
        Ok(ReadTx(self.readers.begin().await?))
    }

    /// Whether other processes may use this store at the same time.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        matches!(self.kind, Kind::Postgres(_))
    }

    /// Closes the connections, which folds a write-ahead log into its file, and gives up the lock.
    pub async fn close(&self) {
        self.readers.close().await;
        self.ledger.close().await;
        self.writer.close().await;
        if let Kind::Sqlite { lock } = &self.kind {
            // Whoever still holds this store can do nothing with it; the next one need not wait for them.
            let _ = lock.unlock();
        }
    }
}

impl ReadTx {
    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.0
    }
}

impl Deref for WriteTx {
    type Target = ReadTx;

    fn deref(&self) -> &ReadTx {
        &self.read
    }
}

impl DerefMut for WriteTx {
    fn deref_mut(&mut self) -> &mut ReadTx {
        &mut self.read
    }
}

impl WriteTx {
    /// Makes the change durable as the next policy version, with `body` as what gateways are told of it.
    /// Answers the version.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Full`]: nothing of the change is kept.
    /// [`StoreError::Unconfirmed`]: the database was lost between the commit and its answer.
    pub async fn commit(mut self, body: &str, at: UnixSeconds) -> Result<u64, StoreError> {
        let version = self.version;
        sqlx::query("INSERT INTO policy_changes (version, body, at) VALUES ($1, $2, $3)")
            .bind(version)
            .bind(body)
            .bind(seconds(at))
            .execute(self.connection())
            .await?;
        sqlx::query("DELETE FROM policy_changes WHERE version <= $1")
            .bind(version.saturating_sub_unsigned(CHANGES_KEPT))
            .execute(self.connection())
            .await?;
        if self.shared {
            notify(self.connection(), version).await?;
        }
        let committed = self.read.0.commit().await;
        committed.map_err(|error| {
            // A file that does not take a commit does not have it; a server may, and its word was lost.
            if self.shared && error.as_database_error().is_none() {
                StoreError::Unconfirmed(error)
            } else {
                error.into()
            }
        })?;
        number(version, "policy_version")
    }
}

impl AuditTx {
    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        self.0.connection()
    }

    /// The same as a change, for what may be written in either.
    pub(crate) const fn as_change(&mut self) -> &mut WriteTx {
        &mut self.0
    }

    /// Adds a row to the trail, as [`WriteTx::append_audit`] does.
    pub(crate) async fn append_audit(
        &mut self,
        row: &crate::model::audit::AuditRow,
    ) -> Result<(), StoreError> {
        self.0.append_audit(row).await
    }

    /// Makes it durable.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        Ok(self.0.read.0.commit().await?)
    }
}

/// Where processes tell each other of changes.
pub(super) const CHANNEL: &str = "portcullis_policy";

/// Tells the other processes of a version, once the transaction that this is part of commits.
pub(super) async fn notify(connection: &mut AnyConnection, version: i64) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_notify($1, $2)")
        .bind(CHANNEL)
        .bind(version.to_string())
        .execute(connection)
        .await?;
    Ok(())
}
