//! The routes at a glance, and the JSON form of what [`Control`] does. No rule is decided here.

use super::leak_reports;
use super::oauth::token;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};

use super::api::fleet::in_force;
use super::oauth::client_request::wrong_method;
use super::oauth::metadata;
use super::{console, login};
use crate::control::bad_request::BadRequest;
use crate::control::error::ControlError;
use crate::control::plane::Control;

/// Where tokens are asked for. One SDK appends `/token` to a server that ends in a slash.
pub(crate) const TOKEN_PATHS: [&str; 2] = ["/token", "//token"];

/// Paths that answer in the form of RFC 6749.
pub(crate) fn is_for_clients(path: &str) -> bool {
    TOKEN_PATHS.contains(&path) || ["/revoke", "/introspect"].contains(&path)
}

/// Every path, its methods and what serves them.
pub(crate) fn routes(control: Arc<Control>) -> Router {
    let token = || axum::routing::post(token::post).fallback(wrong_method);
    let [plain, doubled] = TOKEN_PATHS;
    let (management, document) = super::api::table::management().finish("portcullis management API");
    let document = Bytes::from(document.to_string());
    let management = management
        .route(
            "/openapi.json",
            axum::routing::get(async move || ([(header::CONTENT_TYPE, "application/json")], document)),
        )
        .layer(from_fn_with_state(Arc::clone(&control), in_force::policy_version))
        .layer(map_response(unstored));
    Router::new()
        .route(plain, token())
        .route(doubled, token())
        .route(
            "/revoke",
            axum::routing::post(super::oauth::revoke::post).fallback(wrong_method),
        )
        .route(
            "/introspect",
            axum::routing::post(super::oauth::introspect::post).fallback(wrong_method),
        )
        .route(
            "/leaked-tokens/github",
            axum::routing::post(leak_reports::post_github),
        )
        .merge(well_known(control.issuer()))
        .route("/login/oidc", axum::routing::get(login::begin))
        .route("/login/oidc/callback", axum::routing::get(login::callback))
        .nest("/api/v1", management)
        .merge(console::routes(&control))
        .fallback(async || ControlError::Request(BadRequest::Path))
        .method_not_allowed_fallback(async || ControlError::Request(BadRequest::Method))
        .layer(from_fn(without_nul))
        .with_state(control)
}

/// The public documents. Where the issuer has a path, clients look for its metadata before the path (RFC 8414 section
/// 3.1), and behind it (OpenID Connect Discovery 1.0 section 4).
fn well_known(issuer: &str) -> Router<Arc<Control>> {
    let routes = Router::new()
        .route(
            "/.well-known/jwks.json",
            axum::routing::get(metadata::key_set).options(metadata::preflight),
        )
        .route(
            "/.well-known/oauth-authorization-server",
            axum::routing::get(metadata::oauth).options(metadata::preflight),
        )
        .route(
            "/.well-known/openid-configuration",
            axum::routing::get(metadata::openid).options(metadata::preflight),
        );
    let path = issuer
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('/'))
        .map(|(_, path)| path);
    match path {
        // The router would read these characters as a parameter.
        Some(path) if !path.contains(['{', '}', '*']) => routes
            .route(
                &format!("/.well-known/oauth-authorization-server/{path}"),
                axum::routing::get(metadata::oauth).options(metadata::preflight),
            )
            .route(
                &format!("/.well-known/openid-configuration/{path}"),
                axum::routing::get(metadata::openid).options(metadata::preflight),
            ),
        _ => routes,
    }
}

/// Nothing has a name with a NUL character, and not every store can be asked for one.
async fn without_nul(request: Request, next: Next) -> Response {
    if request.uri().path().contains("%00") {
        return ControlError::Request(BadRequest::Path).into_response();
    }
    next.run(request).await
}

/// Management answers hold write keys: no cache may keep them.
async fn unstored(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
