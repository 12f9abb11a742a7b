//! Members, invitations and API tokens in the management API.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::conditions::{Creation, Tagged};
use super::json::Json;
use super::paging::PageQuery;
use super::request::InWorkspace;
use super::times::{at_text, moment};
use crate::control::accounts::invitations::{AcceptBy, Invited, NewMember};
use crate::control::client_address::ClientAddress;
use crate::control::error::ControlError;
use crate::control::http::session_cookies::in_session;
use crate::control::http::state::Shared;
use crate::control::workspaces::roles::NewGrant;
use crate::domain::role::{Assigned, Grant};
use crate::model::api_token::ApiTokenDetails;
use crate::model::member::Member;

/// A role and its resources.
#[derive(Serialize, JsonSchema)]
pub struct RoleJson {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<ResourcesJson>,
}

/// `"all"`, or the ids of some.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ResourcesJson {
    Word(&'static str),
    Listed(Vec<String>),
}

impl From<&Grant> for RoleJson {
    fn from(grant: &Grant) -> Self {
        let resources = match &grant.resources {
            Assigned::All => ResourcesJson::Word("all"),
            Assigned::Listed(ids) => ResourcesJson::Listed(ids.iter().map(ToString::to_string).collect()),
        };
        Self {
            role: grant.role.as_str(),
            resources: grant.role.is_for_sources().then_some(resources),
        }
    }
}

/// A member of a workspace.
#[derive(Serialize, JsonSchema)]
pub struct MemberJson {
    id: String,
    email: String,
    roles: Vec<RoleJson>,
    /// `invited` until the person has joined, then `joined`.
    status: &'static str,
    created_at: String,
    joined_at: Option<String>,
}

impl From<Member> for MemberJson {
    fn from(member: Member) -> Self {
        Self {
            id: member.id.as_str().to_owned(),
            roles: member.grants.iter().map(RoleJson::from).collect(),
            email: member.email,
            status: if member.joined_at.is_some() {
                "joined"
            } else {
                "invited"
            },
            created_at: at_text(member.created_at),
            joined_at: member.joined_at.map(at_text),
        }
    }
}

/// A new invitation, with its secret. The secret is shown once.
#[derive(Serialize, JsonSchema)]
pub struct InvitedJson {
    #[serde(flatten)]
    member: MemberJson,
    invitation: InvitationJson,
}

/// The secret that the invited person joins with.
#[derive(Serialize, JsonSchema)]
pub struct InvitationJson {
    secret: String,
    expires_at: String,
}

impl From<Invited> for InvitedJson {
    fn from(invited: Invited) -> Self {
        Self {
            invitation: InvitationJson {
                secret: invited.expose().to_owned(),
                expires_at: at_text(invited.expires_at),
            },
            member: invited.member.into(),
        }
    }
}

pub async fn list(
    State(control): Shared,
    at: InWorkspace,
    query: PageQuery,
) -> Result<Response, ControlError> {
    let mut page = query.page();
    while let Some(part) = page.next_part() {
        let found = control.members.list(&at.actor, &at.workspace, part).await?;
        page.add(found, |member| member.id.as_str(), MemberJson::from)?;
    }
    page.finish()
}

pub async fn invite(
    State(control): Shared,
    at: InWorkspace,
    new: Creation<NewMember>,
) -> Result<Tagged<InvitedJson>, ControlError> {
    let (actor, new) = new.begin_once(&control, &at.actor).await?;
    let invited = control
        .invitations
        .invite_member(&actor, &at.workspace, &new)
        .await?;
    Ok(Tagged::created(invited.member.revision, invited.into()))
}

pub async fn show(State(control): Shared, at: InWorkspace) -> Result<Tagged<MemberJson>, ControlError> {
    let found = control
        .members
        .get(&at.actor, &at.workspace, &at.member()?)
        .await?;
    Ok(Tagged::shown(found.revision, found.into()))
}

/// A change of a member.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemberChange {
    roles: Vec<NewGrant>,
}

pub async fn update(
    State(control): Shared,
    at: InWorkspace,
    Json(change): Json<MemberChange>,
) -> Result<Tagged<MemberJson>, ControlError> {
    let changed = control
        .members
        .update(&at.actor, &at.workspace, &at.member()?, &change.roles)
        .await?;
    Ok(Tagged::shown(changed.revision, changed.into()))
}

pub async fn remove(State(control): Shared, at: InWorkspace) -> Result<StatusCode, ControlError> {
    control
        .members
        .remove(&at.actor, &at.workspace, &at.member()?)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

// No `Debug`: it holds secrets.
/// The acceptance of an invitation.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    secret: String,
    /// A password for this workspace. If absent, the account of the session joins; its e-mail address must be verified and
    /// be the invited one.
    #[serde(default)]
    password: Option<String>,
}

pub async fn accept(
    State(control): Shared,
    parts: Parts,
    Json(body): Json<Acceptance>,
) -> Result<Tagged<MemberJson>, ControlError> {
    let from = ClientAddress::in_extensions(&parts.extensions);
    let password = body.password.map(Zeroizing::new);
    let joined = match &password {
        Some(password) => {
            let by = AcceptBy::Password(password);
            control
                .invitations
                .accept_invitation(from.0, &body.secret, by)
                .await
        }
        None => match in_session(&parts, &control).await {
            Ok(own) => {
                let by = AcceptBy::Session(&own.session);
                control
                    .invitations
                    .accept_invitation(from.0, &body.secret, by)
                    .await
            }
            Err(ControlError::Unauthenticated) if !control.sessions.has_passwords() => {
                Err(ControlError::PasswordsOff)
            }
            Err(ControlError::Unauthenticated) => {
                let problem = "choose a password for this workspace, or accept while you are signed in";
                Err(ControlError::invalid("password", problem))
            }
            Err(error) => Err(error),
        },
    };
    // Nobody tries secrets as fast as they like.
    if let Err(ControlError::Invalid { .. }) = &joined {
        control.limits.failed_authentication(from)?;
    }
    let joined = joined?;
    Ok(Tagged::shown(joined.revision, joined.into()))
}

/// An API token, without the token itself.
#[derive(Serialize, JsonSchema)]
pub struct ApiTokenJson {
    id: String,
    name: String,
    prefix: String,
    created_at: String,
    last_used_at: Option<String>,
    expires_at: Option<String>,
}

impl From<ApiTokenDetails> for ApiTokenJson {
    fn from(token: ApiTokenDetails) -> Self {
        Self {
            id: token.id,
            name: token.name.as_str().to_owned(),
            prefix: token.prefix,
            created_at: at_text(token.created_at),
            last_used_at: token.last_used_at.map(at_text),
            expires_at: token.expires_at.map(at_text),
        }
    }
}

/// A new API token, with the token itself. The token is shown once.
#[derive(Serialize, JsonSchema)]
pub struct NewApiTokenJson {
    #[serde(flatten)]
    details: ApiTokenJson,
    token: String,
}

/// An API token to create.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiToken {
    name: String,
    /// When it expires, RFC 3339. Default: in 90 days.
    #[serde(default)]
    expires_at: Option<String>,
}

pub async fn list_tokens(
    State(control): Shared,
    at: InWorkspace,
    query: PageQuery,
) -> Result<Response, ControlError> {
    let mut page = query.page();
    while let Some(part) = page.next_part() {
        let found = control
            .api_tokens
            .api_tokens(&at.actor, &at.workspace, part)
            .await?;
        page.add(found, |token| token.id.as_str(), ApiTokenJson::from)?;
    }
    page.finish()
}

pub async fn create_token(
    State(control): Shared,
    at: InWorkspace,
    new: Creation<NewApiToken>,
) -> Result<impl IntoResponse, ControlError> {
    let (actor, new) = new.begin_once(&control, &at.actor).await?;
    let expires_at = new.expires_at.as_deref().map(|text| moment(text, "expires_at"));
    let made = control
        .api_tokens
        .create_own_api_token(&actor, &at.workspace, &new.name, expires_at.transpose()?)
        .await?;
    let answer = NewApiTokenJson {
        token: made.expose().to_owned(),
        details: made.details.into(),
    };
    Ok((StatusCode::CREATED, axum::Json(answer)))
}

pub async fn show_token(
    State(control): Shared,
    at: InWorkspace,
) -> Result<axum::Json<ApiTokenJson>, ControlError> {
    let found = control
        .api_tokens
        .api_token(&at.actor, &at.workspace, &at.api_token()?)
        .await?;
    Ok(axum::Json(found.details.into()))
}

/// `GET /members/{id}/api-tokens`, for owners.
pub async fn list_tokens_of_member(
    State(control): Shared,
    at: InWorkspace,
    query: PageQuery,
) -> Result<Response, ControlError> {
    let member = at.member()?;
    let mut page = query.page();
    while let Some(part) = page.next_part() {
        let found = control
            .api_tokens
            .api_tokens_of_member(&at.actor, &at.workspace, &member, part)
            .await?;
        page.add(found, |token| token.id.as_str(), ApiTokenJson::from)?;
    }
    page.finish()
}

pub async fn delete_token(State(control): Shared, at: InWorkspace) -> Result<StatusCode, ControlError> {
    control
        .api_tokens
        .delete_api_token(&at.actor, &at.workspace, &at.api_token()?)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
