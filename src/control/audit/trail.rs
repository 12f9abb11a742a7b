//! Reading the audit trail: by page, whole, and to see whether anybody has been at it.

use crate::control::changes::Changes;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::control::actor::Actor;
use crate::control::audit_event::{AuditAction, EVENTS_DROPPED, Event};
use crate::control::error::ControlError;
use crate::domain::ids::WorkspaceId;
use crate::domain::role::Action;
use crate::domain::time::UnixSeconds;
use crate::model::audit::{AuditFilter, AuditRow};
use crate::model::page::Page;
use crate::store::audit::{ChainEnd, KeptRow};
use crate::store::{Store, StoreError};

/// Events dropped at once, so that no writer waits for long.
const DROPPED_AT_ONCE: u32 = 1_000;

/// How long events stay beyond the retention, in seconds, so that they are dropped, and an event tells of it, once a day.
const DROP_EVERY_S: u64 = 86_400;

/// Events read at once by a check.
const CHECKED_AT_ONCE: u32 = 1_000;

/// Faults that a check lists; it counts further ones.
const FAULTS_LISTED: usize = 100;

/// Who drops old events.
static RETENTION: Actor = Actor::system("retention");

/// An event of the trail as it is noted down elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotedEvent {
    /// Its place in the chain, and its hash.
    pub place: ChainEnd,
    /// When it happened; unknown in notes of an older form.
    pub at: Option<UnixSeconds>,
}

/// What somebody noted down of the trail, to tell later whether that past is still the past: its first and last event.
///
/// Its text is `FIRST:HASH@TIME..LAST:HASH@TIME/COUNT`. The older form `LAST:HASH` says nothing of the beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotedTrail {
    /// Unknown in notes of an older form.
    pub first: Option<NotedEvent>,
    pub last: NotedEvent,
}

impl fmt::Display for NotedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.place.position, self.place.hash)?;
        self.at.map_or(Ok(()), |at| write!(f, "@{at}"))
    }
}

impl fmt::Display for NotedTrail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = &self.first else {
            return self.last.fmt(f);
        };
        let count = self.last.place.position - first.place.position + 1;
        write!(f, "{first}..{}/{count}", self.last)
    }
}

impl FromStr for NotedEvent {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (position, rest) = text
            .split_once(':')
            .ok_or("write each event as POSITION:HASH@TIME")?;
        let position = position
            .parse()
            .map_err(|_| "the position before the colon is a number")?;
        let (hash, at) = match rest.split_once('@') {
            Some((hash, at)) => {
                let at = at
                    .parse()
                    .map_err(|_| "the time after the @ is in Unix seconds")?;
                (hash, Some(UnixSeconds(at)))
            }
            None => (rest, None),
        };
        Ok(Self {
            place: ChainEnd {
                position,
                hash: hash.to_owned(),
            },
            at,
        })
    }
}

impl FromStr for NotedTrail {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let Some((first, rest)) = text.split_once("..") else {
            return Ok(Self {
                first: None,
                last: text.parse()?,
            });
        };
        let (last, count) = rest.split_once('/').ok_or("write it as FIRST..LAST/COUNT")?;
        let (first, last): (NotedEvent, NotedEvent) = (first.parse()?, last.parse()?);
        let between = last.place.position.checked_sub(first.place.position);
        let counted = count.parse::<i64>().ok().and_then(|count| count.checked_sub(1));
        if counted.is_none() || counted != between || counted < Some(0) {
            return Err(
                "the count is not that of the events from the first to the last; copy the whole text",
            );
        }
        Ok(Self {
            first: Some(first),
            last,
        })
    }
}

/// How old events must be before they are dropped.
#[derive(Clone, Copy, Debug)]
pub struct TrailAge {
    pub now: UnixSeconds,
    pub retention: Duration,
}

impl TrailAge {
    /// Whether an event may have been dropped for its age by now. Of one whose time is unknown nothing is known.
    fn may_be_dropped(&self, event: &NotedEvent) -> bool {
        let retention = self.retention.as_secs();
        event.at.is_none_or(|at| at.plus(retention) <= self.now)
    }
}

/// What an event says that tells of dropped ones.
#[derive(Deserialize)]
struct DropRecord {
    /// The last of them.
    position: i64,
    hash: String,
    /// They were all from before this moment, and had to be this old, in seconds; absent where they were dropped by a
    /// version that did not tell of it.
    until: Option<u64>,
    retention_s: Option<u64>,
}

/// What a check of the trail found.
#[derive(Debug)]
pub struct TrailReport {
    /// Events looked at.
    pub events: u64,
    /// The last event that was dropped for its age.
    pub begin: ChainEnd,
    /// The last event there is.
    pub end: ChainEnd,
    /// What to note down elsewhere, to tell later whether this past was rewritten; none of an empty trail.
    pub noted: Option<NotedTrail>,
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
        actor.require(workspace, Action::ViewAudit)?;
        let mut tx = self.store.read().await?;
        Ok(tx.audit_events(workspace, filter, page.after, page.limit).await?)
    }

    /// Drops events that were older than the retention at `passed`, once a day and a bounded number at a time. An event
    /// of the trail tells of each time.
    pub(crate) async fn drop_old_events(&self, passed: UnixSeconds) -> Result<(), StoreError> {
        let retention_s = self.audit_retention.as_secs();
        let until = passed.minus(retention_s);
        let mut unless_since = until.minus(DROP_EVERY_S);
        let oldest = self.store.oldest_audit().await?;
        if oldest.is_none_or(|oldest| oldest >= unless_since) {
            return Ok(());
        }
        loop {
            let mut tx = self.changes.begin_audit().await?;
            let dropped = tx.drop_audit(unless_since, until, DROPPED_AT_ONCE).await?;
            let Some(dropped) = dropped else { return Ok(()) };
            let event = drop_event(&dropped.last).made(json!({
                "position": dropped.last.position,
                "hash": dropped.last.hash,
                "events": dropped.events,
                "until": until.0,
                "retention_s": retention_s,
            }));
            tx.append_audit(&self.changes.audit_row(&RETENTION, event))
                .await?;
            tx.commit().await?;
            if !dropped.more {
                return Ok(());
            }
            unless_since = until;
        }
    }

    /// Makes the trail tell of what a version dropped from it that did not tell of it. Once in a store.
    pub(crate) async fn record_earlier_drops(&self) -> Result<(), StoreError> {
        if self.store.records_audit_drops().await? {
            return Ok(());
        }
        let mut tx = self.changes.begin_audit().await?;
        if let Some(last) = tx.begin_recording_drops().await? {
            let event = drop_event(&last).made(json!({"position": last.position, "hash": last.hash}));
            tx.append_audit(&self.changes.audit_row(&RETENTION, event))
                .await?;
        }
        tx.commit().await
    }
}

/// The event that tells of others that were dropped, of which this was the last.
fn drop_event(last: &ChainEnd) -> Event {
    Event::of_server(AuditAction::EventsDropped, "audit_trail", &last.position, &"")
}

/// Goes through the whole trail and says what does not fit: events that were edited, removed, moved or added
/// by anybody but this program. Given what was noted down of it earlier, it says whether the past up to there is still
/// that past.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn verify_trail(
    store: &Store,
    noted: Option<&NotedTrail>,
    age: &TrailAge,
) -> Result<TrailReport, StoreError> {
    // One view, so that what is appended meanwhile does not look like a fault.
    let mut tx = store.read().await?;
    let (begin, end) = tx.audit_chain().await?;
    let mut check = Check {
        report: TrailReport {
            events: 0,
            begin: begin.clone(),
            end: end.clone(),
            noted: None,
            faults: Vec::new(),
            more_faults: 0,
        },
        at: begin,
        tells_of_begin: false,
        first: None,
        last_at: None,
        found_noted: false,
    };
    check.found_noted = noted.is_some_and(|noted| noted.last.place == check.at);
    let mut after = i64::MIN;
    loop {
        let rows = tx.audit_after(after, CHECKED_AT_ONCE).await?;
        let Some(last) = rows.last() else { break };
        after = last.position;
        for row in rows {
            check.take(row, noted);
        }
    }
    check_end(&mut check.report, &check.at, &end);
    Ok(check.finish(noted, age))
}

/// A check under way.
struct Check {
    report: TrailReport,
    /// Where it has come to.
    at: ChainEnd,
    /// Whether an event tells of what was dropped before the beginning.
    tells_of_begin: bool,
    first: Option<NotedEvent>,
    last_at: Option<UnixSeconds>,
    /// Whether the last of the noted events was met.
    found_noted: bool,
}

impl Check {
    fn take(&mut self, row: KeptRow, noted: Option<&NotedTrail>) {
        self.report.events += 1;
        check_place(&mut self.report, &self.at, row.position);
        // After a gap the hash before is gone: only what the row says of itself is lost with it.
        if row.position == self.at.position + 1 && !row.follows(&self.at.hash) {
            self.report.fault(format!(
                "event {} ({}) does not fit: it was edited, or the one before it was replaced",
                row.position, row.row.id
            ));
        }
        if row.row.action == EVENTS_DROPPED {
            self.take_drop(&row);
        }
        let event = NotedEvent {
            place: ChainEnd {
                position: row.position,
                hash: row.hash,
            },
            at: Some(row.row.at),
        };
        if let Some(first) = noted.and_then(|noted| noted.first.as_ref())
            && first.place.position == event.place.position
            && first.place.hash != event.place.hash
        {
            self.report.fault(format!(
                "event {first} was noted as the first, and is another one now"
            ));
        }
        self.found_noted |= noted.is_some_and(|noted| noted.last.place == event.place);
        self.at = event.place.clone();
        self.last_at = event.at;
        self.first.get_or_insert(event);
    }

    /// Looks at an event that tells of dropped ones.
    fn take_drop(&mut self, row: &KeptRow) {
        let told = row.row.changed_to.as_deref();
        let told: Option<DropRecord> = told.and_then(|told| serde_json::from_str(told).ok());
        let Some(told) = told else {
            let position = row.position;
            self.report.fault(format!(
                "event {position} tells of dropped events, and not of which"
            ));
            return;
        };
        let begin = &self.report.begin;
        self.tells_of_begin |= told.position == begin.position && told.hash == begin.hash;
        let (until, retention) = (
            told.until.unwrap_or_default(),
            told.retention_s.unwrap_or_default(),
        );
        if until.saturating_add(retention) > row.row.at.0 {
            self.report.fault(format!(
                "event {} tells of events that were dropped before their age of {retention} s",
                row.position
            ));
        }
    }

    fn finish(mut self, noted: Option<&NotedTrail>, age: &TrailAge) -> TrailReport {
        let begin = self.report.begin.clone();
        if begin.position > 0 && !self.tells_of_begin {
            self.report.fault(format!(
                "the events up to {} are gone, and no event tells that they were dropped for their age: they were removed",
                begin.position
            ));
        }
        if let Some(noted) = noted {
            self.check_noted(noted, age);
        }
        self.report.noted = self.first.map(|first| NotedTrail {
            first: Some(first),
            last: NotedEvent {
                place: self.at,
                at: self.last_at,
            },
        });
        self.report
    }

    fn check_noted(&mut self, noted: &NotedTrail, age: &TrailAge) {
        let begin = self.report.begin.position;
        for event in noted.first.iter().chain([&noted.last]) {
            let position = event.place.position;
            if position <= begin && !age.may_be_dropped(event) {
                self.report.fault(format!(
                    "event {position} is gone, and is younger than the retention of {} days: it was removed",
                    age.retention.as_secs() / 86_400
                ));
            }
        }
        let last = &noted.last.place;
        if self.found_noted {
            return;
        }
        self.report.fault(if last.position < begin {
            format!(
                "event {} has been dropped for its age and cannot be compared",
                last.position
            )
        } else {
            format!(
                "event {} is not the one with the hash {} (any more)",
                last.position, last.hash
            )
        });
    }
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
