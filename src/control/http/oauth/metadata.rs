//! What clients and verifiers read of this server: its key set and its metadata (RFC 7517, RFC 8414).

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::control::plane::Control;
use crate::control::signing_keys::key_ring::KEY_SET_AGE_S;
use crate::domain::digest::sha256;
use crate::domain::source_kind::SUPPORTED_SCOPES;
use crate::snapshot::Jwk;

/// Signature algorithms of client assertions: `Ed25519` and `EdDSA` are one (RFC 9864).
const ASSERTION_ALGORITHMS: [&str; 5] = ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"];

/// How long a browser may keep the answer to a preflight, in seconds.
const PREFLIGHT_AGE: &str = "86400";

/// `GET /.well-known/jwks.json` (RFC 7517 section 5).
pub(crate) async fn key_set(State(control): State<Arc<Control>>, headers: HeaderMap) -> Response {
    #[derive(Serialize)]
    struct KeySet {
        keys: Vec<Jwk>,
    }
    let keys = control.issuer_keys.published();
    cacheable(&headers, &KeySet { keys })
}

/// RFC 8414 section 2. Only what is really served.
#[derive(Serialize)]
struct Metadata<'a> {
    issuer: &'a str,
    token_endpoint: String,
    jwks_uri: String,
    grant_types_supported: [&'static str; 1],
    response_types_supported: [&'static str; 0],
    scopes_supported: [&'static str; 3],
    token_endpoint_auth_methods_supported: [&'static str; 1],
    token_endpoint_auth_signing_alg_values_supported: [&'static str; 5],
    revocation_endpoint: String,
    revocation_endpoint_auth_methods_supported: [&'static str; 1],
    revocation_endpoint_auth_signing_alg_values_supported: [&'static str; 5],
    introspection_endpoint: String,
    introspection_endpoint_auth_methods_supported: [&'static str; 2],
    introspection_endpoint_auth_signing_alg_values_supported: [&'static str; 5],
}

impl<'a> Metadata<'a> {
    fn of(issuer: &'a str) -> Self {
        Self {
            issuer,
            token_endpoint: format!("{issuer}/token"),
            jwks_uri: format!("{issuer}/.well-known/jwks.json"),
            grant_types_supported: ["client_credentials"],
            response_types_supported: [],
            scopes_supported: SUPPORTED_SCOPES,
            token_endpoint_auth_methods_supported: ["private_key_jwt"],
            token_endpoint_auth_signing_alg_values_supported: ASSERTION_ALGORITHMS,
            revocation_endpoint: format!("{issuer}/revoke"),
            revocation_endpoint_auth_methods_supported: ["private_key_jwt"],
            revocation_endpoint_auth_signing_alg_values_supported: ASSERTION_ALGORITHMS,
            introspection_endpoint: format!("{issuer}/introspect"),
            // RFC 8414 section 2: a token type stands next to the methods. It is an API token of a member.
            introspection_endpoint_auth_methods_supported: ["private_key_jwt", "Bearer"],
            introspection_endpoint_auth_signing_alg_values_supported: ASSERTION_ALGORITHMS,
        }
    }
}

/// `GET /.well-known/oauth-authorization-server` (RFC 8414 section 3).
pub(crate) async fn oauth(State(control): State<Arc<Control>>, headers: HeaderMap) -> Response {
    cacheable(&headers, &Metadata::of(control.issuer()))
}

/// `GET /.well-known/openid-configuration`, for verifiers that know no other place (RFC 8414 section 5). This server
/// issues no ID tokens: `response_types_supported` is empty, and there is no authorization endpoint. The two members
/// that OpenID Connect Discovery 1.0 section 3 requires besides are there, since verifiers read the algorithms of our
/// access tokens from them.
pub(crate) async fn openid(State(control): State<Arc<Control>>, headers: HeaderMap) -> Response {
    #[derive(Serialize)]
    struct OpenIdMetadata<'a> {
        #[serde(flatten)]
        metadata: Metadata<'a>,
        subject_types_supported: [&'static str; 1],
        id_token_signing_alg_values_supported: Vec<String>,
    }
    let mut algorithms: Vec<String> = Vec::new();
    for key in control.issuer_keys.published() {
        if let Some(algorithm) = key.alg
            && !algorithms.contains(&algorithm)
        {
            algorithms.push(algorithm);
        }
    }
    let metadata = OpenIdMetadata {
        metadata: Metadata::of(control.issuer()),
        subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: algorithms,
    };
    cacheable(&headers, &metadata)
}

/// `OPTIONS` of all of them: any page may read what is public. A browser asks first where a script sends
/// `If-None-Match` or `Cache-Control`.
pub(crate) async fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "*"),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE),
        (header::ALLOW, "GET, HEAD, OPTIONS"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// A public document, or 304 where the client has it. A next signing key is published for longer than
/// [`KEY_SET_AGE_S`] before it signs, so nobody needs a document before the one they keep has expired.
fn cacheable(request: &HeaderMap, body: &impl Serialize) -> Response {
    let Ok(body) = serde_json::to_vec(body) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(sha256(&body)));
    let mut response = if has_tag(request, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    };
    let age = format!("public, max-age={KEY_SET_AGE_S}");
    for (name, value) in [
        (header::CACHE_CONTROL, age.as_str()),
        (header::ETAG, tag.as_str()),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "ETag"),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Whether `If-None-Match` names the tag, weak or strong (RFC 9110 section 13.1.2).
fn has_tag(request: &HeaderMap, tag: &str) -> bool {
    request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}
