//! The routes at a glance, and the JSON form of what [`Control`] does. No rule is decided here.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, map_response};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};

use super::oauth::metadata;
use super::{console, login};
use crate::control::error::{BadRequest, ControlError};
use crate::control::plane::Control;
use crate::control::tokens::{introspect, issue, leaked, revoke};
use crate::domain::decimal::begins_with_year;
use crate::domain::time::UnixSeconds;

/// Where tokens are asked for. One SDK appends `/token` to a server that ends in a slash.
pub(crate) const TOKEN_PATHS: [&str; 2] = ["/token", "//token"];

/// Paths that answer in the form of RFC 6749.
pub(crate) fn is_for_clients(path: &str) -> bool {
    TOKEN_PATHS.contains(&path) || ["/revoke", "/introspect"].contains(&path)
}

/// What every handler is given.
pub(crate) type Shared = State<Arc<Control>>;

/// Every path, its methods and what serves them.
pub(crate) fn routes(control: Arc<Control>) -> Router {
    let token = || axum::routing::post(issue::post).fallback(issue::wrong_method);
    let [plain, doubled] = TOKEN_PATHS;
    let (management, document) = super::api::table::management().finish("portcullis management API");
    let document = Bytes::from(document.to_string());
    let management = management
        .route(
            "/openapi.json",
            axum::routing::get(async move || ([(header::CONTENT_TYPE, "application/json")], document)),
        )
        .layer(map_response(unstored));
    Router::new()
        .route(plain, token())
        .route(doubled, token())
        .route(
            "/revoke",
            axum::routing::post(revoke::post).fallback(introspect::wrong_method),
        )
        .route(
            "/introspect",
            axum::routing::post(introspect::post).fallback(introspect::wrong_method),
        )
        .route("/leaked-tokens/github", axum::routing::post(leaked::post_github))
        .route("/.well-known/jwks.json", axum::routing::get(metadata::key_set))
        .route(
            "/.well-known/oauth-authorization-server",
            axum::routing::get(metadata::metadata),
        )
        .route("/login/oidc", axum::routing::get(login::begin))
        .route("/login/oidc/callback", axum::routing::get(login::callback))
        .nest("/api/v1", management)
        .merge(console::routes(&control))
        .fallback(async || ControlError::Request(BadRequest::Path))
        .method_not_allowed_fallback(async || ControlError::Request(BadRequest::Method))
        .layer(from_fn(without_nul))
        .with_state(control)
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

/// A moment in the API's form, RFC 3339 in UTC.
pub(crate) fn at_text(at: UnixSeconds) -> String {
    let seconds = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| at.to_string(), |moment| moment.to_string())
}

/// The moment that a text in the API's form means. A fraction of a second is dropped.
pub(crate) fn moment(text: &str, field: &str) -> Result<UnixSeconds, ControlError> {
    let parsed: Option<jiff::Timestamp> = text.parse().ok();
    parsed
        .filter(|_| begins_with_year(text))
        .and_then(|moment| u64::try_from(moment.as_second()).ok())
        .map(UnixSeconds)
        .ok_or_else(|| {
            ControlError::invalid(
                field,
                "write a moment as RFC 3339 says, such as 2030-01-31T12:00:00Z",
            )
        })
}

/// The same, with a fraction of a second rounded up.
pub(crate) fn moment_after(text: &str, field: &str) -> Result<UnixSeconds, ControlError> {
    let whole = moment(text, field)?;
    let has_fraction = text
        .parse::<jiff::Timestamp>()
        .is_ok_and(|moment| moment.subsec_nanosecond() > 0);
    Ok(whole.plus(u64::from(has_fraction)))
}
