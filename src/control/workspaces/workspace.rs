//! Workspaces: the tenants that own everything else.

use super::members::Members;
use super::members::workspace_event;
use crate::control::changes::Changes;
use crate::control::ids::Ids;
use crate::store::Store;
use serde_json::json;
use std::sync::Arc;

use crate::control::actor::{Actor, Who};
use crate::control::audit_event::AuditAction;
use crate::control::error::ControlError;
use crate::control::input::name;
use crate::domain::ids::{MemberId, WorkspaceId};
use crate::domain::role::{Action, Grants};
use crate::model::member::Member;
use crate::model::page::Page;
use crate::model::workspace::Workspace;

/// Workspaces.
pub struct Workspaces {
    pub(crate) ids: Arc<Ids>,
    pub(crate) store: Arc<Store>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) members: Arc<Members>,
}

impl Workspaces {
    /// Creates a workspace. The actor, an owner of another workspace, becomes its owner. If the actor is the server,
    /// the workspace has no members yet (see [`Members::create_owner`]).
    ///
    /// # Errors
    /// [`ControlError::Invalid`] for an invalid name, [`ControlError::Forbidden`] if the actor owns no workspace,
    /// [`ControlError::SessionRequired`] for an API token, [`ControlError::AddressUnverified`] if the actor's address
    /// is not verified.
    pub async fn create(&self, actor: &Actor, new_name: &str) -> Result<Workspace, ControlError> {
        let founder = match &actor.who {
            Who::Member(member) => {
                actor.require(&member.workspace, Action::CreateWorkspace)?;
                actor.require_session()?;
                Some(member)
            }
            Who::System(_) => None,
            Who::App(_) => return Err(ControlError::Forbidden(Action::CreateWorkspace)),
        };
        let now = self.changes.now();
        let workspace = Workspace {
            id: self.ids.make("ws", WorkspaceId::parse, now)?,
            name: name(new_name, "name")?,
            revision: 1,
            created_at: now,
        };
        let mut tx = self.changes.begin(actor).await?;
        tx.insert_workspace(&workspace).await?;
        if let Some(founder) = founder {
            let account = tx.account(&founder.account).await?;
            if account.is_none_or(|account| account.verified_at.is_none()) {
                return Err(ControlError::AddressUnverified);
            }
            let owner = Member {
                id: self.ids.make("mem", MemberId::parse, now)?,
                workspace: workspace.id.clone(),
                account: founder.account.clone(),
                email: founder.email.clone(),
                grants: Grants::owner(),
                revision: 1,
                created_at: now,
                joined_at: Some(now),
            };
            tx.insert_member(&owner).await?;
        }
        let event = workspace_event(AuditAction::WorkspaceCreated, &workspace)
            .made(json!({"name": workspace.name.as_str()}));
        self.changes.commit(tx, &[], event).await?;
        Ok(workspace)
    }

    /// One workspace.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub async fn get(&self, actor: &Actor, id: &WorkspaceId) -> Result<Workspace, ControlError> {
        actor.require(id, Action::ViewWorkspace)?;
        let mut tx = self.store.read().await?;
        tx.workspace(id).await?.ok_or(ControlError::NotFound("workspace"))
    }

    /// The workspaces with this id or name, two at most. For the operator.
    ///
    /// # Errors
    /// [`ControlError::OperatorOnly`].
    pub async fn named(&self, actor: &Actor, text: &str) -> Result<Vec<Workspace>, ControlError> {
        actor.require_system()?;
        Ok(self.store.read().await?.workspaces_named(text).await?)
    }

    /// One of the workspaces that the actor's account has joined.
    ///
    /// # Errors
    /// [`ControlError::NotFound`], also for a workspace of others.
    pub async fn workspace_of(&self, actor: &Actor, id: &WorkspaceId) -> Result<Workspace, ControlError> {
        let member = actor
            .as_member()
            .ok_or(ControlError::Forbidden(Action::ViewWorkspace))?;
        let own = self.members.membership(id, &member.account).await?;
        self.get(&Actor::member(own, actor.from), id).await
    }

    /// One page of the workspaces that the actor's account has joined. An API token sees only its own.
    ///
    /// # Errors
    /// [`ControlError::Forbidden`] if the actor is no member.
    pub async fn workspaces_of(&self, actor: &Actor, page: Page<'_>) -> Result<Vec<Workspace>, ControlError> {
        let member = actor
            .as_member()
            .ok_or(ControlError::Forbidden(Action::ViewWorkspace))?;
        if actor.require_session().is_err() {
            let own = self.get(actor, &member.workspace).await?;
            return Ok(Vec::from_iter(
                Some(own).filter(|own| own.id.as_str() > page.after),
            ));
        }
        let mut tx = self.store.read().await?;
        Ok(tx.workspaces_of(&member.account, page).await?)
    }

    /// Renames a workspace.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] or [`ControlError::NotFound`].
    pub async fn rename(
        &self,
        actor: &Actor,
        id: &WorkspaceId,
        new_name: &str,
    ) -> Result<Workspace, ControlError> {
        actor.require(id, Action::EditWorkspace)?;
        let mut tx = self.changes.begin(actor).await?;
        let mut workspace = tx
            .workspace(id)
            .await?
            .ok_or(ControlError::NotFound("workspace"))?;
        actor.check_if_match(workspace.revision)?;
        let before = json!({"name": workspace.name.as_str()});
        let new_name = name(new_name, "name")?;
        if new_name == workspace.name {
            return Ok(workspace);
        }
        workspace.name = new_name;
        workspace.revision += 1;
        tx.rename_workspace(id, &workspace.name).await?;
        let event = workspace_event(AuditAction::WorkspaceRenamed, &workspace)
            .changed(before, json!({"name": workspace.name.as_str()}));
        self.changes.commit(tx, &[], event).await?;
        Ok(workspace)
    }
}
