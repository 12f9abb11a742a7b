//! The routes at a glance, and the JSON form of what [`Control`] does. No rule is decided here.

mod apps;
mod audit;
mod conditions;
mod leaks;
mod members;
mod openapi;
mod request;
pub(super) mod session;
mod sources;
mod tokens;
mod traffic;
mod workspaces;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::middleware::map_response;
use axum::response::Response;
use http::{HeaderValue, header};

use self::apps::{AppJson, Confirmation, KeyJson};
use self::audit::EventJson;
use self::leaks::LeakJson;
use self::members::{
    Acceptance, ApiTokenJson, InvitedJson, MemberChange, MemberJson, NewApiToken, NewApiTokenJson,
};
use self::openapi::{Operation, Routes, delete, get, patch, post, put};
use self::request::{List, NewName};
use self::session::{NewPassword, OwnSessionJson, SessionJson, SignIn};
use self::sources::{Connection, Mode, SourceJson};
use self::tokens::{AllRevokedJson, RevokedJson, TokenToRevoke, TokensToRevoke};
use self::traffic::TrafficJson;
use self::workspaces::WorkspaceJson;
use super::apps::{AppChange, NewApp, NewAppKey};
use super::error::{BadRequest, ControlError};
use super::invitations::NewMember;
use super::sources::NewSource;
use super::{Control, console, introspect, leaked, login, metadata, revoke, token};
use crate::domain::time::UnixSeconds;

/// Where tokens are asked for. One SDK appends `/token` to a server that ends in a slash.
pub(super) const TOKEN_PATHS: [&str; 2] = ["/token", "//token"];

/// Paths that answer in the form of RFC 6749.
pub(super) fn is_for_clients(path: &str) -> bool {
    TOKEN_PATHS.contains(&path) || ["/revoke", "/introspect"].contains(&path)
}

/// What every handler is given.
type Shared = State<Arc<Control>>;

/// Every path, its methods and what serves them.
pub(super) fn routes(control: Arc<Control>) -> Router {
    let token = || axum::routing::post(token::post).fallback(token::wrong_method);
    let [plain, doubled] = TOKEN_PATHS;
    let (management, document) = management().finish("portcullis management API");
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
        .with_state(control)
}

/// The management API. Everything below a workspace is for its members.
#[expect(
    clippy::too_many_lines,
    reason = "one table: every path, its methods and what is said of them"
)]
fn management() -> Routes {
    Routes::under("/api/v1")
        .at(
            "/session",
            [
                get(session::show)
                    .says(
                        "showSession",
                        "The session that asks, with the token that its forms carry.",
                    )
                    .shows::<OwnSessionJson>()
                    .in_session(),
                post(session::create)
                    .says(
                        "signIn",
                        "Signs in with a password; the answer sets the session's cookie.",
                    )
                    .reads::<SignIn>()
                    .opens::<OwnSessionJson>()
                    .open(),
                delete(session::delete)
                    .says("signOut", "Ends the session that asks.")
                    .in_session(),
            ],
        )
        .at(
            "/session/password",
            [put(session::change_password)
                .says(
                    "changePassword",
                    "Changes your password, and ends all your other sessions.",
                )
                .reads::<NewPassword>()
                .shows::<OwnSessionJson>()
                .in_session()],
        )
        .at(
            "/sessions",
            [
                get(session::list)
                    .says("listSessions", "Where you are signed in.")
                    .shows::<List<SessionJson>>()
                    .in_session(),
                delete(session::delete_all)
                    .says("signOutEverywhere", "Ends all your sessions.")
                    .in_session(),
            ],
        )
        .at(
            "/sessions/{id}",
            [delete(session::delete_one)
                .says("endSession", "Ends one of your sessions.")
                .in_session()],
        )
        .at(
            "/workspaces",
            [
                get(workspaces::list)
                    .says("listWorkspaces", "The workspaces that you are a member of.")
                    .pages::<WorkspaceJson>(),
                post(workspaces::create)
                    .says("createWorkspace", "Makes a workspace; you are its owner.")
                    .reads::<NewName>()
                    .makes::<WorkspaceJson>()
                    .tagged(),
            ],
        )
        .at(
            "/workspaces/{ws}",
            [
                get(workspaces::show)
                    .says("showWorkspace", "One workspace.")
                    .shows::<WorkspaceJson>()
                    .tagged(),
                patch(workspaces::update)
                    .says("updateWorkspace", "Renames a workspace.")
                    .reads::<NewName>()
                    .shows::<WorkspaceJson>()
                    .tagged()
                    .guarded(),
            ],
        )
        .at(
            "/workspaces/{ws}/apps",
            [
                get(apps::list)
                    .says("listApps", "The OAuth apps of a workspace.")
                    .pages::<AppJson>(),
                post(apps::create)
                    .says("createApp", "Makes an OAuth app with its first public key.")
                    .reads::<NewApp>()
                    .makes::<AppJson>()
                    .tagged(),
            ],
        )
        .at(
            "/workspaces/{ws}/apps/{id}",
            [
                get(apps::show)
                    .says("showApp", "One OAuth app with its keys and connected sources.")
                    .shows::<AppJson>()
                    .tagged(),
                patch(apps::update)
                    .says("updateApp", "Changes an app's name, scopes or token lifetime.")
                    .reads::<AppChange>()
                    .shows::<AppJson>()
                    .tagged()
                    .guarded(),
                delete(apps::delete)
                    .says(
                        "deleteApp",
                        "Deletes an app, its keys and so its tokens; its name confirms it.",
                    )
                    .reads::<Confirmation>()
                    .guarded(),
            ],
        )
        .at(
            "/workspaces/{ws}/apps/{id}/keys",
            [
                get(apps::list_keys)
                    .says("listKeys", "An app's public keys; there are at most two.")
                    .pages::<KeyJson>(),
                post(apps::create_key)
                    .says("createKey", "Adds a public key to an app.")
                    .reads::<NewAppKey>()
                    .makes::<KeyJson>()
                    .guarded(),
            ],
        )
        .at(
            "/workspaces/{ws}/apps/{id}/keys/{kid}",
            [delete(apps::delete_key)
                .says(
                    "deleteKey",
                    "Deletes a public key; the tokens that it proved end with it.",
                )
                .choice(
                    "last_key",
                    &["true", "false"],
                    "Whether the app's last key may be deleted.",
                )
                .guarded()],
        )
        .at(
            "/workspaces/{ws}/apps/{id}/tokens/revoke",
            [post(tokens::revoke)
                .says(
                    "revokeToken",
                    "Revokes one access token, which is sent whole, or by its id.",
                )
                .reads::<TokenToRevoke>()
                .shows::<RevokedJson>()],
        )
        .at(
            "/workspaces/{ws}/apps/{id}/tokens/revoke-all",
            [post(tokens::revoke_all_of_app)
                .says(
                    "revokeAppTokens",
                    "Ends all tokens of an OAuth app, or those issued before a moment.",
                )
                .reads::<TokensToRevoke>()
                .shows::<AllRevokedJson>()],
        )
        .at(
            "/workspaces/{ws}/apps/{id}/keys/{kid}/revoke-tokens",
            [post(tokens::revoke_all_of_key)
                .says(
                    "revokeKeyTokens",
                    "Ends all tokens that a public key proved; the key stays.",
                )
                .reads::<TokensToRevoke>()
                .shows::<AllRevokedJson>()],
        )
        .at(
            "/workspaces/{ws}/tokens/revoke-all",
            [post(tokens::revoke_all_of_workspace)
                .says(
                    "revokeWorkspaceTokens",
                    "Ends all tokens of all OAuth apps of a workspace.",
                )
                .reads::<TokensToRevoke>()
                .shows::<AllRevokedJson>()],
        )
        .at(
            "/workspaces/{ws}/leaked-tokens",
            [get(leaks::list)
                .says("listLeakedTokens", "Tokens that were found in public and ended.")
                .pages::<LeakJson>()],
        )
        .at(
            "/workspaces/{ws}/leaked-tokens/{id}",
            [
                delete(leaks::dismiss)
                    .says("dismissLeakedToken", "Dismisses a notice; the token stays ended."),
            ],
        )
        .at(
            "/workspaces/{ws}/sources",
            [
                get(sources::list)
                    .says("listSources", "The sources of a workspace that you may view.")
                    .pages::<SourceJson>(),
                post(sources::create)
                    .says(
                        "createSource",
                        "Makes a source: connected to no app, enforcement off.",
                    )
                    .reads::<NewSource>()
                    .makes::<SourceJson>()
                    .tagged(),
            ],
        )
        .at(
            "/workspaces/{ws}/sources/{id}",
            [
                get(sources::show)
                    .says("showSource", "One source.")
                    .shows::<SourceJson>()
                    .tagged(),
                patch(sources::update)
                    .says("updateSource", "Renames a source.")
                    .reads::<NewName>()
                    .shows::<SourceJson>()
                    .tagged()
                    .guarded(),
                delete(sources::delete)
                    .says(
                        "deleteSource",
                        "Deletes a source; its write key is unknown from then on.",
                    )
                    .guarded(),
            ],
        )
        .at(
            "/workspaces/{ws}/sources/{id}/app",
            [
                put(sources::connect)
                    .says("connectSource", "Connects a source to an OAuth app.")
                    .reads::<Connection>()
                    .shows::<SourceJson>()
                    .tagged()
                    .guarded(),
                delete(sources::disconnect)
                    .says("disconnectSource", "Disconnects a source from its app.")
                    .choice(
                        "force",
                        &["true", "false"],
                        "Whether to do so while enforcement is not off.",
                    )
                    .shows::<SourceJson>()
                    .tagged()
                    .guarded(),
            ],
        )
        .at(
            "/workspaces/{ws}/sources/{id}/enforcement",
            [put(sources::set_enforcement)
                .says(
                    "setEnforcement",
                    "Switches what happens to requests without a valid token.",
                )
                .reads::<Mode>()
                .shows::<SourceJson>()
                .tagged()
                .guarded()],
        )
        .at(
            "/workspaces/{ws}/sources/{id}/traffic",
            [get(traffic::show)
                .says(
                    "showTraffic",
                    "A source's requests of the last hour and day, by verdict, reason and client.",
                )
                .shows::<TrafficJson>()],
        )
        .at(
            "/workspaces/{ws}/members",
            [
                get(members::list)
                    .says(
                        "listMembers",
                        "The members of a workspace, joined or only invited.",
                    )
                    .pages::<MemberJson>(),
                post(members::invite)
                    .says(
                        "inviteMember",
                        "Invites a person; the answer has the secret that lets them join.",
                    )
                    .reads::<NewMember>()
                    .makes::<InvitedJson>()
                    .tagged(),
            ],
        )
        .at(
            "/workspaces/{ws}/members/{id}",
            [
                get(members::show)
                    .says("showMember", "One member.")
                    .shows::<MemberJson>()
                    .tagged(),
                patch(members::update)
                    .says("updateMember", "Replaces a member's roles.")
                    .reads::<MemberChange>()
                    .shows::<MemberJson>()
                    .tagged()
                    .guarded(),
                delete(members::remove)
                    .says("removeMember", "Removes a member; their API tokens end at once.")
                    .guarded(),
            ],
        )
        .at(
            "/workspaces/{ws}/api-tokens",
            [
                get(members::list_tokens)
                    .says("listApiTokens", "Your own API tokens for a workspace.")
                    .pages::<ApiTokenJson>(),
                post(members::create_token)
                    .says(
                        "createApiToken",
                        "Makes an API token, which the answer shows this one time.",
                    )
                    .reads::<NewApiToken>()
                    .makes::<NewApiTokenJson>(),
            ],
        )
        .at(
            "/workspaces/{ws}/api-tokens/{id}",
            [
                get(members::show_token)
                    .says("showApiToken", "One of your API tokens.")
                    .shows::<ApiTokenJson>(),
                delete(members::delete_token).says("deleteApiToken", "Deletes one of your API tokens."),
            ],
        )
        .at(
            "/workspaces/{ws}/audit-events",
            [audit_filters(
                get(audit::list)
                    .says("listAuditEvents", "The audit trail, newest first.")
                    .pages::<EventJson>(),
            )],
        )
        .at(
            "/workspaces/{ws}/audit-events/export",
            [audit_filters(
                get(audit::export)
                    .says("exportAuditEvents", "The audit trail as one text.")
                    .choice("format", &["ndjson", "csv"], "One JSON object a line, or CSV.")
                    .exports(&["application/x-ndjson", "text/csv"]),
            )],
        )
        .at(
            "/invitations/accept",
            [post(members::accept)
                .says(
                    "acceptInvitation",
                    "Joins a workspace with the secret of an invitation.",
                )
                .reads::<Acceptance>()
                .shows::<MemberJson>()
                .tagged()
                .open()],
        )
}

/// The parameters that say which events of the audit trail are meant.
fn audit_filters(operation: Operation) -> Operation {
    operation
        .query("actor", "The id of who did it, or a member's e-mail address.")
        .query("action", "What was done, such as `app.created`.")
        .query("resource_type", "What it was done to, such as `source`.")
        .query("resource_id", "The id of what it was done to.")
        .query("since", "Not before this moment, RFC 3339.")
        .query("until", "Before this moment, RFC 3339.")
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

/// The same, with a fraction of a second rounded up.
fn moment_after(text: &str, field: &str) -> Result<UnixSeconds, ControlError> {
    let whole = moment(text, field)?;
    let has_fraction = text
        .parse::<jiff::Timestamp>()
        .is_ok_and(|moment| moment.subsec_nanosecond() > 0);
    Ok(whole.plus(u64::from(has_fraction)))
}
