//! What clients and gateways may read of this server: its key set and its metadata.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::control::http::problem::json;
use crate::control::plane::Control;
use crate::control::signing_keys::key_ring::KEY_SET_AGE_S;
use crate::domain::key::Algorithm;
use crate::domain::source_kind::SUPPORTED_SCOPES;
use crate::snapshot::Jwk;

/// `GET /.well-known/jwks.json` (RFC 7517 section 5).
pub(crate) async fn key_set(State(control): State<Arc<Control>>) -> Response {
    #[derive(Serialize)]
    struct KeySet {
        keys: Vec<Jwk>,
    }
    cacheable(&KeySet {
        keys: control.issuer_keys.published(),
    })
}

/// `GET /.well-known/oauth-authorization-server` (RFC 8414 section 3). Only what is really served.
pub(crate) async fn metadata(State(control): State<Arc<Control>>) -> Response {
    #[derive(Serialize)]
    struct Metadata<'a> {
        issuer: &'a str,
        token_endpoint: String,
        jwks_uri: String,
        grant_types_supported: [&'static str; 1],
        response_types_supported: [&'static str; 0],
        scopes_supported: [&'static str; 3],
        token_endpoint_auth_methods_supported: [&'static str; 1],
        token_endpoint_auth_signing_alg_values_supported: [&'static str; 4],
        revocation_endpoint: String,
        revocation_endpoint_auth_methods_supported: [&'static str; 1],
        revocation_endpoint_auth_signing_alg_values_supported: [&'static str; 4],
        introspection_endpoint: String,
        introspection_endpoint_auth_methods_supported: [&'static str; 2],
        introspection_endpoint_auth_signing_alg_values_supported: [&'static str; 4],
    }
    let algorithms = Algorithm::ALL.map(Algorithm::as_str);
    let issuer = control.issuer();
    cacheable(&Metadata {
        issuer,
        token_endpoint: format!("{issuer}/token"),
        jwks_uri: format!("{issuer}/.well-known/jwks.json"),
        grant_types_supported: ["client_credentials"],
        response_types_supported: [],
        scopes_supported: SUPPORTED_SCOPES,
        token_endpoint_auth_methods_supported: ["private_key_jwt"],
        token_endpoint_auth_signing_alg_values_supported: algorithms,
        revocation_endpoint: format!("{issuer}/revoke"),
        revocation_endpoint_auth_methods_supported: ["private_key_jwt"],
        revocation_endpoint_auth_signing_alg_values_supported: algorithms,
        introspection_endpoint: format!("{issuer}/introspect"),
        // RFC 8414 section 2: a token type stands beside the methods. It is an API token of a member.
        introspection_endpoint_auth_methods_supported: ["private_key_jwt", "Bearer"],
        introspection_endpoint_auth_signing_alg_values_supported: algorithms,
    })
}

fn cacheable(body: &impl Serialize) -> Response {
    let mut response = json(StatusCode::OK, "application/json", body).into_response();
    let cacheable = format!("public, max-age={KEY_SET_AGE_S}");
    if let Ok(cacheable) = HeaderValue::try_from(cacheable) {
        response.headers_mut().insert(header::CACHE_CONTROL, cacheable);
    }
    response
}
