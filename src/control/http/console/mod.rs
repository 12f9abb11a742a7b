//! The web console: pages over the same functions as the management API.
//!
//! It has no rule of its own. A page reads what [`Control`](crate::control::plane::Control) tells this member, a form sends
//! what they typed to it, and what it refuses stands beside the field. Every page works without script: forms
//! that change something post and are answered by a redirect, and a step that destroys something is a page.
//!
//! Start at [`routes`]. `visit` is who is here, `posted` reads forms, `frame` and `parts` are what all pages
//! share, `fault` is what a refusal looks like; the other files are one section of the console each.

mod assets;
mod chart;
pub(crate) mod components;
pub(crate) mod confirm;
pub(crate) mod enter;
mod fault;
pub(crate) mod fields;
pub(crate) mod form;
mod frame;
mod grants;
mod multipart;
mod observed;
pub(crate) mod pages;
mod session;
mod visit;

#[cfg(feature = "test-util")]
pub use super::console::multipart::parse as parse_multipart;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderName, HeaderValue, header};

use super::console::fault::Fault;
use crate::control::bad_request::BadRequest;
use crate::control::plane::Control;

/// Nothing but what this server sends is run, shown, sent to or framed, and nobody frames it.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Everything below `/console`, and `/`, which leads there.
pub(crate) fn routes(control: &Arc<Control>) -> Router<Arc<Control>> {
    let inside = Router::new()
        .route("/", get(pages::overview::show))
        .merge(apps_and_sources())
        .merge(people())
        .merge(keys_and_leaks())
        .fallback(fault::nothing_here)
        .method_not_allowed_fallback(fault::nothing_here)
        .layer(from_fn_with_state(Arc::clone(control), enter::enter));
    let pages = Router::new()
        .route("/", get(pages::sign_in::home))
        .route("/console", get(pages::sign_in::home))
        .route(
            "/console/sign-in",
            get(pages::sign_in::form).post(pages::sign_in::submit),
        )
        .nest("/console/w/{ws}", inside)
        .route("/console/sign-out", post(pages::sign_in::sign_out))
        .route("/console/workspaces", get(pages::sign_in::workspaces))
        .route(
            "/console/join",
            get(pages::members::join_form).post(pages::members::join),
        )
        .layer(from_fn_with_state(Arc::clone(control), form::same_origin))
        .layer(map_response(guarded));
    pages.route("/console/assets/{name}", get(assets::serve))
}

fn apps_and_sources() -> Router<Arc<Control>> {
    Router::new()
        .route("/apps", get(pages::apps::list))
        .route(
            "/apps/new",
            get(pages::apps::create_form).post(pages::apps::create),
        )
        .route("/apps/{id}", get(pages::app::overview))
        .route(
            "/apps/{id}/settings",
            get(pages::app::settings).post(pages::app::save),
        )
        .route("/apps/{id}/client", get(pages::client::show))
        .route(
            "/apps/{id}/revoke",
            get(pages::app::revoke_form).post(pages::app::revoke),
        )
        .route(
            "/apps/{id}/delete",
            get(pages::app::delete_form).post(pages::app::delete),
        )
        .route(
            "/apps/{id}/keys/new",
            get(pages::app_keys::add_form).post(pages::app_keys::add),
        )
        .route(
            "/apps/{id}/keys/{kid}/delete",
            get(pages::app_keys::delete_form).post(pages::app_keys::delete),
        )
        .route("/sources", get(pages::sources::list))
        .route(
            "/sources/new",
            get(pages::sources::create_form).post(pages::sources::create),
        )
        .route("/sources/{id}", get(pages::source::overview))
        .route(
            "/sources/{id}/settings",
            get(pages::source::settings).post(pages::source::save),
        )
        .route(
            "/sources/{id}/delete",
            get(pages::source::delete_form).post(pages::source::delete),
        )
        .route("/sources/{id}/oauth", get(pages::source_oauth::show))
        .route(
            "/sources/{id}/oauth/connect",
            get(pages::source_oauth::connect_form).post(pages::source_oauth::connect),
        )
        .route(
            "/sources/{id}/oauth/disconnect",
            get(pages::source_oauth::disconnect_form).post(pages::source_oauth::disconnect),
        )
        .route(
            "/sources/{id}/oauth/{mode}",
            get(pages::source_oauth::mode_form).post(pages::source_oauth::set_mode),
        )
}

fn people() -> Router<Arc<Control>> {
    Router::new()
        .route("/members", get(pages::members::list))
        .route(
            "/members/invite",
            get(pages::members::invite_form).post(pages::members::invite),
        )
        .route(
            "/members/{id}",
            get(pages::members::show).post(pages::members::save),
        )
        .route(
            "/members/{id}/remove",
            get(pages::members::remove_form).post(pages::members::remove),
        )
        .route("/audit", get(pages::audit::list))
        .route("/account", get(pages::account::show))
        .route(
            "/account/tokens/new",
            get(pages::account::token_form).post(pages::account::create_token),
        )
        .route(
            "/account/tokens/{id}/delete",
            get(pages::account::delete_token_form).post(pages::account::delete_token),
        )
        .route(
            "/account/password",
            get(pages::account::password_form).post(pages::account::change_password),
        )
        .route("/account/sessions/end", post(pages::account::end_all))
        .route("/account/sessions/{id}/end", post(pages::account::end_one))
}

fn keys_and_leaks() -> Router<Arc<Control>> {
    Router::new()
        .route("/signing-keys", get(pages::signing_keys::list))
        .route(
            "/signing-keys/rotate",
            get(pages::signing_keys::rotate_form).post(pages::signing_keys::rotate),
        )
        .route(
            "/signing-keys/end",
            get(pages::signing_keys::end_all_form).post(pages::signing_keys::end_all),
        )
        .route(
            "/signing-keys/{kid}/end",
            get(pages::signing_keys::end_form).post(pages::signing_keys::end),
        )
        .route(
            "/leaked-tokens",
            get(pages::leaked::list).post(pages::leaked::revoke),
        )
        .route("/leaked-tokens/{id}/dismiss", post(pages::leaked::dismiss))
}

/// What every page says to the browser besides itself.
async fn guarded(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, &str); 6] = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Paths hold identifiers, and an invitation's holds its secret: no other site is told. With `no-referrer`
        // browsers would not say either where a form of ours was.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A page for a request that is refused before anything looks at it.
pub(crate) async fn refusal(fault: BadRequest) -> Response {
    guarded(Fault::Unreadable(fault).into_response()).await
}
