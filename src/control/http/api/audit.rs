//! The audit trail in the management API: pages and the export.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use futures::stream;
use http::header;
use http::request::Parts;

use super::paging::{PageQuery, query};
use super::request::InWorkspace;
use super::times::moment;
use super::trail_export::{CSV_COLUMNS, EventJson, csv_line, json_line};
use crate::control::error::ControlError;
use crate::control::form::Form;
use crate::control::http::state::Shared;
use crate::control::plane::Control;

use crate::domain::ids::ID_BYTES_MAX;
use crate::model::audit::AuditFilter;
use crate::model::page::Page;
use crate::store::audit::may_have_more;

/// Events read at once for an export.
const EXPORTED_AT_ONCE: u32 = 500;

/// The longest value of a filter, in bytes.
const FILTER_BYTES_MAX: usize = 254;

/// The query parameters that filter events.
const FILTERS: [&str; 6] = [
    "actor",
    "action",
    "resource_type",
    "resource_id",
    "since",
    "until",
];

fn filter(query: &Form) -> Result<AuditFilter, ControlError> {
    let text = |name: &str| {
        let value = query.get(name).map(str::to_owned);
        if value.as_ref().is_some_and(|value| value.len() > FILTER_BYTES_MAX) {
            return Err(ControlError::invalid(name, "this is too long for any event"));
        }
        Ok(value)
    };
    let at = |name: &'static str| query.get(name).map(|text| moment(text, name)).transpose();
    let actor = text("actor")?.unwrap_or_default();
    Ok(AuditFilter {
        action: text("action")?,
        resource_type: text("resource_type")?,
        resource_id: text("resource_id")?,
        since: at("since")?,
        until: at("until")?,
        ..AuditFilter::of_actor(&actor)
    })
}

/// A filter and a page of it.
pub struct EventsQuery {
    filter: AuditFilter,
    page: PageQuery,
}

impl<S: Sync> FromRequestParts<S> for EventsQuery {
    type Rejection = ControlError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ControlError> {
        let mut known = FILTERS.to_vec();
        known.extend(["limit", "after"]);
        let query = query(parts, &known)?;
        Ok(Self {
            filter: filter(&query)?,
            page: PageQuery::of(&query, parts)?,
        })
    }
}

pub async fn list(
    State(control): Shared,
    at: InWorkspace,
    query: EventsQuery,
) -> Result<Response, ControlError> {
    let mut page = query.page.page();
    while let Some(part) = page.next_part() {
        let asked = part.limit;
        let found = control
            .audit
            .audit_events(&at.actor, &at.workspace, &query.filter, part)
            .await?;
        let goes_on = may_have_more(&found, asked);
        page.add_part(found, goes_on, |event| event.id.as_str(), EventJson::from)?;
    }
    page.finish()
}

/// A filter and an export format.
pub struct ExportQuery {
    filter: AuditFilter,
    form: ExportForm,
}

#[derive(Clone, Copy)]
enum ExportForm {
    /// One JSON object a line.
    Ndjson,
    Csv,
}

impl<S: Sync> FromRequestParts<S> for ExportQuery {
    type Rejection = ControlError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ControlError> {
        let mut known = FILTERS.to_vec();
        known.push("format");
        let query = query(parts, &known)?;
        let form = match query.get("format") {
            Some("ndjson") => ExportForm::Ndjson,
            Some("csv") => ExportForm::Csv,
            _ => {
                return Err(ControlError::invalid(
                    "format",
                    "the format is one of ndjson, csv",
                ));
            }
        };
        Ok(Self {
            filter: filter(&query)?,
            form,
        })
    }
}

/// A running export: it reads pages only as fast as the client receives them.
struct Export {
    control: Arc<Control>,
    at: InWorkspace,
    query: ExportQuery,
    after: String,
    ended: bool,
}

pub async fn export(
    State(control): Shared,
    at: InWorkspace,
    query: ExportQuery,
) -> Result<Response, ControlError> {
    let form = query.form;
    let mut export = Export {
        control,
        at,
        query,
        after: String::new(),
        ended: false,
    };
    // The first page is read before the response begins, so that an error has its status.
    let first = export.next_piece().await?;
    let head = match form {
        ExportForm::Ndjson => String::new(),
        ExportForm::Csv => CSV_COLUMNS.to_owned(),
    };
    let first = stream::iter([Ok(Bytes::from(head + &first))]);
    let rest = stream::try_unfold(export, |mut export| async move {
        if export.ended {
            return Ok::<_, ControlError>(None);
        }
        let piece = export.next_piece().await?;
        Ok(Some((Bytes::from(piece), export)))
    });
    let (kind, name) = match form {
        ExportForm::Ndjson => (
            "application/x-ndjson",
            "attachment; filename=\"audit-events.ndjson\"",
        ),
        ExportForm::Csv => (
            "text/csv; charset=utf-8; header=present",
            "attachment; filename=\"audit-events.csv\"",
        ),
    };
    let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)];
    let body = Body::from_stream(futures::StreamExt::chain(first, rest));
    Ok((headers, body).into_response())
}

impl Export {
    async fn next_piece(&mut self) -> Result<String, ControlError> {
        let page = Page {
            after: &self.after,
            limit: EXPORTED_AT_ONCE,
        };
        // An export goes on for as long as its reader takes it.
        self.control.changes.require_still_valid(&self.at.actor).await?;
        let found = self
            .control
            .audit
            .audit_events(&self.at.actor, &self.at.workspace, &self.query.filter, page)
            .await?;
        self.ended = !may_have_more(&found, EXPORTED_AT_ONCE);
        if let Some(last) = found.last() {
            self.after = last.id.chars().take(ID_BYTES_MAX).collect();
        }
        let mut text = String::new();
        for row in found {
            match self.query.form {
                ExportForm::Ndjson => {
                    let line = json_line(row);
                    text.push_str(&line.map_err(|_| ControlError::Crypto("writing an event"))?);
                }
                ExportForm::Csv => text.push_str(&csv_line(&row)),
            }
        }
        Ok(text)
    }
}
