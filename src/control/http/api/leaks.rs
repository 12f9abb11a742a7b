//! Notices of leaked tokens in the management API.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::paging::PageQuery;
use super::request::InWorkspace;
use super::times::at_text;
use crate::control::error::ControlError;
use crate::control::http::state::Shared;
use crate::model::leak::LeakNotice;

/// A notice of a leaked token.
#[derive(Serialize, JsonSchema)]
pub struct LeakJson {
    id: String,
    /// `access_token` or `api_token`.
    kind: String,
    /// The owner of the token: the ID of an OAuth app or of a member.
    owner_id: String,
    /// The `jti` of the access token, or the ID of the API token.
    token_id: String,
    url: String,
    source: String,
    reported_by: String,
    reported_at: String,
}

impl From<LeakNotice> for LeakJson {
    fn from(notice: LeakNotice) -> Self {
        Self {
            id: notice.id,
            kind: notice.kind,
            owner_id: notice.owner,
            token_id: notice.token_id,
            url: notice.url,
            source: notice.source,
            reported_by: notice.reporter,
            reported_at: at_text(notice.reported_at),
        }
    }
}

pub async fn list(
    State(control): Shared,
    at: InWorkspace,
    query: PageQuery,
) -> Result<Response, ControlError> {
    let mut page = query.page();
    while let Some(part) = page.next_part() {
        let found = control
            .leaked_tokens
            .leaked_tokens(&at.actor, &at.workspace, part)
            .await?;
        page.add(found, |item| item.id.as_str(), LeakJson::from)?;
    }
    page.finish()
}

pub async fn dismiss(State(control): Shared, at: InWorkspace) -> Result<StatusCode, ControlError> {
    control
        .leaked_tokens
        .dismiss_leak(&at.actor, &at.workspace, &at.id()?)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
