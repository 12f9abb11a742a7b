//! Workspaces in the API's form.

use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;
use serde::Serialize;

use super::request::{Caller, InWorkspace, Json, List, NewName, PageQuery};
use super::{Shared, at_text};
use crate::control::error::ControlError;
use crate::store::directory::Workspace;

/// A workspace in the API's form.
#[derive(Serialize)]
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
) -> Result<axum::Json<List<WorkspaceJson>>, ControlError> {
    let found = control.workspaces_of(&caller, query.page()).await?;
    Ok(axum::Json(query.list(
        found,
        |workspace| workspace.id.as_str(),
        WorkspaceJson::from,
    )))
}

pub async fn create(
    State(control): Shared,
    Caller(caller): Caller,
    Json(body): Json<NewName>,
) -> Result<impl IntoResponse, ControlError> {
    let made = control.create_workspace(&caller, &body.name).await?;
    Ok((StatusCode::CREATED, axum::Json(WorkspaceJson::from(made))))
}

pub async fn show(
    State(control): Shared,
    at: InWorkspace,
) -> Result<axum::Json<WorkspaceJson>, ControlError> {
    Ok(axum::Json(
        control.workspace(&at.actor, &at.workspace).await?.into(),
    ))
}

pub async fn update(
    State(control): Shared,
    at: InWorkspace,
    Json(body): Json<NewName>,
) -> Result<axum::Json<WorkspaceJson>, ControlError> {
    Ok(axum::Json(
        control
            .rename_workspace(&at.actor, &at.workspace, &body.name)
            .await?
            .into(),
    ))
}
