//! Reading the audit trail: by page, whole, and to see whether anybody has been at it.

use crate::control::actor::Actor;
use crate::control::changes::Changes;
use crate::control::error::ControlError;
use crate::domain::ids::WorkspaceId;
use crate::domain::role::Action;
use crate::model::audit::{AuditFilter, AuditRow};
use crate::model::page::Page;
use crate::store::audit::ChainEnd;
use crate::store::{Store, StoreError};
use std::sync::Arc;
use std::time::Duration;

/// Events dropped at once, so that no writer waits for long.
const DROPPED_AT_ONCE: u32 = 1_000;

/// Events read at once by a check.
const CHECKED_AT_ONCE: u32 = 1_000;

/// Faults that a check lists; it counts further ones.
const FAULTS_LISTED: usize = 100;

/// What a check of the trail found.
#[derive(Debug)]
pub struct TrailReport {
    /// Events looked at.
    pub events: u64,
    /// The last event that was dropped for its age.
    pub begin: ChainEnd,
    /// The last event there is. Whoever keeps it elsewhere can tell later whether this past was rewritten.
    pub end: ChainEnd,
    /// What is wrong, in sentences; the first hundred.
    pub faults: Vec<String>,
    /// Faults beyond those listed.
    pub more_faults: u64,
}

impl TrailReport {
    fn fault(&mut self, sentence: String) {
        if self.faults.len() < FAULTS_LISTED {
            self.faults.push(sentence);
        } else {
            self.more_faults += 1;
        }
    }
}

/// The audit trail, as it is read.
pub struct AuditTrail {
    pub(crate) audit_retention: Duration,
    pub(crate) store: Arc<Store>,
    pub(crate) changes: Arc<Changes>,
}

impl AuditTrail {
    /// One page of a workspace's events, the newest first.
    ///
    /// # Errors
    /// [`ControlError::Forbidden`] for who is no owner.
    pub async fn audit_events(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        filter: &AuditFilter,
        page: Page<'_>,
    ) -> Result<Vec<AuditRow>, ControlError> {
        actor.must(workspace, Action::ViewAudit)?;
        let mut tx = self.store.read().await?;
        Ok(tx.audit_events(workspace, filter, page.after, page.limit).await?)
    }

    /// Drops events that are older than the retention, a bounded number at a time.
    pub(crate) async fn drop_old_events(&self) -> Result<(), StoreError> {
        let until = self.changes.now().minus(self.audit_retention.as_secs());
        while self.store.drop_audit(until, DROPPED_AT_ONCE).await? {}
        Ok(())
    }
}

/// Goes through the whole trail and says what does not fit: events that were edited, removed, moved or added
/// by anybody but this program. Given a `known` place of the chain, noted down earlier, it says whether the
/// past up to there is still that past.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn verify_trail(store: &Store, known: Option<&ChainEnd>) -> Result<TrailReport, StoreError> {
    // One view, so that what is appended meanwhile does not look like a fault.
    let mut tx = store.read().await?;
    let (begin, end) = tx.audit_chain().await?;
    let mut report = TrailReport {
        events: 0,
        begin: begin.clone(),
        end: end.clone(),
        faults: Vec::new(),
        more_faults: 0,
    };
    let (mut at, mut found_known) = (begin, known.is_none());
    found_known |= known == Some(&at);
    let mut first = i64::MIN;
    loop {
        let rows = tx.audit_after(first, CHECKED_AT_ONCE).await?;
        let Some(last) = rows.last() else { break };
        first = last.position;
        for row in rows {
            report.events += 1;
            check_place(&mut report, &at, row.position);
            // After a gap the hash before is gone: only what the row says of itself is lost with it.
            if row.position == at.position + 1 && !row.follows(&at.hash) {
                report.fault(format!(
                    "event {} ({}) does not fit: it was edited, or the one before it was replaced",
                    row.position, row.row.id
                ));
            }
            at = ChainEnd {
                position: row.position,
                hash: row.hash,
            };
            found_known |= known == Some(&at);
        }
    }
    check_end(&mut report, &at, &end);
    if !found_known && let Some(known) = known {
        report.fault(if known.position < report.begin.position {
            format!(
                "event {} has been dropped for its age and cannot be compared",
                known.position
            )
        } else {
            format!(
                "event {} is not the one with the hash {} (any more)",
                known.position, known.hash
            )
        });
    }
    Ok(report)
}

fn check_place(report: &mut TrailReport, before: &ChainEnd, position: i64) {
    let expected = before.position + 1;
    if position < expected {
        report.fault(format!(
            "event {position} lies before the beginning of the trail: it was added"
        ));
    } else if position == expected + 1 {
        report.fault(format!("event {expected} is missing: it was removed"));
    } else if position > expected {
        report.fault(format!(
            "events {expected} to {} are missing: they were removed",
            position - 1
        ));
    }
}

fn check_end(report: &mut TrailReport, last: &ChainEnd, end: &ChainEnd) {
    if last.position < end.position {
        report.fault(format!(
            "the trail ends with event {} and should go on to event {}: its end was removed",
            last.position, end.position
        ));
    } else if last.position > end.position {
        report.fault(format!(
            "the trail should end with event {}: what follows, up to event {}, was added",
            end.position, last.position
        ));
    } else if last.hash != end.hash {
        report.fault(format!(
            "event {} is not the one that was written last: it was replaced",
            last.position
        ));
    }
}
