//! The web console: pages over the same functions as the management API.
//!
//! It has no rule of its own. A page reads what [`Control`](super::Control) tells this member, a form sends
//! what they typed to it, and what it refuses stands beside the field. Every page works without script: forms
//! that change something post and are answered by a redirect, and a step that destroys something is a page.
//!
//! Start at [`routes`]. `visit` is who is here, `posted` reads forms, `frame` and `parts` are what all pages
//! share, `fault` is what a refusal looks like; the other files are one section of the console each.

mod account;
mod app;
mod app_keys;
mod apps;
mod assets;
mod audit;
mod chart;
mod client;
mod fault;
mod frame;
mod grants;
mod leaked;
mod members;
mod multipart;
mod observed;
mod overview;
mod parts;
mod posted;
mod session;
mod sign_in;
mod signing_keys;
mod source;
mod source_oauth;
mod sources;
mod visit;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use http::{HeaderName, HeaderValue, header};

use super::Control;
use super::error::BadRequest;
use fault::Fault;

/// Nothing but what this server sends is run, shown, sent to or framed, and nobody frames it.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Everything below `/console`, and `/`, which leads there.
pub(super) fn routes(control: &Arc<Control>) -> Router<Arc<Control>> {
    let inside = Router::new()
        .route("/", get(overview::show))
        .merge(apps_and_sources())
        .merge(people())
        .merge(keys_and_leaks())
        .fallback(fault::nothing_here)
        .method_not_allowed_fallback(fault::nothing_here)
        .layer(from_fn_with_state(Arc::clone(control), visit::enter));
    let pages = Router::new()
        .route("/", get(sign_in::home))
        .route("/console", get(sign_in::home))
        .route("/console/sign-in", get(sign_in::form).post(sign_in::submit))
        .nest("/console/w/{ws}", inside)
        .route("/console/sign-out", post(sign_in::sign_out))
        .route("/console/workspaces", get(sign_in::workspaces))
        .route("/console/join", get(members::join_form).post(members::join))
        .layer(from_fn_with_state(Arc::clone(control), posted::same_origin))
        .layer(map_response(guarded));
    pages.route("/console/assets/{name}", get(assets::serve))
}

fn apps_and_sources() -> Router<Arc<Control>> {
    Router::new()
        .route("/apps", get(apps::list))
        .route("/apps/new", get(apps::create_form).post(apps::create))
        .route("/apps/{id}", get(app::overview))
        .route("/apps/{id}/settings", get(app::settings).post(app::save))
        .route("/apps/{id}/client", get(client::show))
        .route("/apps/{id}/revoke", get(app::revoke_form).post(app::revoke))
        .route("/apps/{id}/delete", get(app::delete_form).post(app::delete))
        .route("/apps/{id}/keys/new", get(app_keys::add_form).post(app_keys::add))
        .route(
            "/apps/{id}/keys/{kid}/delete",
            get(app_keys::delete_form).post(app_keys::delete),
        )
        .route("/sources", get(sources::list))
        .route("/sources/new", get(sources::create_form).post(sources::create))
        .route("/sources/{id}", get(source::overview))
        .route("/sources/{id}/settings", get(source::settings).post(source::save))
        .route(
            "/sources/{id}/delete",
            get(source::delete_form).post(source::delete),
        )
        .route("/sources/{id}/oauth", get(source_oauth::show))
        .route(
            "/sources/{id}/oauth/connect",
            get(source_oauth::connect_form).post(source_oauth::connect),
        )
        .route(
            "/sources/{id}/oauth/disconnect",
            get(source_oauth::disconnect_form).post(source_oauth::disconnect),
        )
        .route(
            "/sources/{id}/oauth/{mode}",
            get(source_oauth::mode_form).post(source_oauth::set_mode),
        )
}

fn people() -> Router<Arc<Control>> {
    Router::new()
        .route("/members", get(members::list))
        .route("/members/invite", get(members::invite_form).post(members::invite))
        .route("/members/{id}", get(members::show).post(members::save))
        .route(
            "/members/{id}/remove",
            get(members::remove_form).post(members::remove),
        )
        .route("/audit", get(audit::list))
        .route("/account", get(account::show))
        .route(
            "/account/tokens/new",
            get(account::token_form).post(account::create_token),
        )
        .route(
            "/account/tokens/{id}/delete",
            get(account::delete_token_form).post(account::delete_token),
        )
        .route(
            "/account/password",
            get(account::password_form).post(account::change_password),
        )
        .route("/account/sessions/end", post(account::end_all))
        .route("/account/sessions/{id}/end", post(account::end_one))
}

fn keys_and_leaks() -> Router<Arc<Control>> {
    Router::new()
        .route("/signing-keys", get(signing_keys::list))
        .route(
            "/signing-keys/rotate",
            get(signing_keys::rotate_form).post(signing_keys::rotate),
        )
        .route(
            "/signing-keys/end",
            get(signing_keys::end_all_form).post(signing_keys::end_all),
        )
        .route(
            "/signing-keys/{kid}/end",
            get(signing_keys::end_form).post(signing_keys::end),
        )
        .route("/leaked-tokens", get(leaked::list).post(leaked::revoke))
        .route("/leaked-tokens/{id}/dismiss", post(leaked::dismiss))
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
pub(super) async fn refusal(fault: BadRequest) -> Response {
    guarded(Fault::Unreadable(fault).into_response()).await
}

/// An answer that sends the browser to another page, by GET whatever the request was.
fn see_other(to: &str) -> Response {
    Redirect::to(to).into_response()
}
