//! Workspaces: the tenants that own everything else.

use super::Control;
use super::apps::name;
use super::error::ControlError;
use crate::domain::ids::{MemberId, WorkspaceId};
use crate::store::directory::{Page, Workspace};
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
            id: self.ids.make("ws", WorkspaceId::parse, now)?,
            name: name(new_name, "name")?,
            created_at: now,
        };
        let mut tx = self.store.write().await?;
        tx.insert_workspace(&workspace).await?;
        if let Some(founder) = founder {
            let owner = Member {
                id: self.ids.make("mem", MemberId::parse, now)?,
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
        let mut tx = self.store.read().await?;
        tx.workspace(id).await?.ok_or(ControlError::NotFound("workspace"))
    }

    /// One page of the workspaces that a member's person belongs to.
    ///
    /// # Errors
    /// [`ControlError::Store`].
    pub async fn workspaces_of(
        &self,
        member: &Member,
        page: Page<'_>,
    ) -> Result<Vec<Workspace>, ControlError> {
        Ok(self
            .store
            .read()
            .await?
            .workspaces_of(&member.account, page)
            .await?)
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
        let mut tx = self.store.write().await?;
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
