//! Notices of leaked tokens in the API's form.

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

/// A notice in the API's form.
#[derive(Serialize, JsonSchema)]
pub struct LeakJson {
    id: String,
    /// `access_token` or `api_token`.
    kind: String,
    /// What the token was made for: an OAuth app, or a member.
    owner_id: String,
    /// The access token's `jti`, or the API token's id.
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
