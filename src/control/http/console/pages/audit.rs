//! The audit trail: a filtered list, newest first. The export is that of the management API, with the same filter.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use crate::control::audit_event::AuditAction;
use crate::control::http::console::answer::shown;
use crate::control::http::console::changed::{Change, changes};
use crate::control::http::console::components::{Listing, Pager, When, exact};
use crate::control::http::console::fault::Page;
use crate::control::http::console::frame::{Frame, Section};
use crate::control::http::console::paths::{WorkspacePaths, with_query};
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::plane::Control;
use crate::domain::decimal::begins_with_year;
use crate::domain::ids::WorkspaceId;
use crate::domain::time::UnixSeconds;
use crate::model::audit::{AuditFilter, AuditRow};
use crate::store::audit::may_have_more;

/// An event, in words.
pub(crate) struct Event {
    pub what: String,
    pub who: String,
    pub when: When,
    on: When,
    address: String,
    resource: String,
    resource_id: String,
    changes: Vec<Change>,
}

impl Event {
    pub fn of(row: &AuditRow, visit: &PageContext) -> Self {
        Self {
            what: words(&row.action),
            who: row.actor_name.clone(),
            when: When::ago(row.at, visit.now),
            on: When::on(row.at),
            address: row.address.clone().unwrap_or_default(),
            resource: row.resource_name.clone(),
            resource_id: row.resource_id.clone(),
            changes: changes(row.changed_from.as_deref(), row.changed_to.as_deref()),
        }
    }
}

/// `app_key.added` as `App key added`.
fn words(action: &str) -> String {
    let plain = action.replace(['.', '_'], " ");
    let mut letters = plain.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}", letters.as_str()).replace("Api ", "API ")
}

/// The actions that an event of a workspace may have, in the order of the filter.
const ACTIONS: [AuditAction; 29] = {
    use AuditAction as A;
    [
        A::AppCreated,
        A::AppChanged,
        A::AppDeleted,
        A::AppKeyAdded,
        A::AppKeyDeleted,
        A::SourceCreated,
        A::SourceRenamed,
        A::SourceDeleted,
        A::SourceConnected,
        A::SourceDisconnected,
        A::EnforcementChanged,
        A::ObservationRestarted,
        A::TokenRevoked,
        A::AppTokensRevoked,
        A::KeyTokensRevoked,
        A::WorkspaceTokensRevoked,
        A::TokenLeaked,
        A::LeakDismissed,
        A::MemberAdded,
        A::MemberInvited,
        A::MemberJoined,
        A::MemberVerified,
        A::MemberChanged,
        A::MemberRemoved,
        A::ApiTokenCreated,
        A::ApiTokenDeleted,
        A::ApiTokensEnded,
        A::WorkspaceCreated,
        A::WorkspaceRenamed,
    ]
};

/// An action of the filter.
struct ActionPick {
    value: String,
    label: String,
    chosen: bool,
}

/// The actions of the filter. One that was asked for and is not in the list is added.
fn actions(chosen: &str) -> Vec<ActionPick> {
    let known = ACTIONS.map(AuditAction::as_str);
    let other = (!chosen.is_empty() && !known.contains(&chosen)).then_some(chosen);
    known
        .into_iter()
        .chain(other)
        .map(|action| ActionPick {
            value: action.to_owned(),
            label: words(action),
            chosen: action == chosen,
        })
        .collect()
}

#[derive(Template)]
#[template(path = "security/audit.html")]
struct AuditPage<'a> {
    frame: Frame,
    actions: Vec<ActionPick>,
    problem: &'static str,
    actor: &'a str,
    resource: &'a str,
    since: &'a str,
    until: &'a str,
    filtered: bool,
    events: Vec<Event>,
    pager: Pager,
    /// The export of the same events. The format is to be appended.
    export: String,
}

/// The export of all events that the filter finds.
fn export(workspace: &WorkspaceId, filter: &AuditFilter) -> String {
    let moment = |at: Option<UnixSeconds>| at.map(exact);
    let parameters = [
        (
            "actor",
            filter.actor.clone().or_else(|| filter.actor_name.clone()),
        ),
        ("action", filter.action.clone()),
        ("resource_id", filter.resource_id.clone()),
        ("since", moment(filter.since)),
        ("until", moment(filter.until)),
    ];
    let parameters: Vec<(&str, &str)> = parameters
        .iter()
        .map(|(name, value)| (*name, value.as_deref().unwrap_or_default()))
        .collect();
    let path = with_query(&WorkspacePaths::audit_export(workspace), &parameters);
    let mark = if path.contains('?') { '&' } else { '?' };
    format!("{path}{mark}format=")
}

/// The start of a day given as `2026-11-22`, in UTC.
fn day(text: &str) -> Option<UnixSeconds> {
    if !begins_with_year(text) {
        return None;
    }
    let moment: jiff::Timestamp = format!("{text}T00:00:00Z").parse().ok()?;
    u64::try_from(moment.as_second()).ok().map(UnixSeconds)
}

/// `GET audit`.
pub(crate) async fn list(State(control): State<Arc<Control>>, CurrentVisit(visit): CurrentVisit) -> Page {
    let given = |name| visit.query(name).trim();
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let (action, actor, resource) = (given("action"), given("actor"), given("resource"));
    let (since, until, after) = (given("since"), given("until"), given("after"));
    let filter = AuditFilter {
        action: text(action),
        resource_id: text(resource),
        since: day(since),
        // The last day is included.
        until: day(until).map(|at| at.plus(86_400)),
        ..AuditFilter::of_actor(actor)
    };
    let listing = Listing {
        path: visit.to.audit(),
        query: &[
            ("action", action),
            ("actor", actor),
            ("resource", resource),
            ("since", since),
            ("until", until),
        ],
        after,
    };
    let mut found = control
        .audit
        .audit_events(&visit.actor, &visit.workspace.id, &filter, listing.span())
        .await?;
    let goes_on = may_have_more(&found, listing.span().limit);
    let mut pager = Pager::cut(&mut found, "events", &listing, |row| row.id.as_str());
    if let Some(last) = found.last().filter(|_| goes_on) {
        pager.continue_after(&listing, &last.id);
    }
    let is_day = |text: &str| text.is_empty() || day(text).is_some();
    shown(&AuditPage {
        frame: visit.frame("Audit trail", Section::Audit),
        actions: actions(action),
        problem: if is_day(since) && is_day(until) {
            ""
        } else {
            "Write days as 2026-11-22. The filter ignores other dates."
        },
        actor,
        resource,
        since,
        until,
        filtered: ![action, actor, resource, since, until]
            .iter()
            .all(|text| text.is_empty()),
        events: found.iter().map(|row| Event::of(row, &visit)).collect(),
        pager,
        export: export(&visit.workspace.id, &filter),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_shown_as_words() {
        assert_eq!(words("app_key.added"), "App key added");
        assert_eq!(words("api_token.created"), "API token created");
    }

    #[test]
    fn export_has_the_filter_of_the_page() {
        let workspace = WorkspaceId::parse("ws_1").unwrap();
        let all = "/api/v1/workspaces/ws_1/audit-events/export?";
        assert_eq!(
            export(&workspace, &AuditFilter::default()),
            format!("{all}format=")
        );
        let filter = AuditFilter {
            action: Some("app.created".to_owned()),
            since: Some(UnixSeconds(86_400)),
            ..AuditFilter::of_actor("Ann&B@x.example")
        };
        assert_eq!(
            export(&workspace, &filter),
            format!(
                "{all}actor=ann%26b%40x.example&action=app.created&since=1970-01-02T00%3A00%3A00Z&format="
            )
        );
    }

    #[test]
    fn only_iso_days_are_parsed() {
        assert_eq!(day("1970-01-02"), Some(UnixSeconds(86_400)));
        assert_eq!(day("yesterday"), None);
        assert_eq!(day(""), None);
    }
}
