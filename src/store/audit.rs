//! The audit trail: one row for each change, each chained to the one before it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{StoreError, WriteTx, seconds};
use crate::domain::digest::Chain;
use crate::domain::time::UnixSeconds;

/// One row of the trail as it is written.
#[derive(Clone, Debug)]
pub struct AuditRow {
    pub id: String,
    /// The workspace it happened in; none for what concerns the whole server.
    pub workspace: Option<String>,
    pub at: UnixSeconds,
    pub action: String,
    pub actor_type: String,
    pub actor_id: String,
    /// What people knew the actor by when it happened.
    pub actor_name: String,
    pub address: Option<String>,
    pub resource_type: String,
    pub resource_id: String,
    pub resource_name: String,
    /// JSON of what the change replaced, and of what it put there.
    pub changed_from: Option<String>,
    pub changed_to: Option<String>,
}

impl AuditRow {
    /// The hash of this row at `position`, after a row whose hash is `before`.
    fn hash(&self, position: i64, before: &str) -> String {
        let mut chain = Chain::new("portcullis audit event, first form");
        chain.text(Some(before));
        chain.number(position);
        chain.text(Some(&self.id));
        chain.text(self.workspace.as_deref());
        chain.number(seconds(self.at));
        for text in [&self.action, &self.actor_type, &self.actor_id, &self.actor_name] {
            chain.text(Some(text));
        }
        chain.text(self.address.as_deref());
        for text in [&self.resource_type, &self.resource_id, &self.resource_name] {
            chain.text(Some(text));
        }
        chain.text(self.changed_from.as_deref());
        chain.text(self.changed_to.as_deref());
        URL_SAFE_NO_PAD.encode(chain.finish())
    }
}

impl WriteTx {
    /// Adds a row to the trail. It is kept if, and only if, the change it speaks of is.
    pub(crate) async fn append_audit(&mut self, row: &AuditRow) -> Result<(), StoreError> {
        // INVARIANT: one change is made at a time, by whichever process, so nobody else extends the chain
        // between these statements.
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
