//! The audit trail: one row for each event, chained by hashes.
//!
//! The oldest rows may be dropped. The chain then begins with the hash of the last dropped row.

use crate::model::audit::{AuditFilter, AuditRow};

use futures::TryStreamExt as _;
use sqlx::FromRow;

use super::database::{AuditTx, ReadTx, Store, WriteTx};
use super::error::StoreError;
use super::rows::{moment, seconds};
use crate::domain::ids::WorkspaceId;
use crate::domain::time::UnixSeconds;

/// Every column of an event, in the order of the table.
const COLUMNS: &str = "position, id, workspace, at, action, actor_type, actor_id, actor_name, address, \
     resource_type, resource_id, resource_name, changed_from, changed_to, hash";

/// Stop reading events after this many bytes. One change of a member's roles may have a hundred kilobytes.
const BYTES_AT_ONCE: usize = 128 << 10;

/// A position in the chain: the number of events up to it, and the hash of the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainEnd {
    pub position: i64,
    pub hash: String,
}

/// A stored event, with its position and hash.
#[derive(Debug)]
pub struct AuditRecord {
    pub position: i64,
    pub hash: String,
    pub row: AuditRow,
}

#[derive(FromRow)]
struct Row {
    position: i64,
    id: String,
    workspace: Option<String>,
    at: i64,
    action: String,
    actor_type: String,
    actor_id: String,
    actor_name: String,
    address: Option<String>,
    resource_type: String,
    resource_id: String,
    resource_name: String,
    changed_from: Option<String>,
    changed_to: Option<String>,
    hash: String,
}

impl TryFrom<Row> for AuditRecord {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            position: row.position,
            hash: row.hash,
            row: AuditRow {
                id: row.id,
                workspace: row.workspace,
                // Times before 1970 are never written; their hash does not match either.
                at: moment(row.at.max(0), "audit_events")?,
                action: row.action,
                actor_type: row.actor_type,
                actor_id: row.actor_id,
                actor_name: row.actor_name,
                address: row.address,
                resource_type: row.resource_type,
                resource_id: row.resource_id,
                resource_name: row.resource_name,
                changed_from: row.changed_from,
                changed_to: row.changed_to,
            },
        })
    }
}

impl AuditRecord {
    /// Whether the stored hash matches the event's content and `before`, the hash of the preceding event.
    pub fn follows(&self, before: &str) -> bool {
        self.row.hash(self.position, before) == self.hash
    }
}

/// Whether there may be more events after these, the result of a query for up to `limit`.
pub fn may_have_more(found: &[AuditRow], limit: u32) -> bool {
    let is_full = found.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    is_full || found.iter().map(AuditRow::bytes).sum::<usize>() >= BYTES_AT_ONCE
}

impl WriteTx {
    /// Appends an event to the trail, in the transaction of the change it describes.
    pub(crate) async fn append_audit(&mut self, row: &AuditRow) -> Result<(), StoreError> {
        // INVARIANT: only one process makes a change at a time, so no other process extends the chain between these
        // statements.
        let (newest, before): (i64, String) =
            sqlx::query_as("SELECT newest_position, newest_hash FROM audit_chain WHERE only_row = 1")
                .fetch_one(self.connection())
                .await?;
        let position = newest + 1;
        let hash = row.hash(position, &before);
        sqlx::query(
            "INSERT INTO audit_events (position, id, workspace, at, action, actor_type, actor_id, actor_name, \
             address, resource_type, resource_id, resource_name, changed_from, changed_to, hash) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        )
        .bind(position)
        .bind(row.id.as_str())
        .bind(row.workspace.as_deref())
        .bind(seconds(row.at))
        .bind(row.action.as_str())
        .bind(row.actor_type.as_str())
        .bind(row.actor_id.as_str())
        .bind(row.actor_name.as_str())
        .bind(row.address.as_deref())
        .bind(row.resource_type.as_str())
        .bind(row.resource_id.as_str())
        .bind(row.resource_name.as_str())
        .bind(row.changed_from.as_deref())
        .bind(row.changed_to.as_deref())
        .bind(hash.as_str())
        .execute(self.connection())
        .await?;
        sqlx::query("UPDATE audit_chain SET newest_position = $1, newest_hash = $2 WHERE only_row = 1")
            .bind(position)
            .bind(hash.as_str())
            .execute(self.connection())
            .await?;
        Ok(())
    }
}

impl ReadTx {
    /// Up to `limit` events of a workspace, newest first, older than the event `after` unless that is empty. Returns
    /// fewer if they are large: see [`may_have_more`].
    pub(crate) async fn audit_events(
        &mut self,
        workspace: &WorkspaceId,
        filter: &AuditFilter,
        after: &str,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let mut text = format!("SELECT {COLUMNS} FROM audit_events WHERE workspace = $1");
        let mut texts = vec![workspace.as_str()];
        for (column, wanted) in [
            ("actor_id", &filter.actor),
            ("actor_name", &filter.actor_name),
            ("action", &filter.action),
            ("resource_type", &filter.resource_type),
            ("resource_id", &filter.resource_id),
        ] {
            if let Some(wanted) = wanted {
                texts.push(wanted);
                text.push_str(&format!(" AND {column} = ${}", texts.len()));
            }
        }
        if !after.is_empty() {
            texts.push(after);
            text.push_str(&format!(
                " AND (at, position) < (SELECT at, position FROM audit_events WHERE workspace = $1 AND id = ${})",
                texts.len()
            ));
        }
        let mut numbers = Vec::with_capacity(3);
        for (comparison, moment) in [(">=", filter.since), ("<", filter.until)] {
            if let Some(moment) = moment {
                numbers.push(seconds(moment));
                text.push_str(&format!(" AND at {comparison} ${}", texts.len() + numbers.len()));
            }
        }
        numbers.push(i64::from(limit));
        text.push_str(&format!(
            " ORDER BY at DESC, position DESC LIMIT ${}",
            texts.len() + numbers.len()
        ));
        // Only column names and parameter numbers are concatenated.
        let mut query = sqlx::query_as::<_, Row>(sqlx::AssertSqlSafe(text));
        for text in texts {
            query = query.bind(text);
        }
        for number in numbers {
            query = query.bind(number);
        }
        let mut rows = query.fetch(self.connection());
        let (mut found, mut bytes) = (Vec::new(), 0);
        while bytes < BYTES_AT_ONCE
            && let Some(row) = rows.try_next().await?
        {
            let row = AuditRecord::try_from(row)?.row;
            bytes += row.bytes();
            found.push(row);
        }
        Ok(found)
    }

    /// Up to `limit` events after a position, in the order of the chain.
    pub(crate) async fn audit_events_after(
        &mut self,
        position: i64,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        let text =
            format!("SELECT {COLUMNS} FROM audit_events WHERE position > $1 ORDER BY position LIMIT $2");
        let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(text))
            .bind(position)
            .bind(i64::from(limit))
            .fetch_all(self.connection())
            .await?;
        rows.into_iter().map(AuditRecord::try_from).collect()
    }

    /// The beginning of the chain (the last dropped event) and its end.
    pub(crate) async fn audit_chain(&mut self) -> Result<(ChainEnd, ChainEnd), StoreError> {
        let row: Option<(i64, String, i64, String)> = sqlx::query_as(
            "SELECT dropped_position, dropped_hash, newest_position, newest_hash FROM audit_chain \
             WHERE only_row = 1",
        )
        .fetch_optional(self.connection())
        .await?;
        let (from, first, to, last) = row.ok_or(StoreError::Corrupted("audit_chain"))?;
        let end = |position, hash| ChainEnd { position, hash };
        Ok((end(from, first), end(to, last)))
    }
}

/// Events that were dropped because of their age.
#[derive(Debug)]
pub struct DroppedEvents {
    /// How many.
    pub events: usize,
    /// The last of them.
    pub last: ChainEnd,
    /// Whether there may be more to drop.
    pub more: bool,
}

impl AuditTx {
    /// Drops up to `limit` of the oldest events from before `until`, and stores the hash of the last one. Drops
    /// nothing unless the oldest event is from before `unless_since`.
    pub(crate) async fn drop_old_audit_events(
        &mut self,
        unless_since: UnixSeconds,
        until: UnixSeconds,
        limit: u32,
    ) -> Result<Option<DroppedEvents>, StoreError> {
        let rows: Vec<(i64, i64, String)> =
            sqlx::query_as("SELECT position, at, hash FROM audit_events ORDER BY position LIMIT $1")
                .bind(i64::from(limit))
                .fetch_all(self.connection())
                .await?;
        if rows.first().is_none_or(|(_, at, _)| *at >= seconds(unless_since)) {
            return Ok(None);
        }
        let old: Vec<_> = rows
            .iter()
            .take_while(|(_, at, _)| *at < seconds(until))
            .collect();
        let Some((position, _, hash)) = old.last() else {
            return Ok(None);
        };
        sqlx::query("UPDATE audit_chain SET dropped_position = $1, dropped_hash = $2 WHERE only_row = 1")
            .bind(*position)
            .bind(hash.as_str())
            .execute(self.connection())
            .await?;
        sqlx::query("DELETE FROM audit_events WHERE position <= $1")
            .bind(*position)
            .execute(self.connection())
            .await?;
        Ok(Some(DroppedEvents {
            events: old.len(),
            last: ChainEnd {
                position: *position,
                hash: hash.clone(),
            },
            more: old.len() == rows.len(),
        }))
    }

    /// Marks the trail as recording every drop from now on. Returns the last event that was dropped before without a
    /// record.
    pub(crate) async fn start_recording_drops(&mut self) -> Result<Option<ChainEnd>, StoreError> {
        let noted = sqlx::query(
            "UPDATE audit_chain SET drops_recorded = 1 WHERE only_row = 1 AND drops_recorded = 0",
        )
        .execute(self.connection())
        .await?;
        let (begin, _) = self.0.audit_chain().await?;
        Ok((noted.rows_affected() == 1 && begin.position > 0).then_some(begin))
    }
}

impl Store {
    /// The time of the oldest event, if there is one.
    pub(crate) async fn oldest_audit_event(&self) -> Result<Option<UnixSeconds>, StoreError> {
        let at: Option<i64> = sqlx::query_scalar("SELECT at FROM audit_events ORDER BY position LIMIT 1")
            .fetch_optional(&self.readers)
            .await?;
        at.map(|at| moment(at.max(0), "audit_events")).transpose()
    }

    /// Whether the trail records every drop.
    pub(crate) async fn is_recording_drops(&self) -> Result<bool, StoreError> {
        let recorded: i64 = sqlx::query_scalar("SELECT drops_recorded FROM audit_chain WHERE only_row = 1")
            .fetch_one(&self.readers)
            .await?;
        Ok(recorded != 0)
    }
}
