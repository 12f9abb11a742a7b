//! Members of workspaces, and their grants.

use super::roles::{NewGrant, grants};
use crate::control::accounts::account::Accounts;
use crate::control::accounts::hashing;
use crate::control::accounts::hashing::Hashing;
use crate::control::audit_event::member_event;
use crate::control::changes::Changes;
use crate::control::ids::Ids;
use crate::control::input::email_address;
use crate::store::Store;
use std::sync::Arc;

use serde_json::json;

use super::roles::grants_value;

use crate::control::accounts::hashing::Asker;
use crate::control::actor::Actor;
use crate::control::audit_event::{AuditAction, Event};
use crate::control::conflict::Conflict;
use crate::control::error::ControlError;
use crate::control::input::name;
use crate::domain::ids::{AccountId, MemberId, WorkspaceId};
use crate::domain::role::{Action, Grants, Role};
use crate::model::member::Member;
use crate::model::page::Page;
use crate::model::workspace::Workspace;
use crate::store::{ReadTx, WriteTx};

/// Members of workspaces.
pub struct Members {
    pub(crate) hashing: Arc<Hashing>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) store: Arc<Store>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) changes: Arc<Changes>,
}

impl Members {
    /// One page of a workspace's members, joined or invited.
    ///
    /// # Errors
    /// [`ControlError::Forbidden`] unless the actor is an owner.
    pub async fn list(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        page: Page<'_>,
    ) -> Result<Vec<Member>, ControlError> {
        actor.require(workspace, Action::ManageMembers)?;
        Ok(self.store.read().await?.members(workspace, page).await?)
    }

    /// One member. Every member may see their own membership.
    ///
    /// # Errors
    /// [`ControlError::NotFound`], or [`ControlError::Forbidden`] unless the actor is an owner.
    pub async fn get(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        id: &MemberId,
    ) -> Result<Member, ControlError> {
        if actor.as_member().is_none_or(|own| own.id != *id) {
            actor.require(workspace, Action::ManageMembers)?;
        }
        member_in(&mut self.store.read().await?, workspace, id).await
    }

    /// Replaces a member's grants.
    ///
    /// # Errors
    /// [`Conflict::LastOwner`] if no other owner would remain, [`ControlError::Invalid`] for invalid roles.
    pub async fn update(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        id: &MemberId,
        roles: &[NewGrant],
    ) -> Result<Member, ControlError> {
        actor.require(workspace, Action::ManageMembers)?;
        // Invalid roles are rejected before they take a turn among the changes.
        grants(&mut self.store.read().await?, workspace, roles).await?;
        let mut tx = self.changes.begin(actor).await?;
        let mut member = member_in(&mut tx, workspace, id).await?;
        actor.check_if_match(member.revision)?;
        let before = json!({"roles": grants_value(&member.grants)});
        let grants = grants(&mut tx, workspace, roles).await?;
        if grants == member.grants {
            return Ok(member);
        }
        if !grants.is_owner() {
            require_another_owner(&mut tx, &member).await?;
        }
        tx.update_grants(id, &grants).await?;
        member.grants = grants;
        member.revision += 1;
        let after = json!({"roles": grants_value(&member.grants)});
        let event = member_event(AuditAction::MemberChanged, &member).changed(before, after);
        self.changes.commit(tx, &[], event).await?;
        Ok(member)
    }

    /// Removes a member, or withdraws an invitation. The API tokens of the membership are revoked, and the person's
    /// sessions no longer reach the workspace; their other memberships are unaffected. With the last membership, all
    /// sessions are revoked, and an unverified account is deleted.
    ///
    /// # Errors
    /// [`Conflict::LastOwner`] if no other owner would remain.
    pub async fn remove(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        id: &MemberId,
    ) -> Result<(), ControlError> {
        actor.require(workspace, Action::ManageMembers)?;
        let mut tx = self.changes.begin(actor).await?;
        let member = member_in(&mut tx, workspace, id).await?;
        actor.check_if_match(member.revision)?;
        require_another_owner(&mut tx, &member).await?;
        let api_tokens = tx.delete_api_tokens_of(id).await?.len();
        tx.delete_member(id).await?;
        let sessions = if tx.any_membership(&member.account).await?.is_some() {
            0
        } else {
            tx.end_sessions(&member.account).await?
        };
        tx.delete_unverified(&member.account).await?;
        let mut before = member_value(&member);
        if let Some(before) = before.as_object_mut() {
            before.insert("api_tokens".to_owned(), json!(api_tokens));
            before.insert("sessions".to_owned(), json!(sessions));
        }
        let event = member_event(AuditAction::MemberRemoved, &member).removed(before);
        self.changes.commit(tx, &[], event).await
    }

    /// Creates an owner without an invitation, for a new workspace.
    ///
    /// # Errors
    /// See [`Members::create_member`].
    pub async fn create_owner(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        email: &str,
    ) -> Result<Member, ControlError> {
        let owner = NewGrant {
            role: Role::WorkspaceOwner.as_str().to_owned(),
            resources: None,
        };
        self.create_member(actor, workspace, email, &[owner]).await
    }

    /// Creates a member without an invitation.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] for an invalid email address or roles, [`Conflict::MemberExists`],
    /// [`ControlError::NotFound`] for the workspace, or [`ControlError::OperatorOnly`].
    pub async fn create_member(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        email: &str,
        roles: &[NewGrant],
    ) -> Result<Member, ControlError> {
        actor.require_system()?;
        let mut tx = self.changes.begin(actor).await?;
        let mut member = self.new_member(&mut tx, workspace, email, roles, true).await?;
        member.joined_at = Some(member.created_at);
        tx.insert_member(&member).await?;
        let event = member_event(AuditAction::MemberAdded, &member).made(member_value(&member));
        self.changes.commit(tx, &[], event).await?;
        Ok(member)
    }

    /// A member to insert, not joined yet, with an account that is already inserted. An invited member always gets a
    /// new account, since accepting an invitation proves nothing about the address. If the operator creates the
    /// member, they vouch for the address.
    pub(crate) async fn new_member(
        &self,
        tx: &mut WriteTx,
        workspace: &WorkspaceId,
        email: &str,
        roles: &[NewGrant],
        is_verified: bool,
    ) -> Result<Member, ControlError> {
        let now = self.changes.now();
        let email = email_address(email)?;
        tx.workspace(workspace)
            .await?
            .ok_or(ControlError::NotFound("workspace"))?;
        let grants = grants(tx, workspace, roles).await?;
        if tx.has_member(workspace, &email).await? {
            return Err(Conflict::MemberExists.into());
        }
        let account = if is_verified {
            self.accounts.verified_account(tx, email).await?
        } else {
            self.accounts.new_account(tx, email, false).await?
        };
        Ok(Member {
            id: self.ids.make("mem", MemberId::parse, now)?,
            workspace: workspace.clone(),
            account: account.id,
            email: account.email,
            grants,
            revision: 1,
            created_at: now,
            joined_at: None,
        })
    }

    /// Creates the first workspace and its owner, in a store without members.
    ///
    /// # Errors
    /// [`Conflict::NotEmpty`] if the store has members, [`ControlError::Invalid`] for an invalid address, name or
    /// password, [`ControlError::OperatorOnly`].
    pub async fn create_first_owner(
        &self,
        actor: &Actor,
        email: &str,
        workspace_name: &str,
        password: &str,
    ) -> Result<(Workspace, Member), ControlError> {
        actor.require_system()?;
        let now = self.changes.now();
        let email = email_address(email)?;
        let workspace = Workspace {
            id: self.ids.make("ws", WorkspaceId::parse, now)?,
            name: name(workspace_name, "workspace")?,
            revision: 1,
            created_at: now,
        };
        let chosen = hashing::validate_new(password, &email)?;
        let forms = self.store.password_prefixes(&email, None).await?;
        let turn = self.hashing.turn(Asker::Operator).await?;
        let hash = self.hashing.hash(turn, chosen, forms).await?;
        let mut tx = self.changes.begin(actor).await?;
        if !tx.is_without_members().await? {
            return Err(Conflict::NotEmpty.into());
        }
        let account = self.accounts.verified_account(&mut tx, email).await?;
        let member = Member {
            id: self.ids.make("mem", MemberId::parse, now)?,
            workspace: workspace.id.clone(),
            account: account.id,
            email: account.email,
            grants: Grants::owner(),
            revision: 1,
            created_at: now,
            joined_at: Some(now),
        };
        tx.insert_workspace(&workspace).await?;
        tx.insert_member(&member).await?;
        hashing::check_salt(&mut tx, &member.account, &member.email, &hash).await?;
        tx.set_password_hash(&member.account, &hash).await?;
        let made = workspace_event(AuditAction::WorkspaceCreated, &workspace)
            .made(json!({"name": workspace.name.as_str()}));
        self.changes.append_audit(&mut tx, actor, made).await?;
        let event = member_event(AuditAction::MemberAdded, &member).made(member_value(&member));
        self.changes.commit(tx, &[], event).await?;
        Ok((workspace, member))
    }

    /// Whether nobody can sign in, since no member has joined any workspace.
    ///
    /// # Errors
    /// [`ControlError::Store`].
    pub async fn is_without_members(&self) -> Result<bool, ControlError> {
        Ok(self.store.read().await?.is_without_members().await?)
    }

    /// The person's membership of a workspace. Without one, the workspace does not exist for them.
    pub(crate) async fn membership(
        &self,
        workspace: &WorkspaceId,
        account: &AccountId,
    ) -> Result<Member, ControlError> {
        let mut tx = self.store.read().await?;
        tx.membership(workspace, account)
            .await?
            .ok_or(ControlError::NotFound("workspace"))
    }
}

/// The member, joined or invited.
pub(crate) async fn member_in(
    tx: &mut ReadTx,
    workspace: &WorkspaceId,
    id: &MemberId,
) -> Result<Member, ControlError> {
    let found = tx.member(workspace, id).await?;
    found.ok_or(ControlError::NotFound("member"))
}

/// Rejects taking the owner role from the last owner.
async fn require_another_owner(tx: &mut ReadTx, member: &Member) -> Result<(), ControlError> {
    let owns = member.joined_at.is_some() && member.grants.is_owner();
    if owns && tx.count_other_owners(&member.workspace, &member.id).await? == 0 {
        return Err(Conflict::LastOwner.into());
    }
    Ok(())
}

/// An action on a workspace as a whole.
pub(crate) fn workspace_event(action: AuditAction, workspace: &Workspace) -> Event {
    Event::new(action, &workspace.id, "workspace", &workspace.id, &workspace.name)
}

/// A membership as it appears in the trail.
pub(crate) fn member_value(member: &Member) -> serde_json::Value {
    json!({"email": member.email, "roles": grants_value(&member.grants)})
}
