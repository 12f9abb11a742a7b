//! Errors as HTTP answers: problem documents (RFC 9457), and the one place that picks a status.

use crate::control::bad_request::BadRequest;
use crate::control::bad_request::Exhausted;
use crate::control::changes::outage::log_failed_request;
use crate::control::error::ControlError;
use crate::control::limiter::Wait;
use crate::store::StoreError;
use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use schemars::JsonSchema;
use serde::Serialize;

const REQUEST_FAILED: &str = "request failed: internal error";

pub(crate) const INTERNAL: (StatusCode, &str, &str) =
    (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error");

pub(crate) const fn store_status(error: &StoreError) -> (StatusCode, &'static str, &'static str) {
    const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
    match error {
        StoreError::Unavailable(_) => (UNAVAILABLE, "store-unavailable", "Store unavailable"),
        StoreError::Full(_) => (StatusCode::INSUFFICIENT_STORAGE, "store-full", "Store full"),
        StoreError::Unconfirmed(_) => (UNAVAILABLE, "store-unconfirmed", "Not known whether stored"),
        _ => INTERNAL,
    }
}

/// The kind of store failure behind a response, for the metric that counts them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoreFailure(pub &'static str);

/// Says in the answer that the store failed, where it did.
pub(crate) fn note_failure(response: &mut Response, error: &ControlError) {
    if let ControlError::Store(error) = error
        && let Some(kind) = error.failure()
    {
        response.extensions_mut().insert(StoreFailure(kind));
    }
}

/// An RFC 9457 problem document.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Problem<'a> {
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
        const FORBIDDEN: StatusCode = StatusCode::FORBIDDEN;
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
            Self::PasswordsOff => (FORBIDDEN, "passwords-off", "Passwords turned off"),
            Self::SessionRequired => (FORBIDDEN, "session-required", "Session required"),
            Self::AddressUnverified => (FORBIDDEN, "address-unverified", "Address not verified"),
            Self::RolesChanged => (FORBIDDEN, "roles-changed", "Roles changed"),
            Self::Request(fault) => fault.status(),
            Self::TooMany(_) | Self::TooManyFailures(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-requests",
                "Too many requests",
            ),
            Self::JoinRefused => (FORBIDDEN, "join-refused", "Join token refused"),
            Self::UnverifiedReport => (FORBIDDEN, "report-unverified", "Not verified"),
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
            // The database's message is for the operator's log, not for the client.
            Self::Store(_) | Self::Crypto(_) | Self::Keys(_) => {
                log_failed_request(&self, REQUEST_FAILED);
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

/// When to come back, in whole seconds, in both headers that clients look at.
pub(crate) fn say_when(response: &mut Response, wait: Wait) {
    let seconds = HeaderValue::from(wait.seconds());
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, seconds.clone());
    response.headers_mut().insert("x-ratelimit-reset", seconds);
}

/// A JSON answer that nobody stores.
pub(crate) fn json(status: StatusCode, kind: &'static str, body: &impl Serialize) -> Response {
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")];
    match serde_json::to_vec(body) {
        Ok(body) => (status, headers, body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

impl BadRequest {
    /// Says in a response when to try again, where that helps.
    pub(crate) fn say_when(self, response: &mut Response) {
        if let Self::Exhausted(_) = self {
            say_when(response, Exhausted::RETRY_AFTER);
        }
    }

    pub(crate) const fn status(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::TooLarge | Self::ReportTooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "Body too large")
            }
            Self::Broken => (StatusCode::BAD_REQUEST, "body-broken", "Body incomplete"),
            Self::Timeout => (StatusCode::REQUEST_TIMEOUT, "request-timeout", "Request too slow"),
            Self::NotJson => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", "Not JSON"),
            Self::Charset => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "charset-unsupported",
                "Charset not supported",
            ),
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
