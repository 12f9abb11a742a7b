//! Why a client's request is rejected: what the client reads, and the cause that only the log has.

use crate::control::bad_request::BadRequest;
use crate::control::error::ControlError;
use crate::control::limiter::Wait;
use crate::domain::client_assertion::AssertionError;
use crate::domain::issue::IssueError;
use crate::domain::scope::InvalidScope;
use crate::store::StoreError;
use thiserror::Error;

/// Why a request to the token, revocation or introspection endpoint is rejected.
#[derive(Debug, Error)]
pub enum TokenError {
    #[error("{0}")]
    Request(String),
    #[error("the only grant_type here is client_credentials")]
    GrantType,
    #[error("{0}")]
    Scope(String),
    /// RFC 8707 section 2.
    #[error("`{0}` is not a resource of this server; use the resource that the gateway's metadata names")]
    Resource(String),
    /// The parameters by which a client authenticates are missing or of another kind.
    #[error("{0}")]
    Credentials(&'static str),
    #[error("the client_id is not the sub of the client assertion")]
    ClientIdMismatch,
    #[error("{0}")]
    Assertion(AssertionError),
    /// One response for an unknown app, an unknown key and a wrong signature, so that nobody learns which apps and keys
    /// exist.
    #[error(
        "the client assertion does not prove an OAuth app of this server: check sub, kid and the private key"
    )]
    Unproven(Unproven),
    /// The signature is that of the key: only its holder reads this.
    #[error(
        "the public key of this client assertion has expired; add a new key to the OAuth app and sign with it"
    )]
    KeyExpired,
    #[error("the client assertion was used before; make a new one for each request")]
    Replayed,
    /// RFC 6749 section 5.2 asks for a challenge where the `Authorization` header was tried.
    #[error("this endpoint takes private_key_jwt only: send client_assertion and no Authorization header")]
    Authorization,
    /// Released SDKs read one of two headers: `Retry-After` or `X-RateLimit-Reset`.
    #[error("too many token requests; try again in {} s", .0.seconds())]
    TooMany(Wait),
    /// RFC 6750 section 3.1, for a caller that uses a member's API token.
    #[error("send client_assertion, or a valid API token of a member as Authorization: Bearer pcl_...")]
    Bearer,
    #[error("{0}")]
    Unreadable(BadRequest),
    #[error("send the parameters as application/x-www-form-urlencoded")]
    MediaType,
    #[error("send the parameters in UTF-8, without another charset in Content-Type")]
    Charset,
    #[error("{0}")]
    Control(#[from] ControlError),
}

/// What is behind [`TokenError::Unproven`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unproven {
    /// No app has the id in `sub`.
    UnknownApp,
    /// The app has no key with the id in `kid`, or none at all.
    UnknownKey,
    /// The key is registered for another algorithm than `alg`.
    Algorithm,
    /// No key of the app made the signature.
    Signature,
}

impl TokenError {
    /// Every `error` code of a response (RFC 6749 section 5.2 and its extensions).
    pub(crate) const CODES: [&'static str; 8] = [
        "invalid_request",
        "unsupported_grant_type",
        "invalid_scope",
        "invalid_target",
        "invalid_client",
        "invalid_token",
        "slow_down",
        "temporarily_unavailable",
    ];

    /// The cause as one word, for the log. The client may read less.
    pub(crate) const fn cause(&self) -> &'static str {
        match self {
            Self::Request(_) => "request_malformed",
            Self::GrantType => "grant_type",
            Self::Scope(_) => "scope",
            Self::Resource(_) => "resource",
            Self::Credentials(_) => "credentials_missing",
            Self::ClientIdMismatch => "client_id_mismatch",
            Self::Assertion(error) => assertion_cause(error),
            Self::Unproven(Unproven::UnknownApp) => "unknown_app",
            Self::Unproven(Unproven::UnknownKey) => "unknown_key",
            Self::Unproven(Unproven::Algorithm) => "algorithm",
            Self::Unproven(Unproven::Signature) => "signature",
            Self::KeyExpired => "key_expired",
            Self::Replayed => "replayed",
            Self::Authorization => "authorization_header",
            Self::TooMany(_) => "rate_limited",
            Self::Bearer => "api_token",
            Self::Unreadable(_) => "body",
            Self::MediaType => "media_type",
            Self::Charset => "charset",
            Self::Control(ControlError::Store(_)) => "store",
            Self::Control(_) => "internal",
        }
    }
}

const fn assertion_cause(error: &AssertionError) -> &'static str {
    match error {
        AssertionError::Malformed(_) => "assertion_malformed",
        AssertionError::Claims(_) | AssertionError::Claim(_) => "assertion_claims",
        AssertionError::Implausible(_) => "assertion_dates",
        AssertionError::Audience(_) => "audience",
        AssertionError::Type => "assertion_type",
        AssertionError::Lifetime(_) => "lifetime",
        AssertionError::Expired => "expired",
        AssertionError::UsedBeforeIssued => "not_yet_valid",
        AssertionError::Signature => "signature",
    }
}

impl From<AssertionError> for TokenError {
    fn from(error: AssertionError) -> Self {
        match error {
            AssertionError::Signature => Self::Unproven(Unproven::Signature),
            _ => Self::Assertion(error),
        }
    }
}

impl From<IssueError> for TokenError {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::ScopeNotHeld(_) => Self::Scope(error.to_string()),
            IssueError::AppMismatch => Self::Unproven(Unproven::Signature),
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
