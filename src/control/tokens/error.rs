//! Why a token request is rejected.

use crate::control::bad_request::BadRequest;
use crate::control::error::ControlError;
use crate::control::limiter::Wait;
use crate::domain::client_assertion::AssertionError;
use crate::domain::issue::IssueError;
use crate::domain::scope::InvalidScope;
use crate::store::StoreError;
use thiserror::Error;

/// Why the token endpoint issues no token.
#[derive(Debug, Error)]
pub enum TokenError {
    #[error("{0}")]
    Request(String),
    #[error("the only grant_type here is client_credentials")]
    GrantType,
    #[error("{0}")]
    Scope(String),
    /// The client did not prove itself.
    #[error("{0}")]
    Client(String),
    /// One answer for an unknown app, an unknown key and a wrong signature, so that nobody learns which
    /// apps and keys exist.
    #[error(
        "the client assertion does not prove an OAuth app of this server: check sub, kid and the private key"
    )]
    Unproven,
    /// RFC 6749 section 5.2 asks for a challenge where the `Authorization` header was tried.
    #[error("this endpoint takes private_key_jwt only: send client_assertion and no Authorization header")]
    Authorization,
    /// Both planes of released SDKs read it: one `Retry-After`, the other `X-RateLimit-Reset`.
    #[error("too many token requests; try again in {} s", .0.seconds())]
    TooMany(Wait),
    /// RFC 6750 section 3.1, for a caller that uses a member's API token.
    #[error("send client_assertion, or a valid API token of a member as Authorization: Bearer pcl_...")]
    Bearer,
    #[error("{0}")]
    Unreadable(BadRequest),
    #[error("send the parameters as application/x-www-form-urlencoded")]
    MediaType,
    #[error("{0}")]
    Control(#[from] ControlError),
}

impl From<AssertionError> for TokenError {
    fn from(error: AssertionError) -> Self {
        match error {
            AssertionError::Signature => Self::Unproven,
            // SDKs correct their clocks on exactly this code and description.
            AssertionError::Expired | AssertionError::UsedBeforeIssued => Self::Request(error.to_string()),
            _ => Self::Client(error.to_string()),
        }
    }
}

impl From<IssueError> for TokenError {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::ScopeNotHeld(_) => Self::Scope(error.to_string()),
            IssueError::AppMismatch => Self::Unproven,
        }
    }
}

impl From<InvalidScope> for TokenError {
    fn from(error: InvalidScope) -> Self {
        Self::Scope(error.to_string())
    }
}

impl From<Wait> for TokenError {
    fn from(wait: Wait) -> Self {
        Self::TooMany(wait)
    }
}

impl From<StoreError> for TokenError {
    fn from(error: StoreError) -> Self {
        Self::Control(error.into())
    }
}
