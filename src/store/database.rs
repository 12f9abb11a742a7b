//! The store's connections, and transactions that read or write.

use super::error::StoreError;
use super::replay::{AssertionUse, Replays};
use super::rows::number;
use super::rows::seconds;
use crate::domain::time::UnixSeconds;
use crate::fleet::position::PolicyChain;
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

/// Changes kept in the feed. A gateway that missed more gets a snapshot.
pub const CHANGES_KEPT: u64 = 10_000;

/// The store of one control plane.
#[derive(Debug)]
pub struct Store {
    /// One connection: changes are made one after the other.
    pub(super) writer: AnyPool,
    /// For ledger rows.
    pub(super) ledger: AnyPool,
    pub(super) readers: AnyPool,
    /// The turn to write. A mutex is fair, so nobody polls for a database lock or holds a connection while waiting.
    pub(super) turn: Arc<Mutex<()>>,
    pub(super) replays: Replays,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Sqlite {
        /// Held while the store is open. The operating system releases it however the process ends.
        lock: File,
    },
    Postgres(DatabaseUrl),
}

/// A consistent view: everything read in it is as of one point in time.
pub struct ReadTx(pub(super) Transaction<'static, Any>);

/// A change that is not committed yet. Dropping it without [`WriteTx::commit`] rolls it back.
pub struct WriteTx {
    read: ReadTx,
    /// The policy version that the change will have.
    version: i64,
    /// The chain up to the version before it.
    chain: PolicyChain,
    /// Whether to notify other processes.
    shared: bool,
    _turn: OwnedMutexGuard<()>,
}

/// Audit events without a change of the policy. Dropping it without [`AuditTx::commit`] rolls it back.
pub struct AuditTx(pub(super) WriteTx);

impl Store {
    /// Records the use of a client assertion. Of several callers with one digest, in all processes, exactly one gets
    /// [`AssertionUse::Fresh`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; the assertion may then count as used.
    pub(crate) async fn use_assertion(
        &self,
        digest: String,
        expires_at: UnixSeconds,
    ) -> Result<AssertionUse, StoreError> {
        self.replays.record(digest, expires_at).await
    }

    /// Begins a change. Only one change is in progress at a time, in all processes; further callers wait.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn write(&self) -> Result<WriteTx, StoreError> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let mut read = ReadTx(self.begin_change().await?);
        // INVARIANT: the version is a row of this transaction, not a sequence. So versions have no gaps, and nobody
        // sees a version before all lower ones. The update comes first: its row lock serialises the changes of all
        // processes.
        let (version, chain) = counter(
            &mut read,
            "UPDATE policy_version SET version = version + 1 WHERE only_row = 1 RETURNING version, chain",
        )
        .await?;
        Ok(WriteTx {
            read,
            version,
            chain,
            shared: self.is_shared(),
            _turn: turn,
        })
    }

    /// Begins writing audit events that are no change of the policy. It takes its turn among the changes, since the
    /// trail is one chain, and takes no policy version.
    pub(crate) async fn begin_audit(&self) -> Result<AuditTx, StoreError> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let mut read = ReadTx(self.begin_change().await?);
        // Locks the row that serialises the changes of all processes, without changing it.
        let (version, chain) = counter(
            &mut read,
            "UPDATE policy_version SET version = version WHERE only_row = 1 RETURNING version, chain",
        )
        .await?;
        Ok(AuditTx(WriteTx {
            read,
            version,
            chain,
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

    /// Begins a transaction on the ledger: no policy version, no notification.
    pub(super) async fn begin_ledger(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        match self.kind {
            Kind::Sqlite { .. } => self.ledger.begin_with("BEGIN IMMEDIATE").await,
            Kind::Postgres(_) => self.ledger.begin().await,
        }
    }

    /// Waits for the turn to write a ledger row. `PostgreSQL` needs no such turn.
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
        // Readers' connections are read-only and, in PostgreSQL, `REPEATABLE READ`: set when they are opened.
        Ok(ReadTx(self.readers.begin().await?))
    }

    /// Asks the store for an answer.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; also where it does not answer in time.
    pub async fn probe(&self) -> Result<(), StoreError> {
        let asking = sqlx::query("SELECT 1").execute(&self.readers);
        let answered = tokio::time::timeout(WAIT, asking).await;
        answered.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        Ok(())
    }

    /// Whether other processes may use this store at the same time.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        matches!(self.kind, Kind::Postgres(_))
    }

    /// Closes the connections, which checkpoints a write-ahead log, and releases the lock.
    pub async fn close(&self) {
        self.readers.close().await;
        self.ledger.close().await;
        self.writer.close().await;
        if let Kind::Sqlite { lock } = &self.kind {
            // Callers that still hold this store cannot use it any more; the next process need not wait for them.
            let _ = lock.unlock();
        }
    }
}

/// The counter of versions and its chain, as a statement that locks its row answers them.
async fn counter(tx: &mut ReadTx, statement: &'static str) -> Result<(i64, PolicyChain), StoreError> {
    let (version, chain): (i64, String) = sqlx::query_as(statement).fetch_one(tx.connection()).await?;
    let chain = chain
        .parse()
        .map_err(|_| StoreError::Corrupted("policy_version"))?;
    Ok((version, chain))
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
    /// Commits the change as the next policy version, with `body` as its entry in the change feed. Returns the
    /// version.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Full`]: the change is rolled back.
    /// [`StoreError::Unconfirmed`]: the connection was lost between the commit and its confirmation.
    pub async fn commit(mut self, body: &str, at: UnixSeconds) -> Result<u64, StoreError> {
        let version = self.version;
        let chain = self
            .chain
            .after(number(version, "policy_version")?, body)
            .to_string();
        sqlx::query("UPDATE policy_version SET chain = $1 WHERE only_row = 1")
            .bind(chain.as_str())
            .execute(self.connection())
            .await?;
        sqlx::query("INSERT INTO policy_changes (version, body, at, chain) VALUES ($1, $2, $3, $4)")
            .bind(version)
            .bind(body)
            .bind(seconds(at))
            .bind(chain.as_str())
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
            // A failed commit to a file is rolled back. A server may have committed before the connection was lost.
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

    /// The transaction as a change, for rows that may be written in either.
    pub(crate) const fn as_change(&mut self) -> &mut WriteTx {
        &mut self.0
    }

    /// Appends an event to the trail, like [`WriteTx::append_audit`].
    pub(crate) async fn append_audit(
        &mut self,
        row: &crate::model::audit::AuditRow,
    ) -> Result<(), StoreError> {
        self.0.append_audit(row).await
    }

    /// Commits.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        Ok(self.0.read.0.commit().await?)
    }
}

/// The notification channel between processes.
pub(super) const CHANNEL: &str = "portcullis_policy";

/// Notifies other processes of a version when this transaction commits.
pub(super) async fn notify(connection: &mut AnyConnection, version: i64) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_notify($1, $2)")
        .bind(CHANNEL)
        .bind(version.to_string())
        .execute(connection)
        .await?;
    Ok(())
}
