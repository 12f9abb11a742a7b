//! Audit events: what a change writes to the audit trail, in its transaction.

use crate::model::member::Member;
use serde_json::Value;

use super::actor::{Actor, Who};
use super::ids::Ids;
use crate::domain::ids::WorkspaceId;
use crate::domain::time::UnixSeconds;
use crate::model::audit::AuditRow;

/// The longest name stored with an event, in characters.
const NAME_CHARS_MAX: usize = 256;

/// The action of the event that records dropped events.
pub(crate) const EVENTS_DROPPED: &str = "audit.events_dropped";

/// What was done. The words are part of the interface: people filter by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditAction {
    WorkspaceCreated,
    WorkspaceRenamed,
    AppCreated,
    AppChanged,
    AppDeleted,
    AppKeyAdded,
    AppKeyDeleted,
    TokenRevoked,
    AppTokensRevoked,
    KeyTokensRevoked,
    WorkspaceTokensRevoked,
    TokenLeaked,
    LeakDismissed,
    SigningKeyAdded,
    SigningKeyEnded,
    SigningKeyDropped,
    EventsDropped,
    SourceCreated,
    SourceRenamed,
    SourceDeleted,
    SourceConnected,
    SourceDisconnected,
    EnforcementChanged,
    ObservationRestarted,
    MemberAdded,
    MemberInvited,
    MemberJoined,
    MemberVerified,
    ApiTokensEnded,
    MemberChanged,
    MemberRemoved,
    AddressVerified,
    PasswordReset,
    PasswordChanged,
    SignedIn,
    SignedOut,
    SignInRefused,
    IdentityLinked,
    ApiTokenCreated,
    ApiTokenDeleted,
    EdgeJoinTokenCreated,
    EdgeJoined,
    EdgeChanged,
    EdgeKeyRotated,
    EdgeRevoked,
    FleetSettingsChanged,
    RevocationsRecovered,
}

impl AuditAction {
    /// The word in the trail.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WorkspaceCreated => "workspace.created",
            Self::WorkspaceRenamed => "workspace.renamed",
            Self::AppCreated => "app.created",
            Self::AppChanged => "app.changed",
            Self::AppDeleted => "app.deleted",
            Self::AppKeyAdded => "app_key.added",
            Self::AppKeyDeleted => "app_key.deleted",
            Self::TokenRevoked => "token.revoked",
            Self::AppTokensRevoked => "app.tokens_revoked",
            Self::KeyTokensRevoked => "app_key.tokens_revoked",
            Self::WorkspaceTokensRevoked => "workspace.tokens_revoked",
            Self::TokenLeaked => "token.leaked",
            Self::LeakDismissed => "leaked_token.dismissed",
            Self::SigningKeyAdded => "signing_key.added",
            Self::SigningKeyEnded => "signing_key.ended",
            Self::SigningKeyDropped => "signing_key.dropped",
            Self::EventsDropped => EVENTS_DROPPED,
            Self::SourceCreated => "source.created",
            Self::SourceRenamed => "source.renamed",
            Self::SourceDeleted => "source.deleted",
            Self::SourceConnected => "source.connected",
            Self::SourceDisconnected => "source.disconnected",
            Self::EnforcementChanged => "source.enforcement_changed",
            Self::ObservationRestarted => "source.observation_restarted",
            Self::MemberAdded => "member.added",
            Self::MemberInvited => "member.invited",
            Self::MemberJoined => "member.joined",
            Self::MemberVerified => "member.verified",
            Self::ApiTokensEnded => "member.api_tokens_ended",
            Self::MemberChanged => "member.changed",
            Self::MemberRemoved => "member.removed",
            Self::IdentityLinked => "account.identity_linked",
            Self::AddressVerified => "account.address_verified",
            Self::PasswordChanged => "account.password_changed",
            Self::PasswordReset => "account.password_reset",
            Self::SignedIn => "account.signed_in",
            Self::SignedOut => "account.signed_out",
            Self::SignInRefused => "account.sign_in_refused",
            Self::ApiTokenCreated => "api_token.created",
            Self::ApiTokenDeleted => "api_token.deleted",
            Self::EdgeJoinTokenCreated => "edge.join_token_created",
            Self::EdgeJoined => "edge.joined",
            Self::EdgeChanged => "edge.changed",
            Self::EdgeKeyRotated => "edge.key_rotated",
            Self::EdgeRevoked => "edge.revoked",
            Self::FleetSettingsChanged => "fleet.settings_changed",
            Self::RevocationsRecovered => "fleet.revocations_recovered",
        }
    }
}

/// An event: what was done to which resource. The [`Actor`] who did it is added by [`Event::into_row`].
pub(crate) struct Event {
    action: AuditAction,
    workspace: Option<WorkspaceId>,
    resource_type: &'static str,
    resource_id: String,
    resource_name: String,
    before: Option<Value>,
    after: Option<Value>,
    /// The id of what the change creates, if that is not the resource itself.
    created_id: Option<String>,
}

impl Event {
    /// An action in a workspace on the resource of this type, id and name.
    pub(crate) fn new(
        action: AuditAction,
        workspace: &WorkspaceId,
        resource_type: &'static str,
        resource_id: &impl ToString,
        resource_name: &impl ToString,
    ) -> Self {
        Self {
            action,
            workspace: Some(workspace.clone()),
            resource_type,
            resource_id: resource_id.to_string(),
            resource_name: resource_name.to_string(),
            before: None,
            after: None,
            created_id: None,
        }
    }

    /// An action that concerns the whole server. Owners of workspaces do not see it.
    pub(crate) fn of_server(
        action: AuditAction,
        resource_type: &'static str,
        resource_id: &impl ToString,
        resource_name: &impl ToString,
    ) -> Self {
        Self {
            action,
            workspace: None,
            resource_type,
            resource_id: resource_id.to_string(),
            resource_name: resource_name.to_string(),
            before: None,
            after: None,
            created_id: None,
        }
    }

    /// Sets the id of what the change creates, if that is part of the resource.
    pub(crate) fn creating(self, id: &impl ToString) -> Self {
        Self {
            created_id: Some(id.to_string()),
            ..self
        }
    }

    /// The id of what the change creates.
    pub(crate) fn created_id(&self) -> &str {
        self.created_id.as_deref().unwrap_or(&self.resource_id)
    }

    /// The state after a creation.
    pub(crate) fn made(self, after: Value) -> Self {
        Self {
            after: Some(after),
            ..self
        }
    }

    /// The state before a deletion.
    pub(crate) fn removed(self, before: Value) -> Self {
        Self {
            before: Some(before),
            ..self
        }
    }

    /// The state before and after a change: of two objects, only the members that differ.
    pub(crate) fn changed(self, before: Value, after: Value) -> Self {
        let (before, after) = differing(before, after);
        Self {
            before: Some(before),
            after: Some(after),
            ..self
        }
    }
}

/// The members in which two objects differ; other values are kept whole.
fn differing(before: Value, after: Value) -> (Value, Value) {
    let (Value::Object(mut before), Value::Object(mut after)) = (before.clone(), after.clone()) else {
        return (before, after);
    };
    let same: Vec<String> = before
        .iter()
        .filter(|(name, value)| after.get(*name) == Some(value))
        .map(|(name, _)| name.clone())
        .collect();
    for name in same {
        before.remove(&name);
        after.remove(&name);
    }
    (Value::Object(before), Value::Object(after))
}

impl Event {
    /// The event as a row of the trail.
    pub(crate) fn into_row(self, ids: &Ids, now: UnixSeconds, actor: &Actor) -> AuditRow {
        let event = self;
        let (actor_type, actor_id, actor_name) = match &actor.who {
            Who::Member(member) => ("member", member.id.to_string(), member.email.clone()),
            Who::App(app) => ("app", app.to_string(), app.to_string()),
            Who::System(word) => ("system", (*word).to_owned(), (*word).to_owned()),
        };
        let text = |value: Option<Value>| value.map(|value| value.to_string());
        AuditRow {
            id: ids.text("evt", now),
            workspace: event.workspace.map(|workspace| workspace.to_string()),
            at: now,
            action: event.action.as_str().to_owned(),
            actor_type: actor_type.to_owned(),
            actor_id,
            actor_name,
            address: actor.from.map(|address| address.to_string()),
            resource_type: event.resource_type.to_owned(),
            resource_id: event.resource_id,
            resource_name: event.resource_name.chars().take(NAME_CHARS_MAX).collect(),
            changed_from: text(event.before),
            changed_to: text(event.after),
        }
    }
}

/// An action on a membership.
pub(crate) fn member_event(action: AuditAction, member: &Member) -> Event {
    Event::new(action, &member.workspace, "member", &member.id, &member.email)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn event_contains_only_changed_members() {
        let (before, after) = differing(
            json!({"name": "a", "kind": "python", "app_id": null}),
            json!({"name": "b", "kind": "python", "app_id": "app_1"}),
        );
        assert_eq!(before, json!({"name": "a", "app_id": null}));
        assert_eq!(after, json!({"name": "b", "app_id": "app_1"}));
    }
}
