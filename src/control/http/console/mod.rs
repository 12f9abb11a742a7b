//! The web console: pages over the same functions as the management API.
//!
//! It has no rules of its own. A page shows what [`Control`](crate::control::plane::Control) returns for this member, a form
//! calls it, and an error it returns is shown next to the field. Every page works without script: forms post and are answered
//! by a redirect, and a destructive step has a page that asks first.
//!
//! Start at [`routes`] and `paths`. `visit` is the signed-in member, `form` and `fields` read forms, `answer` answers
//! them, `frame` and `components` are shared by all pages, `fault` is an error as a page. `pages` has one file for each
//! section.

mod answer;
mod assets;
mod changed;
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
mod notice;
mod observed;
pub(crate) mod pages;
mod paths;
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
use super::console::paths::pattern;
use crate::control::bad_request::BadRequest;
use crate::control::plane::Control;

/// Only what this server sends is run, shown or framed; forms go to this server only; no site may frame a page.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The routes below `/console`, and `/`, which redirects there.
pub(crate) fn routes(control: &Arc<Control>) -> Router<Arc<Control>> {
    let inside = Router::new()
        .route(pattern::OVERVIEW, get(pages::overview::show))
        .merge(apps())
        .merge(sources())
        .merge(members())
        .merge(account())
        .merge(security())
        .fallback(fault::no_page)
        .method_not_allowed_fallback(fault::no_page)
        .layer(from_fn_with_state(Arc::clone(control), enter::enter));
    let pages = Router::new()
        .route("/", get(pages::sign_in::home))
        .route(paths::HOME, get(pages::sign_in::home))
        .route(paths::HOME_SLASH, get(pages::sign_in::home))
        .route(
            paths::SIGN_IN,
            get(pages::sign_in::form).post(pages::sign_in::submit),
        )
        .nest(paths::IN_WORKSPACE, inside)
        .route(paths::SIGN_OUT, post(pages::sign_in::sign_out))
        .route(paths::WORKSPACES, get(pages::sign_in::workspaces))
        .route(paths::JOIN, get(pages::join::form).post(pages::join::submit))
        .route(paths::ELSEWHERE, get(fault::no_page))
        .method_not_allowed_fallback(fault::no_page)
        .layer(from_fn_with_state(Arc::clone(control), form::same_origin))
        .layer(map_response(guarded));
    pages.route(paths::ASSET, get(assets::serve))
}

fn apps() -> Router<Arc<Control>> {
    use pages::{app, app_keys, app_settings, apps, client, revoke_all};
    Router::new()
        .route(pattern::APPS, get(apps::list))
        .route(pattern::NEW_APP, get(apps::create_form).post(apps::create))
        .route(pattern::APP, get(app::overview))
        .route(
            pattern::APP_SETTINGS,
            get(app_settings::settings).post(app_settings::save),
        )
        .route(pattern::APP_CLIENT, get(client::show))
        .route(pattern::REVOKE_TOKEN, get(app::revoke_form).post(app::revoke))
        .route(pattern::DELETE_APP, get(app::delete_form).post(app::delete))
        .route(
            pattern::REVOKE_APP_TOKENS,
            get(revoke_all::of_app_form).post(revoke_all::of_app),
        )
        .route(
            pattern::REVOKE_KEY_TOKENS,
            get(revoke_all::of_key_form).post(revoke_all::of_key),
        )
        .route(pattern::NEW_KEY, get(app_keys::add_form).post(app_keys::add))
        .route(
            pattern::DELETE_KEY,
            get(app_keys::delete_form).post(app_keys::delete),
        )
}

fn sources() -> Router<Arc<Control>> {
    use pages::{source, source_oauth, sources};
    Router::new()
        .route(pattern::SOURCES, get(sources::list))
        .route(
            pattern::NEW_SOURCE,
            get(sources::create_form).post(sources::create),
        )
        .route(pattern::SOURCE, get(source::overview))
        .route(pattern::SOURCE_SETTINGS, get(source::settings).post(source::save))
        .route(
            pattern::DELETE_SOURCE,
            get(source::delete_form).post(source::delete),
        )
        .route(pattern::SOURCE_OAUTH, get(source_oauth::show))
        .route(
            pattern::CONNECT_APP,
            get(source_oauth::connect_form).post(source_oauth::connect),
        )
        .route(
            pattern::DISCONNECT_APP,
            get(source_oauth::disconnect_form).post(source_oauth::disconnect),
        )
        .route(
            pattern::RESTART_OBSERVATION,
            post(source_oauth::restart_observation),
        )
        .route(
            pattern::SET_ENFORCEMENT,
            get(source_oauth::mode_form).post(source_oauth::set_mode),
        )
}

fn members() -> Router<Arc<Control>> {
    use pages::members;
    Router::new()
        .route(pattern::MEMBERS, get(members::list))
        .route(pattern::INVITE, get(members::invite_form).post(members::invite))
        .route(pattern::MEMBER, get(members::show).post(members::save))
        .route(
            pattern::REMOVE_MEMBER,
            get(members::remove_form).post(members::remove),
        )
}

fn account() -> Router<Arc<Control>> {
    use pages::account;
    Router::new()
        .route(pattern::ACCOUNT, get(account::show))
        .route(
            pattern::NEW_API_TOKEN,
            get(account::token_form).post(account::create_token),
        )
        .route(
            pattern::REVOKE_API_TOKEN,
            get(account::revoke_token_form).post(account::revoke_token),
        )
        .route(
            pattern::PASSWORD,
            get(account::password_form).post(account::change_password),
        )
        .route(pattern::SIGN_OUT_EVERYWHERE, post(account::sign_out_everywhere))
        .route(pattern::SIGN_OUT_SESSION, post(account::sign_out_session))
}

fn security() -> Router<Arc<Control>> {
    use pages::{api_tokens, audit, edges, leaked, revoke_all, signing_keys};
    Router::new()
        .route(pattern::AUDIT, get(audit::list))
        .route(pattern::EDGES, get(edges::list))
        .route(pattern::REVOKE_EDGE, get(edges::revoke_form).post(edges::revoke))
        .route(pattern::SIGNING_KEYS, get(signing_keys::list))
        .route(
            pattern::ROTATE_SIGNING_KEYS,
            get(signing_keys::rotate_form).post(signing_keys::rotate),
        )
        .route(
            pattern::REVOKE_SIGNING_KEYS,
            get(signing_keys::revoke_all_form).post(signing_keys::revoke_all),
        )
        .route(
            pattern::REVOKE_SIGNING_KEY,
            get(signing_keys::revoke_form).post(signing_keys::revoke),
        )
        .route(pattern::LEAKED_TOKENS, get(leaked::list).post(leaked::identify))
        .route(pattern::REVOKE_CREDENTIAL, post(leaked::revoke))
        .route(
            pattern::REVOKE_ALL_TOKENS,
            get(revoke_all::of_workspace_form).post(revoke_all::of_workspace),
        )
        .route(pattern::API_TOKENS, get(api_tokens::list))
        .route(
            pattern::REVOKE_MEMBER_TOKEN,
            get(api_tokens::revoke_form).post(api_tokens::revoke),
        )
        .route(pattern::DISMISS_LEAK, post(leaked::dismiss))
}

/// Adds the headers that protect every page.
async fn guarded(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, &str); 6] = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Paths hold identifiers, which no other site needs. `no-referrer` would also hide which page sent a form.
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

/// A page for a request that is rejected before it is routed.
pub(crate) async fn refusal(fault: BadRequest) -> Response {
    guarded(Fault::Unreadable(fault).into_response()).await
}
