//! docs/reference/audit-actions.md: every action in the audit trail.

use portcullis::control::AuditAction;

use crate::{check_page, opening, row, table};

/// The action to list after this one, and what the action means. The match covers every action, so the compiler
/// asks for an entry here when an action is added.
#[expect(clippy::too_many_lines, reason = "a table, with a row for each action")]
const fn entry(action: AuditAction) -> (Option<AuditAction>, &'static str) {
    use AuditAction as A;
    match action {
        A::WorkspaceCreated => (Some(A::WorkspaceRenamed), "A workspace was created."),
        A::WorkspaceRenamed => (Some(A::WorkspaceTokensRevoked), "A workspace was renamed."),
        A::WorkspaceTokensRevoked => (
            Some(A::AppCreated),
            "All access tokens of a workspace issued before a cutoff were revoked.",
        ),
        A::AppCreated => (Some(A::AppChanged), "An OAuth app was created."),
        A::AppChanged => (
            Some(A::AppDeleted),
            "The name, scopes or token lifetime of an OAuth app changed.",
        ),
        A::AppDeleted => (Some(A::AppTokensRevoked), "An OAuth app was deleted."),
        A::AppTokensRevoked => (
            Some(A::AppKeyAdded),
            "All access tokens of an OAuth app issued before a cutoff were revoked.",
        ),
        A::AppKeyAdded => (Some(A::AppKeyDeleted), "A public key was added to an OAuth app."),
        A::AppKeyDeleted => (
            Some(A::KeyTokensRevoked),
            "A public key of an OAuth app was deleted; its access tokens are no longer accepted.",
        ),
        A::KeyTokensRevoked => (
            Some(A::TokenRevoked),
            "All access tokens that a public key proved, issued before a cutoff, were revoked.",
        ),
        A::TokenRevoked => (Some(A::TokenLeaked), "One access token was revoked."),
        A::TokenLeaked => (
            Some(A::LeakDismissed),
            "An access token was reported as leaked and was revoked.",
        ),
        A::LeakDismissed => (
            Some(A::SigningKeyAdded),
            "A report of a leaked access token was dismissed.",
        ),
        A::SigningKeyAdded => (Some(A::SigningKeyEnded), "A signing key was created."),
        A::SigningKeyEnded => (
            Some(A::SigningKeyDropped),
            "A signing key was revoked, and with it every access token that it signed.",
        ),
        A::SigningKeyDropped => (
            Some(A::SourceCreated),
            "A retired signing key was removed after its last access token expired.",
        ),
        A::SourceCreated => (Some(A::SourceRenamed), "A source was created."),
        A::SourceRenamed => (Some(A::SourceDeleted), "A source was renamed."),
        A::SourceDeleted => (Some(A::SourceConnected), "A source was deleted."),
        A::SourceConnected => (
            Some(A::SourceDisconnected),
            "An OAuth app was connected to a source.",
        ),
        A::SourceDisconnected => (
            Some(A::EnforcementChanged),
            "An OAuth app was disconnected from a source.",
        ),
        A::EnforcementChanged => (
            Some(A::ObservationRestarted),
            "The enforcement of a source changed.",
        ),
        A::ObservationRestarted => (
            Some(A::MemberAdded),
            "The requests of a source were counted from a new start.",
        ),
        A::MemberAdded => (
            Some(A::MemberInvited),
            "A person with an account became a member.",
        ),
        A::MemberInvited => (
            Some(A::MemberJoined),
            "A person was invited to a workspace, or the invitation was renewed.",
        ),
        A::MemberJoined => (
            Some(A::MemberVerified),
            "An invited person accepted the invitation.",
        ),
        A::MemberVerified => (
            Some(A::AddressVerified),
            "A membership passed to the verified account of its address.",
        ),
        A::AddressVerified => (
            Some(A::ApiTokensEnded),
            "The e-mail address of an account was verified.",
        ),
        A::ApiTokensEnded => (
            Some(A::EventsDropped),
            "API tokens of a member ended with the password or the sessions of the account.",
        ),
        A::EventsDropped => (
            Some(A::MemberChanged),
            "Audit events older than the retention time were deleted.",
        ),
        A::MemberChanged => (Some(A::MemberRemoved), "The roles of a member changed."),
        A::MemberRemoved => (Some(A::SignedIn), "A member was removed from a workspace."),
        A::SignedIn => (Some(A::SignedOut), "A person signed in."),
        A::SignedOut => (
            Some(A::SignInRefused),
            "A person ended a session: the one in use or another one of theirs.",
        ),
        A::SignInRefused => (
            Some(A::PasswordChanged),
            "Sign-in attempts were rejected; one event stands for many attempts.",
        ),
        A::PasswordChanged => (
            Some(A::PasswordReset),
            "A person changed the password of their account.",
        ),
        A::PasswordReset => (
            Some(A::IdentityLinked),
            "The operator reset the password of an account.",
        ),
        A::IdentityLinked => (
            Some(A::ApiTokenCreated),
            "An identity of the sign-on provider was linked to an account.",
        ),
        A::ApiTokenCreated => (Some(A::ApiTokenDeleted), "An API token was created."),
        A::ApiTokenDeleted => (Some(A::EdgeJoinTokenCreated), "An API token was deleted."),
        A::EdgeJoinTokenCreated => (Some(A::EdgeJoined), "A token that enrols an edge was created."),
        A::EdgeJoined => (Some(A::EdgeChanged), "An edge joined with its public key."),
        A::EdgeChanged => (
            Some(A::EdgeKeyRotated),
            "An edge was renamed, or was asked for or offered another key.",
        ),
        A::EdgeKeyRotated => (
            Some(A::EdgeRevoked),
            "An edge used its new key for the first time.",
        ),
        A::EdgeRevoked => (
            Some(A::FleetSettingsChanged),
            "An edge was revoked; it is no longer served.",
        ),
        A::FleetSettingsChanged => (
            Some(A::RevocationsRecovered),
            "The audience of access tokens or the `max_age` of the fleet was changed.",
        ),
        A::RevocationsRecovered => (
            None,
            "An edge returned revocations that the database had lost; they were committed again.",
        ),
    }
}

#[test]
fn audit_actions_page_is_current() {
    let mut page = opening(
        "Audit actions",
        "Each change writes one event to the audit trail, in the transaction of the change. The member `action` of an event \
         is one of these words. They are part of the interface: scripts filter by them.",
    );
    page += &table(&["Action", "Meaning"]);
    let mut listed = Vec::new();
    let mut next = Some(AuditAction::WorkspaceCreated);
    while let Some(action) = next {
        let word = action.as_str();
        assert!(!listed.contains(&word), "`{word}` is listed twice");
        listed.push(word);
        let (following, meaning) = entry(action);
        page += &row(&[&format!("`{word}`"), meaning]);
        next = following;
    }
    assert_eq!(
        listed.len(),
        words_in_the_code(),
        "an action is not linked into the list of `entry`"
    );
    check_page("audit-actions.md", &page);
}

/// How many words `as_str` of the actions has. The compiler asks for an arm in `entry`; this finds an arm that no other
/// arm leads to.
fn words_in_the_code() -> usize {
    let path = std::any::type_name::<AuditAction>();
    let name = path.rsplit("::").next().unwrap();
    let text = crate::source_with(&format!("pub enum {name} {{"));
    let (_, function) = text.split_once("fn as_str(self)").unwrap();
    let (arms, _) = function.split_once("\n    }\n").unwrap();
    arms.matches("Self::").count()
}
