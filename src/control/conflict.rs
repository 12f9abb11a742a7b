//! Conflicts: rules that the current state would break with a change.

use thiserror::Error;

/// A rule that a change would break.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Conflict {
    #[error("an OAuth app has at most two public keys; delete one first")]
    TwoKeys,
    #[error("the OAuth app has this public key already")]
    KeyRepeated,
    #[error("the OAuth app is connected to sources: {0}; disconnect them first")]
    AppConnected(String),
    #[error("no OAuth app is connected to the source; connect one first")]
    NotConnected,
    #[error(
        "enforcement of the source is not off, and without an app every request to it would be denied; turn enforcement off first, or disconnect with force"
    )]
    Enforced,
    #[error("a source of kind `{kind}` needs the scope `{scope}`, which the OAuth app does not have")]
    ScopeMissing { kind: &'static str, scope: &'static str },
    #[error("a source has this write key already")]
    WriteKeyTaken,
    #[error("the workspace has a member with this e-mail address already")]
    MemberExists,
    #[error(
        "the store has a member already; ask an owner for an invitation, or use `portcullis admin reset-password`"
    )]
    NotEmpty,
    #[error(
        "this address has joined several workspaces, each with a password of its own, and has proved none: {0}; name those that are the person's with --workspace"
    )]
    SeveralMemberships(String),
    #[error("the workspace would have no owner; give another member the role first")]
    LastOwner,
    #[error(
        "this is the last public key of the OAuth app: without it the app gets no tokens, and those that it has end; add another key first, or delete it with last_key=true"
    )]
    LastKey,
    #[error("a member has at most 100 API tokens; delete one first")]
    ApiTokens,
    #[error(
        "more token ids of the OAuth app are revoked than it was issued tokens; send the complete token, or revoke all of the app's tokens"
    )]
    RevokedIds,
    #[error("a request with this Idempotency-Key is in progress or has completed; retry to get its response")]
    RetriedMeanwhile,
    #[error("the resource that a request with this Idempotency-Key created was deleted; use another key")]
    RetriedTooLate,
    #[error(
        "a request with this Idempotency-Key has completed, and its response showed a secret once; delete the resource and use another key"
    )]
    RetriedForSecret,
    #[error(
        "too many Idempotency-Keys of this member are remembered; send the request without one, or wait until some expire after a day"
    )]
    RetryKeys,
    #[error(
        "too many signing keys are still in use; revoke one, or wait until the last token it signed expires"
    )]
    SigningKeys,
    #[error("an edge has this name already; choose another, or revoke and rename the edge that has it")]
    EdgeName,
    #[error("there are 10,000 edges and unused join tokens; revoke edges that are no longer used")]
    Edges,
}

impl Conflict {
    /// The word in its problem document.
    pub(super) const fn slug(&self) -> &'static str {
        match self {
            Self::TwoKeys => "two-keys-at-most",
            Self::EdgeName => "edge-name-taken",
            Self::Edges => "too-many-edges",
            Self::KeyRepeated => "key-repeated",
            Self::AppConnected(_) => "app-connected",
            Self::NotConnected => "no-app-connected",
            Self::Enforced => "source-enforced",
            Self::ScopeMissing { .. } => "scope-missing",
            Self::WriteKeyTaken => "write-key-taken",
            Self::MemberExists => "member-exists",
            Self::NotEmpty => "not-empty",
            Self::SeveralMemberships(_) => "several-memberships",
            Self::LastOwner => "last-owner",
            Self::LastKey => "last-key",
            Self::ApiTokens => "too-many-api-tokens",
            Self::RevokedIds => "too-many-revoked-ids",
            Self::RetriedMeanwhile => "retried-meanwhile",
            Self::RetriedTooLate => "retried-too-late",
            Self::RetriedForSecret => "secret-shown-once",
            Self::RetryKeys => "too-many-idempotency-keys",
            Self::SigningKeys => "too-many-signing-keys",
        }
    }
}
