//! The routes at a glance, and the JSON form of what [`Control`] does. No rule is decided here.

mod apps;
mod audit;
mod conditions;
mod members;
mod request;
pub(super) mod session;
mod sources;
mod tokens;
mod workspaces;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{delete, get, post, put};
use http::{HeaderValue, header};

use super::error::{BadRequest, ControlError};
use super::{Control, console, keys, login, token};
use crate::domain::time::UnixSeconds;

/// Where tokens are asked for. One SDK appends `/token` to a server that ends in a slash.
pub(super) const TOKEN_PATHS: [&str; 2] = ["/token", "//token"];

/// What every handler is given.
type Shared = State<Arc<Control>>;

/// Every path, its methods and what serves them.
pub(super) fn routes(control: Arc<Control>) -> Router {
    let token = || post(token::post).fallback(token::wrong_method);
    let [plain, doubled] = TOKEN_PATHS;
    Router::new()
        .route(plain, token())
        .route(doubled, token())
        .route("/.well-known/jwks.json", get(keys::key_set))
        .route("/.well-known/oauth-authorization-server", get(keys::metadata))
        .route("/login/oidc", get(login::begin))
        .route("/login/oidc/callback", get(login::callback))
        .nest("/api/v1", management())
        .merge(console::routes(&control))
        .fallback(async || ControlError::Request(BadRequest::Path))
        .method_not_allowed_fallback(async || ControlError::Request(BadRequest::Method))
        .with_state(control)
}

/// The management API. Everything below a workspace is for its members.
fn management() -> Router<Arc<Control>> {
    Router::new()
        .route(
            "/session",
            get(session::show).post(session::create).delete(session::delete),
        )
        .route("/session/password", put(session::change_password))
        .route("/sessions", get(session::list).delete(session::delete_all))
        .route("/sessions/{id}", delete(session::delete_one))
        .route("/workspaces", get(workspaces::list).post(workspaces::create))
        .route(
            "/workspaces/{ws}",
            get(workspaces::show).patch(workspaces::update),
        )
        .route("/workspaces/{ws}/apps", get(apps::list).post(apps::create))
        .route(
            "/workspaces/{ws}/apps/{id}",
            get(apps::show).patch(apps::update).delete(apps::delete),
        )
        .route(
            "/workspaces/{ws}/apps/{id}/keys",
            get(apps::list_keys).post(apps::create_key),
        )
        .route("/workspaces/{ws}/apps/{id}/keys/{kid}", delete(apps::delete_key))
        .route("/workspaces/{ws}/apps/{id}/tokens/revoke", post(tokens::revoke))
        .route(
            "/workspaces/{ws}/sources",
            get(sources::list).post(sources::create),
        )
        .route(
            "/workspaces/{ws}/sources/{id}",
            get(sources::show).patch(sources::update).delete(sources::delete),
        )
        .route(
            "/workspaces/{ws}/sources/{id}/app",
            put(sources::connect).delete(sources::disconnect),
        )
        .route(
            "/workspaces/{ws}/sources/{id}/enforcement",
            put(sources::set_enforcement),
        )
        .route(
            "/workspaces/{ws}/members",
            get(members::list).post(members::invite),
        )
        .route(
            "/workspaces/{ws}/members/{id}",
            get(members::show).patch(members::update).delete(members::remove),
        )
        .route(
            "/workspaces/{ws}/api-tokens",
            get(members::list_tokens).post(members::create_token),
        )
        .route(
            "/workspaces/{ws}/api-tokens/{id}",
            get(members::show_token).delete(members::delete_token),
        )
        .route("/workspaces/{ws}/audit-events", get(audit::list))
        .route("/workspaces/{ws}/audit-events/export", get(audit::export))
        .route("/invitations/accept", post(members::accept))
        .layer(map_response(unstored))
}

/// Management answers hold write keys: no cache may keep them.
async fn unstored(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A moment in the API's form, RFC 3339 in UTC.
fn at_text(at: UnixSeconds) -> String {
    let seconds = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| at.to_string(), |moment| moment.to_string())
}

/// The moment that a text in the API's form means. A fraction of a second is dropped.
fn moment(text: &str, field: &str) -> Result<UnixSeconds, ControlError> {
    let parsed: Option<jiff::Timestamp> = text.parse().ok();
    parsed
        .and_then(|moment| u64::try_from(moment.as_second()).ok())
        .map(UnixSeconds)
        .ok_or_else(|| {
            ControlError::invalid(
                field,
                "write a moment as RFC 3339 says, such as 2030-01-31T12:00:00Z",
            )
        })
}
