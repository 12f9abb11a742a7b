//! Sessions in the management API: sign in, sign out, the list of sessions.

use crate::control::http::session_cookies::{InSession, browser, give_cookies};

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::json::Json;
use super::paging::{List, flag};
use super::times::at_text;
use crate::control::accounts::secret::Secret;
use crate::control::client_address::ClientAddress;
use crate::control::error::ControlError;
use crate::control::http::cookies::{Cookie, is_same_origin};
use crate::control::http::state::Shared;
use crate::control::plane::Control;
use crate::domain::ids::WorkspaceId;
use crate::model::session::SessionRecord;

// No `Debug`: it holds a password.
/// The credentials of a sign-in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    email: String,
    password: String,
    /// The ID of the workspace, if the password fits several accounts with this e-mail address.
    #[serde(default)]
    workspace: Option<String>,
}

/// A session.
#[derive(Serialize, JsonSchema)]
pub struct SessionJson {
    id: String,
    email: String,
    /// Whether the e-mail address is verified. Until then the session is for one workspace.
    email_verified: bool,
    account_id: String,
    method: String,
    created_at: String,
    last_seen_at: String,
    expires_at: String,
    user_agent: String,
    address: String,
    /// Whether it is the session of this request.
    current: bool,
}

impl SessionJson {
    fn of(session: SessionRecord, current: &str) -> Self {
        Self {
            current: session.id == current,
            id: session.id,
            email: session.email,
            email_verified: session.verified,
            account_id: session.account.to_string(),
            method: session.method,
            created_at: at_text(session.created_at),
            last_seen_at: at_text(session.last_seen_at),
            expires_at: at_text(session.expires_at),
            user_agent: session.user_agent,
            address: session.address,
        }
    }
}

/// The session of the request, with its CSRF token.
#[derive(Serialize, JsonSchema)]
pub struct OwnSessionJson {
    #[serde(flatten)]
    session: SessionJson,
    csrf_token: String,
}

impl OwnSessionJson {
    fn of(session: SessionRecord, secret: &Secret) -> Self {
        let id = session.id.clone();
        Self {
            session: SessionJson::of(session, &id),
            csrf_token: secret.csrf_token(),
        }
    }
}

/// `POST /session`: signs in.
pub async fn create(
    State(control): Shared,
    Extension(from): Extension<ClientAddress>,
    headers: HeaderMap,
    Json(body): Json<SignIn>,
) -> Result<Response, ControlError> {
    // Another site must not sign its visitor in to another account (login CSRF).
    if is_same_origin(&headers, control.issuer()) == Some(false) {
        return Err(ControlError::CrossSite);
    }
    let password = Zeroizing::new(body.password);
    let browser = browser(&control, from, &headers);
    let workspace = body.workspace.as_deref().map(WorkspaceId::parse).transpose();
    let workspace = workspace.map_err(|_| ControlError::invalid("workspace", "this is no workspace's id"))?;
    let signed_in = control
        .sessions
        .sign_in_to(workspace.as_ref(), &body.email, &password, &browser)
        .await?;
    let body = OwnSessionJson::of(signed_in.session.clone(), &signed_in.secret);
    let mut response = (StatusCode::CREATED, axum::Json(body)).into_response();
    give_cookies(&control, &signed_in, &mut response);
    Ok(response)
}

/// `GET /session`: the session of the request.
pub async fn show(own: InSession) -> axum::Json<OwnSessionJson> {
    axum::Json(OwnSessionJson::of(own.session, &own.secret))
}

/// `DELETE /session`: signs out.
pub async fn delete(
    State(control): Shared,
    Extension(from): Extension<ClientAddress>,
    own: InSession,
) -> Result<Response, ControlError> {
    let id = own.session.id.clone();
    control.sessions.sign_out(&own.session, &id, Some(from.0)).await?;
    Ok(clearing_cookie(&control, StatusCode::NO_CONTENT.into_response()))
}

// No `Debug`: it holds both passwords.
/// A change of the password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    current_password: String,
    password: String,
    /// Whether your API tokens stay valid. By default they are revoked in all workspaces.
    #[serde(default)]
    keep_api_tokens: bool,
}

/// The new session after a change of the password, and the number of revoked credentials.
#[derive(Serialize, JsonSchema)]
pub struct PasswordChangedJson {
    #[serde(flatten)]
    session: OwnSessionJson,
    sessions_ended: u64,
    api_tokens_ended: u64,
}

/// The number of revoked credentials.
#[derive(Serialize, JsonSchema)]
pub struct EndedJson {
    sessions_ended: u64,
    api_tokens_ended: u64,
}

/// `PUT /session/password`: changes one's own password, and ends all sessions but the new one that comes back, and all
/// API tokens unless they are kept.
pub async fn change_password(
    State(control): Shared,
    Extension(from): Extension<ClientAddress>,
    own: InSession,
    headers: HeaderMap,
    Json(body): Json<NewPassword>,
) -> Result<Response, ControlError> {
    let (current, new) = (
        Zeroizing::new(body.current_password),
        Zeroizing::new(body.password),
    );
    let browser = browser(&control, from, &headers);
    let changed = control
        .passwords
        .change_password(&own.session, &current, &new, body.keep_api_tokens, &browser)
        .await?;
    let signed_in = changed.signed_in;
    let body = PasswordChangedJson {
        session: OwnSessionJson::of(signed_in.session.clone(), &signed_in.secret),
        sessions_ended: changed.ended.sessions,
        api_tokens_ended: changed.ended.api_tokens,
    };
    let mut response = axum::Json(body).into_response();
    give_cookies(&control, &signed_in, &mut response);
    Ok(response)
}

/// `GET /sessions`: all that this person has.
pub async fn list(
    State(control): Shared,
    own: InSession,
) -> Result<axum::Json<List<SessionJson>>, ControlError> {
    let found = control.sessions.sessions(&own.session).await?;
    let items = found
        .into_iter()
        .map(|session| SessionJson::of(session, &own.session.id));
    Ok(axum::Json(List::whole(items.collect())))
}

/// `DELETE /sessions/{id}`.
pub async fn delete_one(
    State(control): Shared,
    Extension(from): Extension<ClientAddress>,
    own: InSession,
    Path(id): Path<String>,
) -> Result<StatusCode, ControlError> {
    control.sessions.sign_out(&own.session, &id, Some(from.0)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /sessions`: signs out everywhere, here, too; with `?api_tokens=true` the API tokens end as well.
pub async fn delete_all(
    State(control): Shared,
    Extension(from): Extension<ClientAddress>,
    own: InSession,
    parts: Parts,
) -> Result<Response, ControlError> {
    let with_api_tokens = flag(&parts, "api_tokens")?;
    let ended = control
        .sessions
        .sign_out_everywhere(&own.session, with_api_tokens, Some(from.0))
        .await?;
    let body = EndedJson {
        sessions_ended: ended.sessions,
        api_tokens_ended: ended.api_tokens,
    };
    Ok(clearing_cookie(&control, axum::Json(body).into_response()))
}

/// The response that removes the session's cookie.
fn clearing_cookie(control: &Control, mut response: Response) -> Response {
    if let Some(cookie) = control.cookies.clear(Cookie::Session) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}
