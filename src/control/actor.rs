//! Who asks: every function of [`Control`](super::plane::Control) that reads or changes something is told.

use std::net::IpAddr;

use super::error::ControlError;
use crate::domain::ids::{AppId, SourceId, WorkspaceId};
use crate::domain::role::{Action, Resource, may};
use crate::domain::source_kind::SourceKind;
use crate::model::credential::Credential;
use crate::model::member::Member;

/// Who asks for something, from where, and on which conditions.
#[derive(Clone, Debug)]
pub struct Actor {
    pub who: Who,
    /// What let a member's request in. Where it is there, a change asks again whether it stands.
    pub by: Option<Credential>,
    /// The address that the request came from, where there was one.
    pub from: Option<IpAddr>,
    /// Which revision of what is to be changed the actor has seen, where they say so (`If-Match`).
    pub if_match: IfMatch,
    /// What makes a repeated request known, where it carries something (`Idempotency-Key`).
    pub idempotency_key: Option<IdempotencyKey>,
}

/// The revisions of a thing that a change is meant for (RFC 9110 section 13.1.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IfMatch {
    /// Whatever there is.
    #[default]
    Any,
    /// One of these.
    Revisions(Vec<u64>),
}

/// A request that may be sent again and still makes one thing only.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    /// Digest of who asks, for what, and the key they chose.
    pub digest: String,
    /// Digest of the body.
    pub body_digest: String,
}

/// Who asks.
#[derive(Clone, Debug)]
pub enum Who {
    /// A member, with what they are granted in their workspace.
    Member(Box<Member>),
    /// An OAuth app that proved itself. It may do what concerns its own tokens, nothing else.
    App(AppId),
    /// The server itself or its operator, for a reason in one word. It may do everything.
    System(&'static str),
}

impl Actor {
    /// The server itself, for a reason in one word, such as `quickstart`.
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

    /// A member who sent a request from this address.
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

    /// The actor, let in by this.
    #[must_use]
    pub fn let_in_by(self, credential: Credential) -> Self {
        Self {
            by: Some(credential),
            ..self
        }
    }

    /// The member, unless an app or the server itself asks.
    pub(super) fn as_member(&self) -> Option<&Member> {
        match &self.who {
            Who::Member(member) => Some(member),
            Who::App(_) | Who::System(_) => None,
        }
    }

    /// Refuses what the actor may not do to a workspace as a whole.
    pub(super) fn require(&self, workspace: &WorkspaceId, action: Action) -> Result<(), ControlError> {
        self.check(workspace, action, Resource::Workspace)
    }

    /// Refuses what the actor may not do to one source.
    pub(super) fn require_on_source(
        &self,
        workspace: &WorkspaceId,
        action: Action,
        id: &SourceId,
        kind: SourceKind,
    ) -> Result<(), ControlError> {
        self.check(workspace, action, Resource::Source { id, kind })
    }

    /// Refuses a change of something that has changed since the actor saw it.
    pub(super) fn check_if_match(&self, revision: u64) -> Result<(), ControlError> {
        match &self.if_match {
            IfMatch::Revisions(seen) if !seen.contains(&revision) => Err(ControlError::Changed { revision }),
            IfMatch::Any | IfMatch::Revisions(_) => Ok(()),
        }
    }

    /// Refuses everybody but the server itself and its operator.
    pub(super) fn must_be_system(&self) -> Result<(), ControlError> {
        match self.who {
            Who::System(_) => Ok(()),
            Who::Member(_) | Who::App(_) => Err(ControlError::OperatorOnly),
        }
    }

    /// Refuses an API token what only its person may do: a token is for the workspace of its membership, and makes
    /// nothing that outlives it.
    pub(super) fn must_be_in_person(&self) -> Result<(), ControlError> {
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
            // A workspace of others is answered like one that does not exist.
            Who::Member(member) if member.workspace != *workspace || member.joined_at.is_none() => {
                Err(ControlError::NotFound("workspace"))
            }
            Who::Member(member) if may(&member.grants, action, resource) => Ok(()),
            Who::Member(_) | Who::App(_) => Err(ControlError::Forbidden(action)),
        }
    }
}
