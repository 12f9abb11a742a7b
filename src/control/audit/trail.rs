//! The audit trail: pages of events, retention, and verification of the hash chain.

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
use crate::store::audit::{AuditRecord, ChainEnd};
use crate::store::{Store, StoreError};

/// Events dropped at once, so that no writer waits for long.
const DROPPED_AT_ONCE: u32 = 1_000;

/// How long events are kept beyond the retention, in seconds, so that events are dropped, and a drop is recorded,
/// once a day.
const DROP_EVERY_S: u64 = 86_400;

/// Events read at once by a verification.
const CHECKED_AT_ONCE: u32 = 1_000;

/// The most faults that a verification lists; further ones are counted.
const FAULTS_LISTED: usize = 100;

/// The actor that drops old events.
static RETENTION: Actor = Actor::system("retention");

/// An event of the trail, as `--expect` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedEvent {
    /// Its position in the chain, and its hash.
    pub place: ChainEnd,
    /// When it happened; unknown in the older form.
    pub at: Option<UnixSeconds>,
}

/// The expected trail (`--expect`), recorded earlier to detect a rewritten past: its first and last event.
///
/// Its text is `FIRST:HASH@TIME..LAST:HASH@TIME/COUNT`. The older form `LAST:HASH` does not cover the beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedTrail {
    /// Unknown in the older form.
    pub first: Option<ExpectedEvent>,
    pub last: ExpectedEvent,
}

impl fmt::Display for ExpectedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.place.position, self.place.hash)?;
        self.at.map_or(Ok(()), |at| write!(f, "@{at}"))
    }
}

impl fmt::Display for ExpectedTrail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = &self.first else {
            return self.last.fmt(f);
        };
        let count = self.last.place.position - first.place.position + 1;
        write!(f, "{first}..{}/{count}", self.last)
    }
}

impl FromStr for ExpectedEvent {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (position, rest) = text
            .split_once(':')
            .ok_or("write each event as POSITION:HASH@TIME")?;
        let position = position
            .parse()
            .map_err(|_| "write the position before the colon as a number")?;
        let (hash, at) = match rest.split_once('@') {
            Some((hash, at)) => {
                let at = at
                    .parse()
                    .map_err(|_| "write the time after the @ in Unix seconds")?;
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

impl FromStr for ExpectedTrail {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let Some((first, rest)) = text.split_once("..") else {
            return Ok(Self {
                first: None,
                last: text.parse()?,
            });
        };
        let (last, count) = rest.split_once('/').ok_or("write it as FIRST..LAST/COUNT")?;
        let (first, last): (ExpectedEvent, ExpectedEvent) = (first.parse()?, last.parse()?);
        let between = last.place.position.checked_sub(first.place.position);
        let counted = count.parse::<i64>().ok().and_then(|count| count.checked_sub(1));
        if counted.is_none() || counted != between || counted < Some(0) {
            return Err("the count does not match the first and last position; copy the whole text");
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
    /// Whether an event may have been dropped for its age by now. Unknown times may have been.
    fn may_be_dropped(&self, event: &ExpectedEvent) -> bool {
        let retention = self.retention.as_secs();
        event.at.is_none_or(|at| at.plus(retention) <= self.now)
    }
}

/// The content of an event that records dropped events.
#[derive(Deserialize)]
struct DropRecord {
    /// The last dropped event.
    position: i64,
    hash: String,
    /// All dropped events were from before this time, and at least this old, in seconds; absent if an earlier version
    /// dropped them without a record.
    until: Option<u64>,
    retention_s: Option<u64>,
}

/// The result of a verification.
#[derive(Debug)]
pub struct TrailReport {
    /// Events verified.
    pub events: u64,
    /// The last event that was dropped for its age.
    pub begin: ChainEnd,
    /// The newest event.
    pub end: ChainEnd,
    /// What to pass to `--expect` later, to detect a rewritten past; `None` for an empty trail.
    pub to_expect: Option<ExpectedTrail>,
    /// The first hundred faults, in sentences.
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

/// The audit trail, for reading.
pub struct AuditTrail {
    pub(crate) audit_retention: Duration,
    pub(crate) store: Arc<Store>,
    pub(crate) changes: Arc<Changes>,
}

impl AuditTrail {
    /// One page of a workspace's events, newest first.
    ///
    /// # Errors
    /// [`ControlError::Forbidden`] unless the actor is an owner.
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

    /// Drops events older than the retention at `passed`, once a day and a bounded number at a time. An event records
    /// each drop.
    pub(crate) async fn drop_old_events(&self, passed: UnixSeconds) -> Result<(), StoreError> {
        let retention_s = self.audit_retention.as_secs();
        let until = passed.minus(retention_s);
        let mut unless_since = until.minus(DROP_EVERY_S);
        let oldest = self.store.oldest_audit_event().await?;
        if oldest.is_none_or(|oldest| oldest >= unless_since) {
            return Ok(());
        }
        loop {
            let mut tx = self.changes.begin_audit().await?;
            let dropped = tx
                .drop_old_audit_events(unless_since, until, DROPPED_AT_ONCE)
                .await?;
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

    /// Records drops of an earlier version that were not recorded. Once for a store.
    pub(crate) async fn record_earlier_drops(&self) -> Result<(), StoreError> {
        if self.store.is_recording_drops().await? {
            return Ok(());
        }
        let mut tx = self.changes.begin_audit().await?;
        if let Some(last) = tx.start_recording_drops().await? {
            let event = drop_event(&last).made(json!({"position": last.position, "hash": last.hash}));
            tx.append_audit(&self.changes.audit_row(&RETENTION, event))
                .await?;
        }
        tx.commit().await
    }
}

/// The event that records a drop; `last` is the last dropped event.
fn drop_event(last: &ChainEnd) -> Event {
    Event::of_server(AuditAction::EventsDropped, "audit_trail", &last.position, &"")
}

/// Verifies the whole trail: finds events that were edited, removed, moved or inserted outside this program. With
/// `expected`, it also finds a rewritten past.
///
/// # Errors
/// [`StoreError`] if the trail cannot be read.
/// [`StoreError`] when it cannot be read.
pub async fn verify_trail(
    store: &Store,
    expected: Option<&ExpectedTrail>,
    age: &TrailAge,
) -> Result<TrailReport, StoreError> {
    // One view, so that events appended meanwhile do not look like faults.
    let mut tx = store.read().await?;
    let (begin, end) = tx.audit_chain().await?;
    let mut check = Check {
        report: TrailReport {
            events: 0,
            begin: begin.clone(),
            end: end.clone(),
            to_expect: None,
            faults: Vec::new(),
            more_faults: 0,
        },
        at: begin,
        tells_of_begin: false,
        first: None,
        last_at: None,
        found_expected: false,
    };
    check.found_expected = expected.is_some_and(|expected| expected.last.place == check.at);
    let mut after = i64::MIN;
    loop {
        let rows = tx.audit_events_after(after, CHECKED_AT_ONCE).await?;
        let Some(last) = rows.last() else { break };
        after = last.position;
        for row in rows {
            check.take(row, expected);
        }
    }
    check_end(&mut check.report, &check.at, &end);
    Ok(check.finish(expected, age))
}

/// A verification in progress.
struct Check {
    report: TrailReport,
    /// The event verified last.
    at: ChainEnd,
    /// Whether an event records the drop of everything before the beginning.
    tells_of_begin: bool,
    first: Option<ExpectedEvent>,
    last_at: Option<UnixSeconds>,
    /// Whether the last expected event was found.
    found_expected: bool,
}

impl Check {
    fn take(&mut self, row: AuditRecord, expected: Option<&ExpectedTrail>) {
        self.report.events += 1;
        check_place(&mut self.report, &self.at, row.position);
        // After a gap, the preceding hash is unknown; the event's own content is not.
        if row.position == self.at.position + 1 && !row.follows(&self.at.hash) {
            self.report.fault(format!(
                "event {} ({}) has a wrong hash: it was edited, or the event before it was replaced",
                row.position, row.row.id
            ));
        }
        if row.row.action == EVENTS_DROPPED {
            self.take_drop(&row);
        }
        let event = ExpectedEvent {
            place: ChainEnd {
                position: row.position,
                hash: row.hash,
            },
            at: Some(row.row.at),
        };
        if let Some(first) = expected.and_then(|expected| expected.first.as_ref())
            && first.place.position == event.place.position
            && first.place.hash != event.place.hash
        {
            self.report.fault(format!(
                "event {first} is not the expected first event: it was replaced"
            ));
        }
        self.found_expected |= expected.is_some_and(|expected| expected.last.place == event.place);
        self.at = event.place.clone();
        self.last_at = event.at;
        self.first.get_or_insert(event);
    }

    /// Verifies an event that records a drop.
    fn take_drop(&mut self, row: &AuditRecord) {
        let told = row.row.changed_to.as_deref();
        let told: Option<DropRecord> = told.and_then(|told| serde_json::from_str(told).ok());
        let Some(told) = told else {
            let position = row.position;
            self.report.fault(format!(
                "event {position} records dropped events without naming them"
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
                "event {} records events that were dropped before they were {retention} s old",
                row.position
            ));
        }
    }

    fn finish(mut self, expected: Option<&ExpectedTrail>, age: &TrailAge) -> TrailReport {
        let begin = self.report.begin.clone();
        if begin.position > 0 && !self.tells_of_begin {
            self.report.fault(format!(
                "the events up to {} are missing, and no event records that they were dropped: they were removed",
                begin.position
            ));
        }
        if let Some(expected) = expected {
            self.check_expected(expected, age);
        }
        self.report.to_expect = self.first.map(|first| ExpectedTrail {
            first: Some(first),
            last: ExpectedEvent {
                place: self.at,
                at: self.last_at,
            },
        });
        self.report
    }

    fn check_expected(&mut self, expected: &ExpectedTrail, age: &TrailAge) {
        let begin = self.report.begin.position;
        for event in expected.first.iter().chain([&expected.last]) {
            let position = event.place.position;
            if position <= begin && !age.may_be_dropped(event) {
                self.report.fault(format!(
                    "event {position} is missing, and is younger than the retention of {} days: it was removed",
                    age.retention.as_secs() / 86_400
                ));
            }
        }
        let last = &expected.last.place;
        if self.found_expected {
            return;
        }
        self.report.fault(if last.position < begin {
            format!(
                "event {} was dropped because of its age and cannot be compared",
                last.position
            )
        } else {
            format!(
                "event {} does not have the expected hash {}: it was replaced or removed",
                last.position, last.hash
            )
        });
    }
}

fn check_place(report: &mut TrailReport, before: &ChainEnd, position: i64) {
    let expected = before.position + 1;
    if position < expected {
        report.fault(format!(
            "event {position} is before the beginning of the trail: it was added"
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
            "the trail ends with event {} instead of event {}: its end was removed",
            last.position, end.position
        ));
    } else if last.position > end.position {
        report.fault(format!(
            "the trail should end with event {}: the events after it, up to event {}, were added",
            end.position, last.position
        ));
    } else if last.hash != end.hash {
        report.fault(format!(
            "event {} is not the newest event that was written: it was replaced",
            last.position
        ));
    }
}
