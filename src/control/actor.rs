//! The actor of a request: a member, an app or the server. Every rule that reads or changes something takes one.

use std::net::IpAddr;

use super::error::ControlError;
use crate::domain::ids::{AppId, SourceId, WorkspaceId};
use crate::domain::role::{Action, Resource, may};
use crate::domain::source_kind::SourceKind;
use crate::model::credential::Credential;
use crate::model::member::Member;

/// Who makes a request, from where, and on which conditions.
#[derive(Clone, Debug)]
pub struct Actor {
    pub who: Who,
    /// The credential of a member's request. A change checks again that it is still valid.
    pub by: Option<Credential>,
    /// The client address of the request, if there is one.
    pub from: Option<IpAddr>,
    /// The revision that the actor has seen of the resource to be changed (`If-Match`).
    pub if_match: IfMatch,
    /// Recognises a repeated request (`Idempotency-Key`).
    pub idempotency_key: Option<IdempotencyKey>,
}

/// The revisions of a resource that a change accepts (RFC 9110 section 13.1.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IfMatch {
    /// Any revision.
    #[default]
    Any,
    /// One of these.
    Revisions(Vec<u64>),
}

/// An idempotency key: a repeated request with the same key makes one resource only.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    /// Digest of the actor, the operation and the key they chose.
    pub digest: String,
    /// Digest of the request body.
    pub body_digest: String,
}

/// The kind of actor.
#[derive(Clone, Debug)]
pub enum Who {
    /// A member, with their grants in their workspace.
    Member(Box<Member>),
    /// An OAuth app that authenticated. It may only do what concerns its own tokens.
    App(AppId),
    /// The server or its operator, with the reason in one word. It may do everything.
    System(&'static str),
}

impl Actor {
    /// The server, with the reason in one word, such as `quickstart`.
    #[must_use]
    pub const fn system(word: &'static str) -> Self {
        Self {
            who: Who::System(word),
            by: None,
            from: None,
            if_match: IfMatch::Any,
            idempotency_key: None,
        }
    }

    /// A member whose request came from this address.
    #[must_use]
    pub fn member(member: Member, from: Option<IpAddr>) -> Self {
        Self {
            who: Who::Member(Box::new(member)),
            by: None,
            from,
            if_match: IfMatch::Any,
            idempotency_key: None,
        }
    }

    /// The actor, authenticated by this credential.
    #[must_use]
    pub fn with_credential(self, credential: Credential) -> Self {
        Self {
            by: Some(credential),
            ..self
        }
    }

    /// The member, unless the actor is an app or the server.
    pub(super) fn as_member(&self) -> Option<&Member> {
        match &self.who {
            Who::Member(member) => Some(member),
            Who::App(_) | Who::System(_) => None,
        }
    }

    /// Rejects what the actor may not do to a workspace as a whole.
    pub(super) fn require(&self, workspace: &WorkspaceId, action: Action) -> Result<(), ControlError> {
        self.check(workspace, action, Resource::Workspace)
    }

    /// Rejects what the actor may not do to one source.
    pub(super) fn require_on_source(
        &self,
        workspace: &WorkspaceId,
        action: Action,
        id: &SourceId,
        kind: SourceKind,
    ) -> Result<(), ControlError> {
        self.check(workspace, action, Resource::Source { id, kind })
    }

    /// Rejects a change of a resource that has changed since the actor saw it.
    pub(super) fn check_if_match(&self, revision: u64) -> Result<(), ControlError> {
        match &self.if_match {
            IfMatch::Revisions(seen) if !seen.contains(&revision) => Err(ControlError::Changed { revision }),
            IfMatch::Any | IfMatch::Revisions(_) => Ok(()),
        }
    }

    /// Rejects everybody but the server and its operator.
    pub(super) fn require_system(&self) -> Result<(), ControlError> {
        match self.who {
            Who::System(_) => Ok(()),
            Who::Member(_) | Who::App(_) => Err(ControlError::OperatorOnly),
        }
    }

    /// Rejects API tokens, for actions that need a session: an API token acts in the workspace of its membership
    /// only, and creates nothing that outlives it.
    pub(super) fn require_session(&self) -> Result<(), ControlError> {
        match &self.by {
            Some(Credential::ApiToken(_)) => Err(ControlError::SessionRequired),
            Some(Credential::Session(_)) | None => Ok(()),
        }
    }

    /// Whether the actor may view this source.
    pub(super) fn can_view(&self, workspace: &WorkspaceId, id: &SourceId, kind: SourceKind) -> bool {
        self.require_on_source(workspace, Action::ViewSource, id, kind)
            .is_ok()
    }

    fn check(
        &self,
        workspace: &WorkspaceId,
        action: Action,
        resource: Resource<'_>,
    ) -> Result<(), ControlError> {
        match &self.who {
            Who::System(_) => Ok(()),
            // The answer for a workspace of others is the same as for one that does not exist.
            Who::Member(member) if member.workspace != *workspace || member.joined_at.is_none() => {
                Err(ControlError::NotFound("workspace"))
            }
            Who::Member(member) if may(&member.grants, action, resource) => Ok(()),
            Who::Member(_) | Who::App(_) => Err(ControlError::Forbidden(action)),
        }
    }
}
