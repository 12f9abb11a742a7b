//! Workspaces: the tenants that own everything else.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;
use serde::Serialize;

use super::apps::name;
use super::error::ControlError;
use super::request::{Caller, InWorkspace, Json, List, PageQuery};
use super::sources::NewName;
use super::{Control, at_text};
use crate::domain::ids::{MemberId, WorkspaceId};
use crate::store::directory::Workspace;
use crate::store::members::{Member, WORKSPACE_OWNER};

impl Control {
    /// Makes a workspace. `founder`, a member of another one, becomes its owner; without a founder it has no
    /// members yet (see [`Control::create_owner`]).
    ///
    /// # Errors
    /// [`ControlError::Invalid`] for a name that cannot be taken.
    pub async fn create_workspace(
        &self,
        new_name: &str,
        founder: Option<&Member>,
    ) -> Result<Workspace, ControlError> {
        let now = self.now();
        let workspace = Workspace {
            id: self.ids().make("ws", WorkspaceId::parse, now)?,
            name: name(new_name, "name")?,
            created_at: now,
        };
        let mut tx = self.store().write().await?;
        tx.insert_workspace(&workspace).await?;
        if let Some(founder) = founder {
            let owner = Member {
                id: self.ids().make("mem", MemberId::parse, now)?,
                workspace: workspace.id.clone(),
                role: WORKSPACE_OWNER.to_owned(),
                created_at: now,
                ..founder.clone()
            };
            tx.insert_member(&owner).await?;
        }
        self.commit(tx, &[]).await?;
        Ok(workspace)
    }

    /// One workspace.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub async fn workspace(&self, id: &WorkspaceId) -> Result<Workspace, ControlError> {
        let mut tx = self.store().read().await?;
        tx.workspace(id).await?.ok_or(ControlError::NotFound("workspace"))
    }

    /// Gives a workspace another name.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] or [`ControlError::NotFound`].
    pub async fn rename_workspace(
        &self,
        id: &WorkspaceId,
        new_name: &str,
    ) -> Result<Workspace, ControlError> {
        let mut tx = self.store().write().await?;
        let mut workspace = tx
            .workspace(id)
            .await?
            .ok_or(ControlError::NotFound("workspace"))?;
        workspace.name = name(new_name, "name")?;
        tx.rename_workspace(id, &workspace.name).await?;
        self.commit(tx, &[]).await?;
        Ok(workspace)
    }
}

/// A workspace in the API's form.
#[derive(Serialize)]
pub(super) struct WorkspaceJson {
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

type Shared = State<Arc<Control>>;

pub(super) async fn list(
    State(control): Shared,
    Caller(caller): Caller,
    query: PageQuery,
) -> Result<axum::Json<List<WorkspaceJson>>, ControlError> {
    let found = control
        .store()
        .read()
        .await?
        .workspaces_of(&caller.account, query.page())
        .await?;
    Ok(axum::Json(query.list(
        found,
        |workspace| workspace.id.as_str(),
        WorkspaceJson::from,
    )))
}

pub(super) async fn create(
    State(control): Shared,
    Caller(caller): Caller,
    Json(body): Json<NewName>,
) -> Result<impl IntoResponse, ControlError> {
    let made = control.create_workspace(&body.name, Some(&caller)).await?;
    Ok((StatusCode::CREATED, axum::Json(WorkspaceJson::from(made))))
}

pub(super) async fn show(
    State(control): Shared,
    at: InWorkspace,
) -> Result<axum::Json<WorkspaceJson>, ControlError> {
    Ok(axum::Json(control.workspace(&at.workspace).await?.into()))
}

pub(super) async fn update(
    State(control): Shared,
    at: InWorkspace,
    Json(body): Json<NewName>,
) -> Result<axum::Json<WorkspaceJson>, ControlError> {
    Ok(axum::Json(
        control.rename_workspace(&at.workspace, &body.name).await?.into(),
    ))
}
