//! The audit trail: a filtered list, newest first. The export is the management API's, with this session and the
//! same filter.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use http::StatusCode;

use crate::control::http::console::components::{PAGE_ITEMS, Pager, When, encoded, exact};
use crate::control::http::console::fault::Page;
use crate::control::http::console::frame::{Frame, Section, page};
use crate::control::http::console::visit::{CurrentVisit, PageContext};
use crate::control::plane::Control;
use crate::domain::decimal::begins_with_year;
use crate::domain::ids::WorkspaceId;
use crate::domain::time::UnixSeconds;
use crate::model::audit::{AuditFilter, AuditRow};
use crate::model::page::Page as Span;
use crate::store::audit::may_have_more;

/// An event in a few words.
pub(crate) struct Event {
    pub what: String,
    pub who: String,
    pub when: When,
    on: When,
    address: String,
    resource: String,
    resource_id: String,
    before: String,
    after: String,
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
            before: row.changed_from.clone().unwrap_or_default(),
            after: row.changed_to.clone().unwrap_or_default(),
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

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage<'a> {
    frame: Frame,
    action: &'a str,
    actor: &'a str,
    resource: &'a str,
    since: &'a str,
    until: &'a str,
    filtered: bool,
    events: Vec<Event>,
    pager: Pager,
    /// Where the same events are exported, without the form at its end.
    export: String,
}

/// The export of the events that the filter finds, all of them.
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
    let mut path = format!("/api/v1/workspaces/{workspace}/audit-events/export?");
    for (name, value) in parameters {
        if let Some(value) = value {
            path.extend([name, "=", &encoded(&value), "&"]);
        }
    }
    path + "format="
}

/// The first moment of a day that was typed as 2026-11-22, in UTC.
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
        // The day itself is meant to be in it.
        until: day(until).map(|at| at.plus(86_400)),
        ..AuditFilter::of_actor(actor)
    };
    let span = Span {
        after,
        limit: PAGE_ITEMS + 1,
    };
    let mut found = control
        .audit
        .audit_events(&visit.actor, &visit.workspace.id, &filter, span)
        .await?;
    let path = format!(
        "{}/audit?action={}&actor={}&resource={}&since={}&until={}",
        visit.at,
        encoded(action),
        encoded(actor),
        encoded(resource),
        encoded(since),
        encoded(until)
    );
    let goes_on = may_have_more(&found, span.limit);
    let mut pager = Pager::cut(&mut found, "events", &path, after, |row| row.id.as_str());
    if let Some(last) = found.last().filter(|_| goes_on) {
        pager.go_on(&path, &last.id);
    }
    Ok(page(
        StatusCode::OK,
        &AuditPage {
            frame: visit.frame("Audit trail", Section::Audit),
            action,
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
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_read_as_words() {
        assert_eq!(words("app_key.added"), "App key added");
        assert_eq!(words("api_token.created"), "API token created");
    }

    #[test]
    fn what_is_exported_is_what_was_found() {
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
    fn days_are_read_and_anything_else_is_none() {
        assert_eq!(day("1970-01-02"), Some(UnixSeconds(86_400)));
        assert_eq!(day("yesterday"), None);
        assert_eq!(day(""), None);
    }
}
