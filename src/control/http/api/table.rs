//! The routes of the management API: every path with its methods, handlers and descriptions.

use super::apps::{AppJson, Confirmation, KeyJson};
use super::trail_export::EventJson;

use super::fleet::edges::{EdgeChange, EdgeJson, JoinTokenJson};
use super::fleet::in_force::VersionJson;
use super::fleet::{edges, in_force};
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

/// The management API. Everything below a workspace requires membership.
#[expect(
    clippy::too_many_lines,
    reason = "one table: every path with its methods and descriptions"
)]
pub(crate) fn management() -> Routes {
    Routes::under("/api/v1")
        .at(
            "/session",
            [
                get(session::show)
                    .says(
                        "showSession",
                        "Shows the session of the request and its CSRF token.",
                    )
                    .shows::<OwnSessionJson>()
                    .in_session(),
                post(session::create)
                    .says(
                        "signIn",
                        "Signs in with a password; the response sets the session cookie.",
                    )
                    .reads::<SignIn>()
                    .opens::<OwnSessionJson>()
                    .open(),
                delete(session::delete)
                    .says("signOut", "Signs out.")
                    .in_session(),
            ],
        )
        .at(
            "/session/password",
            [put(session::change_password)
                .says(
                    "changePassword",
                    "Changes your password; signs out your other sessions and revokes your API tokens unless you keep them.",
                )
                .reads::<NewPassword>()
                .shows::<PasswordChangedJson>()
                .in_session()],
        )
        .at(
            "/sessions",
            [
                get(session::list)
                    .says("listSessions", "Lists your sessions.")
                    .shows::<List<SessionJson>>()
                    .in_session(),
                delete(session::delete_all)
                    .says(
                        "signOutEverywhere",
                        "Signs out all your sessions; with `api_tokens=true` revokes your API tokens, too.",
                    )
                    .choice(
                        "api_tokens",
                        &["true", "false"],
                        "Whether to revoke your API tokens in all workspaces, too.",
                    )
                    .shows::<EndedJson>()
                    .in_session(),
            ],
        )
        .at(
            "/sessions/{id}",
            [delete(session::delete_one)
                .says("endSession", "Signs out one of your sessions.")
                .in_session()],
        )
        .at(
            "/workspaces",
            [
                get(workspaces::list)
                    .says(
                        "listWorkspaces",
                        "Lists the workspaces that you are a member of; for an API token, its workspace.",
                    )
                    .pages::<WorkspaceJson>(),
                post(workspaces::create)
                    .says("createWorkspace", "Creates a workspace; you become its owner.")
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
                    .says("showWorkspace", "Shows a workspace.")
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
                    .says("listApps", "Lists the OAuth apps of a workspace.")
                    .pages::<AppJson>(),
                post(apps::create)
                    .says("createApp", "Creates an OAuth app with its first public key.")
                    .reads::<NewApp>()
                    .makes::<AppJson>()
                    .tagged(),
            ],
        )
        .at(
            "/workspaces/{ws}/apps/{id}",
            [
                get(apps::show)
                    .says("showApp", "Shows an OAuth app with its keys and connected sources.")
                    .shows::<AppJson>()
                    .tagged(),
                patch(apps::update)
                    .says("updateApp", "Changes the name, scopes or token lifetime of an app.")
                    .reads::<AppChange>()
                    .shows::<AppJson>()
                    .tagged()
                    .guarded(),
                delete(apps::delete)
                    .says(
                        "deleteApp",
                        "Deletes an app with its keys and revokes its tokens; the name confirms it.",
                    )
                    .reads::<Confirmation>()
                    .guarded(),
            ],
        )
        .at(
            "/workspaces/{ws}/apps/{id}/keys",
            [
                get(apps::list_keys)
                    .says("listKeys", "Lists the public keys of an app, two at most.")
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
                    "Deletes a public key and revokes the tokens issued with it.",
                )
                .choice(
                    "last_key",
                    &["true", "false"],
                    "Whether to delete the key even if it is the last one of the app.",
                )
                .guarded()],
        )
        .at(
            "/workspaces/{ws}/apps/{id}/tokens/revoke",
            [post(tokens::revoke)
                .says(
                    "revokeToken",
                    "Revokes an access token, given as a whole or by its ID (`jti`).",
                )
                .reads::<TokenToRevoke>()
                .shows::<RevokedJson>()],
        )
        .at(
            "/workspaces/{ws}/apps/{id}/tokens/revoke-all",
            [post(tokens::revoke_all_of_app)
                .says(
                    "revokeAppTokens",
                    "Revokes all tokens of an app, or those issued before a time.",
                )
                .reads::<TokensToRevoke>()
                .shows::<AllRevokedJson>()],
        )
        .at(
            "/workspaces/{ws}/apps/{id}/keys/{kid}/revoke-tokens",
            [post(tokens::revoke_all_of_key)
                .says(
                    "revokeKeyTokens",
                    "Revokes all tokens issued with a public key; the key stays.",
                )
                .reads::<TokensToRevoke>()
                .shows::<AllRevokedJson>()],
        )
        .at(
            "/workspaces/{ws}/tokens/revoke-all",
            [post(tokens::revoke_all_of_workspace)
                .says(
                    "revokeWorkspaceTokens",
                    "Revokes all tokens of all apps of a workspace.",
                )
                .reads::<TokensToRevoke>()
                .shows::<AllRevokedJson>()],
        )
        .at(
            "/workspaces/{ws}/leaked-tokens",
            [get(leaks::list)
                .says("listLeakedTokens", "Lists tokens that were found in public and revoked.")
                .pages::<LeakJson>()],
        )
        .at(
            "/workspaces/{ws}/leaked-tokens/{id}",
            [
                delete(leaks::dismiss)
                    .says("dismissLeakedToken", "Dismisses a notice; the token stays revoked."),
            ],
        )
        .at(
            "/workspaces/{ws}/sources",
            [
                get(sources::list)
                    .says("listSources", "Lists the sources of a workspace that you may view.")
                    .pages::<SourceJson>(),
                post(sources::create)
                    .says(
                        "createSource",
                        "Creates a source: not connected, enforcement off.",
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
                    .says("showSource", "Shows a source.")
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
                        "Deletes a source; its write key becomes unknown.",
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
                        "Whether to disconnect even if enforcement is not off.",
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
                    "Sets the enforcement of a source: `off`, `observe` or `on`.",
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
                    "The traffic of a source by verdict, reason and client, and whether it is ready to enforce.",
                )
                .shows::<TrafficJson>()],
        )
        .at(
            "/workspaces/{ws}/sources/{id}/traffic/restart",
            [post(traffic::restart).says(
                "restartObservation",
                "Counts from now on; requests judged before no longer count as judged.",
            )],
        )
        .at(
            "/workspaces/{ws}/members",
            [
                get(members::list)
                    .says(
                        "listMembers",
                        "Lists the members of a workspace, joined or invited.",
                    )
                    .pages::<MemberJson>(),
                post(members::invite)
                    .says(
                        "inviteMember",
                        "Invites a person; the response has the secret to join with.",
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
                    .says("showMember", "Shows a member.")
                    .shows::<MemberJson>()
                    .tagged(),
                patch(members::update)
                    .says("updateMember", "Replaces the roles of a member.")
                    .reads::<MemberChange>()
                    .shows::<MemberJson>()
                    .tagged()
                    .guarded(),
                delete(members::remove)
                    .says("removeMember", "Removes a member and revokes their API tokens.")
                    .guarded(),
            ],
        )
        .at(
            "/workspaces/{ws}/members/{id}/api-tokens",
            [get(members::list_tokens_of_member)
                .says("listMemberApiTokens", "Lists the API tokens of a member; for owners.")
                .pages::<ApiTokenJson>()],
        )
        .at(
            "/workspaces/{ws}/api-tokens",
            [
                get(members::list_tokens)
                    .says("listApiTokens", "Lists your API tokens for a workspace.")
                    .pages::<ApiTokenJson>(),
                post(members::create_token)
                    .says(
                        "createApiToken",
                        "Creates an API token; the response shows it once.",
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
                    .says("showApiToken", "Shows one of your API tokens; for owners, of any member.")
                    .shows::<ApiTokenJson>(),
                delete(members::delete_token).says(
                    "deleteApiToken",
                    "Revokes one of your API tokens; for owners, of any member.",
                ),
            ],
        )
        .at(
            "/workspaces/{ws}/audit-events",
            [audit_filters(
                get(audit::list)
                    .says("listAuditEvents", "Lists the audit trail, newest first.")
                    .pages::<EventJson>(),
            )],
        )
        .at(
            "/workspaces/{ws}/audit-events/export",
            [audit_filters(
                get(audit::export)
                    .says("exportAuditEvents", "Exports the audit trail as text.")
                    .choice("format", &["ndjson", "csv"], "One JSON object a line, or CSV.")
                    .exports(&["application/x-ndjson", "text/csv"]),
            )],
        )
        .at(
            "/edges",
            [get(edges::list)
                .says("listEdges", "Enrolled edges with their running instances.")
                .pages::<EdgeJson>()],
        )
        .at(
            "/edges/join-tokens",
            [post(edges::create_join_token)
                .says(
                    "createJoinToken",
                    "Creates a token that enrols one edge within an hour; the answer shows it this one time.",
                )
                .reads::<NewName>()
                .opens::<JoinTokenJson>()],
        )
        .at(
            "/edges/{id}",
            [
                patch(edges::update)
                    .says("updateEdge", "Renames an edge, or asks it to replace its key pair.")
                    .reads::<EdgeChange>()
                    .shows::<EdgeJson>(),
                delete(edges::revoke).says(
                    "revokeEdge",
                    "Revokes an edge: its sessions end at once, and it refuses what is enforced within `max_age`.",
                ),
            ],
        )
        .at(
            "/policy/versions/{version}",
            [get(in_force::show)
                .says(
                    "showPolicyVersion",
                    "Whether a policy version is in force at every edge; with `wait=edges`, waits for it.",
                )
                .choice("wait", &["edges"], "Waits until it is in force or lapsed everywhere.")
                .query("timeout", "The longest wait, such as `2s`; at most 25s.")
                .shows::<VersionJson>()],
        )
        .at(
            "/invitations/accept",
            [post(members::accept)
                .says(
                    "acceptInvitation",
                    "Joins a workspace with the secret of an invitation, with a new password or the account of the session.",
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
        .query("actor", "The ID of the actor, or the e-mail address of a member.")
        .query("action", "The action, such as `app.created`.")
        .query("resource_type", "The type of the resource, such as `source`.")
        .query("resource_id", "The ID of the resource.")
        .query("since", "At or after this time, RFC 3339.")
        .query("until", "Before this time, RFC 3339.")
}
