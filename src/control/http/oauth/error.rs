//! Errors of the OAuth endpoints in their own form (RFC 6749 section 5.2).

use crate::control::bad_request::BadRequest;
use crate::control::bad_request::Exhausted;
use crate::control::changes::outage::log_failed_request;
use crate::control::http::problem::json;
use crate::control::http::problem::note_failure;
use crate::control::http::problem::say_when;
use crate::control::tokens::error::TokenError;
use crate::domain::client_assertion::AssertionError;
use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use serde::Serialize;

const CLIENT_REQUEST_FAILED: &str = "client request failed: internal error";

/// An RFC 6749 error. Both members are always there: one SDK fails without the second.
#[derive(Serialize)]
pub(crate) struct OAuthError {
    error: &'static str,
    error_description: String,
}

impl TokenError {
    /// The status, and the `error` code: one of a handful of words, so it serves as a metric's label, too.
    pub(crate) const fn status(&self) -> (StatusCode, &'static str) {
        match self {
            // SDKs correct their clocks on exactly this code and the description.
            Self::Request(_)
            | Self::Charset
            | Self::Assertion(AssertionError::Expired | AssertionError::UsedBeforeIssued) => {
                (StatusCode::BAD_REQUEST, "invalid_request")
            }
            Self::GrantType => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            Self::Scope(_) => (StatusCode::BAD_REQUEST, "invalid_scope"),
            Self::Resource(_) => (StatusCode::BAD_REQUEST, "invalid_target"),
            Self::Credentials(_)
            | Self::ClientIdMismatch
            | Self::Assertion(_)
            | Self::Unproven(_)
            | Self::KeyExpired
            | Self::Replayed
            | Self::Authorization => (StatusCode::UNAUTHORIZED, "invalid_client"),
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
                log_failed_request(fault, CLIENT_REQUEST_FAILED);
                "the request failed for a fault of this server; try again shortly".to_owned()
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

/// RFC 6749 section 5.2 allows printable ASCII without quote and backslash in a description.
pub(crate) fn in_description(c: char) -> char {
    match c {
        '"' => '\'',
        ' '..='~' if c != '\\' => c,
        _ => '?',
    }
}
