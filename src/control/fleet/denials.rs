//! Revocations that come back from edges after the database lost them: it was restored from a backup, or failed over to a
//! copy that was behind.
//!
//! A lost revocation must not come back to life. An edge whose position is not in the feed returns the revocations that it
//! knows before it takes a snapshot; those that are missing are committed again. An edge is trusted with this because what
//! it returns can only deny.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::edges::{EDGE, Edges};
use crate::control::audit_event::{AuditAction, Event};
use crate::control::error::ControlError;
use crate::domain::access_token::TOKEN_ID_BYTES_MAX;
use crate::domain::ids::{AppId, EdgeId};
use crate::domain::issuer_url::ISSUER_BYTES_MAX;
use crate::domain::time::UnixSeconds;
use crate::fleet::protocol::{DENIALS_MAX, Denials};
use crate::snapshot::{Change, RevocationRecord};
use crate::store::revocation::Revocation;

/// Revocations that all edges together may bring back to one process.
const RECOVERED_MAX: u64 = 100_000;

/// What a recovered revocation has in place of the app: the edge does not know it.
const APP: &str = "unknown";

const RECOVERED: &str = "the database lost revocations that an edge knew; they are in force again";

impl Edges {
    /// Commits the revocations again that the store does not have. What has expired, or is already there, is passed over.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] for more than 1,000 or for one that no token could have, [`ControlError::Busy`] once this
    /// process took 100,000.
    pub(crate) async fn recover(&self, id: &EdgeId, denials: Denials) -> Result<(), ControlError> {
        let records = denials.revocations;
        if records.len() > DENIALS_MAX || !records.iter().all(is_plausible) {
            return Err(ControlError::invalid(
                "revocations",
                "cannot be a list of revocations",
            ));
        }
        let (now, passed) = (self.changes.now(), self.changes.watch.passed());
        let app = AppId::parse(APP).map_err(|_| ControlError::Crypto("an id"))?;
        let mut tx = self.changes.begin_unproved().await?.proved(EDGE.clone());
        let Some(edge) = tx.edge(id).await?.filter(|edge| edge.revoked_at.is_none()) else {
            return Err(ControlError::Unauthenticated);
        };
        let mut changes = Vec::new();
        for record in records {
            if UnixSeconds(record.expires_at) <= passed {
                continue;
            }
            let revocation = Revocation {
                issuer: record.issuer.clone(),
                token_id: record.token_id.clone(),
                expires_at: UnixSeconds(record.expires_at),
                app: app.clone(),
                proof: None,
                at: now,
                reason: "recovered from an edge",
            };
            if tx.insert_revocation(&revocation).await? {
                changes.push(Change::Revoke(record));
            }
        }
        let count = changes.len() as u64;
        if count == 0 {
            return Ok(());
        }
        if self.recovered.fetch_add(count, Ordering::Relaxed) + count > RECOVERED_MAX {
            return Err(ControlError::Busy);
        }
        tracing::error!(count, edge.id = %edge.id, edge.name = edge.name.as_str(), "{RECOVERED}");
        let event = Event::of_server(AuditAction::RevocationsRecovered, "edge", &edge.id, &edge.name)
            .made(json!({"count": count}));
        self.changes.commit(tx, &changes, event).await
    }
}

fn is_plausible(record: &RevocationRecord) -> bool {
    (1..=TOKEN_ID_BYTES_MAX).contains(&record.token_id.len())
        && (1..=ISSUER_BYTES_MAX).contains(&record.issuer.len())
        && !record.token_id.contains('\0')
        && !record.issuer.contains('\0')
}
