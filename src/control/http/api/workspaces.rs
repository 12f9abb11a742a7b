//! Workspaces in the management API.

use axum::extract::State;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;

use super::caller::Caller;
use super::conditions::{Creation, Idempotency, Tagged, still_there};
use super::json::Json;
use super::paging::PageQuery;
use super::request::{InWorkspace, NewName};
use super::times::at_text;
use crate::control::error::ControlError;
use crate::control::http::state::Shared;
use crate::domain::ids::WorkspaceId;
use crate::model::workspace::Workspace;

/// A workspace.
#[derive(Serialize, JsonSchema)]
pub struct WorkspaceJson {
    id: String,
    name: String,
    created_at: String,
}

impl From<Workspace> for WorkspaceJson {
    fn from(workspace: Workspace) -> Self {
        Self {
            id: workspace.id.as_str().to_owned(),
            name: workspace.name.as_str().to_owned(),
            created_at: at_text(workspace.created_at),
        }
    }
}

pub async fn list(
    State(control): Shared,
    Caller(caller): Caller,
    query: PageQuery,
) -> Result<Response, ControlError> {
    let mut page = query.page();
    while let Some(part) = page.next_part() {
        let found = control.workspaces.workspaces_of(&caller, part).await?;
        page.add(found, |workspace| workspace.id.as_str(), WorkspaceJson::from)?;
    }
    page.finish()
}

pub async fn create(
    State(control): Shared,
    Caller(caller): Caller,
    new: Creation<NewName>,
) -> Result<Tagged<WorkspaceJson>, ControlError> {
    let made = match new.begin(&control, &caller).await? {
        Idempotency::New(actor, new) => control.workspaces.create(&actor, &new.name).await?,
        Idempotency::Replay(id) => {
            let id = WorkspaceId::parse(&id).map_err(|_| ControlError::NotFound("workspace"))?;
            still_there(control.workspaces.workspace_of(&caller, &id).await)?
        }
    };
    Ok(Tagged::created(made.revision, made.into()))
}

pub async fn show(State(control): Shared, at: InWorkspace) -> Result<Tagged<WorkspaceJson>, ControlError> {
    let found = control.workspaces.get(&at.actor, &at.workspace).await?;
    Ok(Tagged::shown(found.revision, found.into()))
}

pub async fn update(
    State(control): Shared,
    at: InWorkspace,
    Json(body): Json<NewName>,
) -> Result<Tagged<WorkspaceJson>, ControlError> {
    let changed = control
        .workspaces
        .rename(&at.actor, &at.workspace, &body.name)
        .await?;
    Ok(Tagged::shown(changed.revision, changed.into()))
}
