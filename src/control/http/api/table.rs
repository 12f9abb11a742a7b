//! The management API's routes: every path, its methods, what serves them and what is said of them.

use super::apps::{AppJson, Confirmation, KeyJson};
use super::audit::EventJson;
use super::leaks::LeakJson;
use super::members::{
    Acceptance, ApiTokenJson, InvitedJson, MemberChange, MemberJson, NewApiToken, NewApiTokenJson,
};
use super::openapi::{Operation, Routes, delete, get, patch, post, put};
use super::paging::List;
use super::request::NewName;
use super::session::{EndedJson, NewPassword, OwnSessionJson, PasswordChangedJson, SessionJson, SignIn};
use super::sources::{Connection, Mode, SourceJson};
use super::tokens::{AllRevokedJson, RevokedJson, TokenToRevoke, TokensToRevoke};
use super::traffic::TrafficJson;
use super::workspaces::WorkspaceJson;
use super::{apps, audit, leaks, members, session, sources, tokens, traffic, workspaces};
use crate::control::accounts::invitations::NewMember;
use crate::control::apps::app::{AppChange, NewApp, NewAppKey};
use crate::control::sources::source::NewSource;

/// The management API. Everything below a workspace is for its members.
#[expect(
    clippy::too_many_lines,
    reason = "one table: every path, its methods and what is said of them"
)]
pub(crate) fn management() -> Routes {
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
                    "Changes your password; ends your other sessions, and your API tokens unless you keep them.",
                )
                .reads::<NewPassword>()
                .shows::<PasswordChangedJson>()
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
                    .says(
                        "signOutEverywhere",
                        "Ends all your sessions, and your API tokens where you say so.",
                    )
                    .choice(
                        "api_tokens",
                        &["true", "false"],
                        "Whether your API tokens end, too, in all workspaces.",
                    )
                    .shows::<EndedJson>()
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
                    .says(
                        "listWorkspaces",
                        "The workspaces that you are a member of; with an API token, its own one.",
                    )
                    .pages::<WorkspaceJson>(),
                post(workspaces::create)
                    .says("createWorkspace", "Makes a workspace; you are its owner.")
                    .in_session()
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
                    .in_session()
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
                    "Joins a workspace with the secret of an invitation, for a new password or as you are signed in.",
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
