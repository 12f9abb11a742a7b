//! What can go wrong, and the one place that picks a status for it.
//!
//! [`ControlError`] is what every function of the control plane answers; over HTTP it is a problem document
//! (RFC 9457). [`TokenError`] is the token endpoint's own form (RFC 6749 section 5.2).

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;
use thiserror::Error;

use super::conflict::Conflict;
use super::http::memory::Exhausted;
use super::rate_limits::Wait;
use super::signing_keys::key_ring::UnreadableKey;
use crate::domain::client_assertion::AssertionError;
use crate::domain::issue::IssueError;
use crate::domain::role::Action;
use crate::domain::scope::InvalidScope;
use crate::store::StoreError;

/// Why the control plane did not do what it was asked.
#[derive(Debug, Error)]
pub enum ControlError {
    #[error("there is no such {0} here")]
    NotFound(&'static str),
    #[error("{field}: {problem}")]
    Invalid { field: String, problem: String },
    #[error("{0}")]
    Conflict(#[from] Conflict),
    #[error("send a valid API token as Authorization: Bearer pcl_..., or sign in")]
    Unauthenticated,
    /// One answer whatever was wrong, so that nobody learns who has an account here.
    #[error("the e-mail address or the password is wrong")]
    SignInRefused,
    #[error(
        "this request does not come from a page of this server: a browser's session changes nothing without \
         Sec-Fetch-Site: same-origin, our Origin, or the session's token in X-CSRF-Token"
    )]
    CrossSite,
    #[error("this needs {}; ask an owner of the workspace", .0.allowed_to())]
    Forbidden(Action),
    #[error(
        "your roles in the workspace were changed while this request was under way, and nothing was changed by it; send it again"
    )]
    RolesChanged,
    #[error(
        "it has changed since you read it and has revision {revision} now; read it again, and send the ETag of that as If-Match"
    )]
    Changed { revision: u64 },
    #[error("only the operator of this server may do this, with `portcullis admin`")]
    OperatorOnly,
    #[error(
        "signing keys sign for every workspace of this server, and you do not own all of them; ask the operator of this server"
    )]
    NotOwnerOfAll,
    #[error("{0}")]
    Request(#[from] BadRequest),
    #[error("too many requests; try again in {} s", .0.seconds())]
    TooMany(Wait),
    /// Sign-ins that failed are the cause.
    #[error("too many failed attempts; try again in {} seconds", .0.seconds())]
    TooManyFailures(Wait),
    #[error(
        "the change is stored as version {version} and will take effect, but the gateway did not confirm it in time"
    )]
    NotYetInForce { version: u64 },
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("the cryptographic library failed at {0}")]
    Crypto(&'static str),
    #[error("the report's signature could not be verified")]
    UnverifiedReport,
    #[error("the server cannot take this up at the moment; try again shortly")]
    Busy,
    #[error("{0}")]
    Keys(#[from] UnreadableKey),
}

impl ControlError {
    /// A value of `field` that cannot be taken.
    pub fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

impl ControlError {
    /// What whoever asked is told of a fault of ours.
    pub(super) const fn fault(&self) -> &'static str {
        match self {
            Self::Store(StoreError::Unavailable(_)) => {
                "the store does not answer at the moment; nothing was changed; try again shortly"
            }
            Self::Store(StoreError::Full(_)) => {
                "the store has no room left; nothing was changed; the operator of this server has to make room on its disk"
            }
            Self::Store(StoreError::Unconfirmed(_)) => {
                "the store was lost while it confirmed the change, so it may have been made or not; read before you repeat it"
            }
            _ => "the request failed for a fault of this server; nothing was changed",
        }
    }
}

const INTERNAL: (StatusCode, &str, &str) = (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error");

const fn store_status(error: &StoreError) -> (StatusCode, &'static str, &'static str) {
    const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
    match error {
        StoreError::Unavailable(_) => (UNAVAILABLE, "store-unavailable", "Store unavailable"),
        StoreError::Full(_) => (StatusCode::INSUFFICIENT_STORAGE, "store-full", "Store full"),
        StoreError::Unconfirmed(_) => (UNAVAILABLE, "store-unconfirmed", "Not known whether stored"),
        _ => INTERNAL,
    }
}

/// Of an answer: what kind of failure of the store it tells of, for whoever counts them.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoreFailure(pub &'static str);

/// Says in the answer that the store failed, where it did.
pub(super) fn note_failure(response: &mut Response, error: &ControlError) {
    if let ControlError::Store(error) = error
        && let Some(kind) = error.failure()
    {
        response.extensions_mut().insert(StoreFailure(kind));
    }
}

/// A request that cannot be read, whatever it asks for.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BadRequest {
    #[error("the body is larger than {} bytes", super::http::body::BODY_BYTES_MAX)]
    TooLarge,
    #[error("the report has more than 10000 tokens or 24 MiB; send it in parts")]
    ReportTooLarge,
    #[error("the body did not arrive whole")]
    Broken,
    #[error("the body did not arrive in time")]
    Timeout,
    #[error("send the body as application/json")]
    NotJson,
    #[error("the body is not well-formed JSON")]
    Malformed,
    #[error("nothing is served at this path")]
    Path,
    #[error("an If-Match header is * or a list of entity tags as ETag headers have them")]
    IfMatch,
    #[error("an Idempotency-Key header is one of 1 to 255 visible ASCII characters")]
    IdempotencyKey,
    #[error("this path does not serve the request's method")]
    Method,
    /// There is no memory for the request or its response.
    #[error("{0}")]
    Exhausted(Exhausted),
}

/// An RFC 9457 problem document.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Problem<'a> {
    /// One stable name for each kind of problem, `urn:portcullis:problem:...`.
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    /// What is wrong, where, and what to do.
    detail: String,
    /// The field or parameter at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        let (status, slug, title) = match &self {
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::Invalid { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-value", "Invalid value"),
            Self::Conflict(conflict) => (StatusCode::CONFLICT, conflict.slug(), "Conflict"),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated", "Not signed in"),
            Self::Changed { .. } => (
                StatusCode::PRECONDITION_FAILED,
                "changed-meanwhile",
                "Changed meanwhile",
            ),
            Self::SignInRefused => (StatusCode::UNAUTHORIZED, "sign-in-refused", "Not signed in"),
            Self::CrossSite => (StatusCode::FORBIDDEN, "cross-site-request", "Cross-site request"),
            Self::Forbidden(_) | Self::OperatorOnly | Self::NotOwnerOfAll => {
                (StatusCode::FORBIDDEN, "forbidden", "Not allowed")
            }
            Self::RolesChanged => (StatusCode::FORBIDDEN, "roles-changed", "Roles changed"),
            Self::Request(fault) => fault.status(),
            Self::TooMany(_) | Self::TooManyFailures(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-requests",
                "Too many requests",
            ),
            Self::UnverifiedReport => (StatusCode::FORBIDDEN, "report-unverified", "Not verified"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy", "Try again"),
            Self::NotYetInForce { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not-yet-in-force",
                "Stored, not yet in force",
            ),
            Self::Store(error) => store_status(error),
            Self::Crypto(_) | Self::Keys(_) => INTERNAL,
        };
        let field = match &self {
            Self::Invalid { field, .. } => Some(field.as_str()),
            _ => None,
        };
        let detail = match &self {
            Self::Invalid { problem, .. } => problem.clone(),
            // What the database says is for the operator's log, not for whoever sent the request.
            Self::Store(_) | Self::Crypto(_) | Self::Keys(_) => {
                tracing::error!(error = %self, "a request failed for our fault");
                self.fault().to_owned()
            }
            other => other.to_string(),
        };
        let kind = format!("urn:portcullis:problem:{slug}");
        let problem = Problem {
            kind,
            title,
            status: status.as_u16(),
            detail,
            field,
        };
        let mut response = json(status, "application/problem+json", &problem);
        note_failure(&mut response, &self);
        match self {
            Self::TooMany(wait) | Self::TooManyFailures(wait) => say_when(&mut response, wait),
            Self::Request(fault) => fault.say_when(&mut response),
            _ => {}
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"portcullis\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl BadRequest {
    /// Says in a response when to try again, where that helps.
    pub(super) fn say_when(self, response: &mut Response) {
        if let Self::Exhausted(_) = self {
            say_when(response, Exhausted::RETRY_AFTER);
        }
    }

    pub(super) const fn status(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::TooLarge | Self::ReportTooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "Body too large")
            }
            Self::Broken => (StatusCode::BAD_REQUEST, "body-broken", "Body incomplete"),
            Self::Timeout => (StatusCode::REQUEST_TIMEOUT, "request-timeout", "Request too slow"),
            Self::NotJson => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", "Not JSON"),
            Self::Malformed => (StatusCode::BAD_REQUEST, "malformed-json", "Malformed JSON"),
            Self::IfMatch | Self::IdempotencyKey => {
                (StatusCode::BAD_REQUEST, "malformed-header", "Malformed header")
            }
            Self::Path => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "Method not allowed",
            ),
            Self::Exhausted(Exhausted::Server) => {
                (StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Overloaded")
            }
            Self::Exhausted(Exhausted::Client) => (
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-requests",
                "Too many requests",
            ),
        }
    }
}

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

impl From<Wait> for ControlError {
    fn from(wait: Wait) -> Self {
        Self::TooMany(wait)
    }
}

impl From<StoreError> for TokenError {
    fn from(error: StoreError) -> Self {
        Self::Control(error.into())
    }
}

/// An RFC 6749 error. Both members are always there: one SDK dies without the second.
#[derive(Serialize)]
struct OAuthError {
    error: &'static str,
    error_description: String,
}

impl TokenError {
    /// The status, and the `error` code: one of a handful of words, so it serves as a metric's label, too.
    pub(super) const fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Request(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::GrantType => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            Self::Scope(_) => (StatusCode::BAD_REQUEST, "invalid_scope"),
            Self::Client(_) | Self::Unproven | Self::Authorization => {
                (StatusCode::UNAUTHORIZED, "invalid_client")
            }
            Self::Bearer => (StatusCode::UNAUTHORIZED, "invalid_token"),
            Self::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "slow_down"),
            Self::Unreadable(BadRequest::Exhausted(Exhausted::Server)) => {
                (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
            }
            Self::Unreadable(BadRequest::Exhausted(Exhausted::Client)) => {
                (StatusCode::TOO_MANY_REQUESTS, "slow_down")
            }
            Self::Unreadable(fault) => (fault.status().0, "invalid_request"),
            Self::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request"),
            Self::Control(_) => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
        }
    }
}

impl IntoResponse for TokenError {
    fn into_response(self) -> Response {
        let (status, error) = self.status();
        let description = match &self {
            Self::Control(fault) => {
                tracing::error!(error = %fault, "a client could not be answered for our fault");
                "the request cannot be answered at the moment; try again shortly".to_owned()
            }
            other => other.to_string(),
        };
        let body = OAuthError {
            error,
            error_description: description.chars().map(in_description).collect(),
        };
        let mut response = json(status, "application/json", &body);
        response
            .headers_mut()
            .insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        if let Self::Control(fault) = &self {
            note_failure(&mut response, fault);
        }
        match self {
            Self::TooMany(wait) => say_when(&mut response, wait),
            Self::Unreadable(fault) => fault.say_when(&mut response),
            _ => {}
        }
        let challenge = match self {
            Self::Authorization => Some(HeaderValue::from_static("Basic realm=\"portcullis\"")),
            Self::Bearer => Some(HeaderValue::from_static("Bearer realm=\"portcullis\"")),
            _ => None,
        };
        if let Some(challenge) = challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// When to come back, in whole seconds, in both headers that clients look at.
fn say_when(response: &mut Response, wait: Wait) {
    let seconds = HeaderValue::from(wait.seconds());
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, seconds.clone());
    response.headers_mut().insert("x-ratelimit-reset", seconds);
}

/// RFC 6749 section 5.2 allows printable ASCII without quote and backslash in a description.
fn in_description(c: char) -> char {
    match c {
        '"' => '\'',
        ' '..='~' if c != '\\' => c,
        _ => '?',
    }
}

/// A JSON answer that nobody stores.
pub(super) fn json(status: StatusCode, kind: &'static str, body: &impl Serialize) -> Response {
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")];
    match serde_json::to_vec(body) {
        Ok(body) => (status, headers, body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
