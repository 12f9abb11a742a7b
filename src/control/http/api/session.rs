//! Sessions in the API's form: sign in, sign out, who is signed in where.

use crate::control::http::session_cookies::{InSession, browser, give_cookies};

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::json::Json;
use super::paging::List;
use super::times::at_text;
use crate::control::accounts::secret::Secret;
use crate::control::accounts::sessions::SignedIn;
use crate::control::client_address::ClientAddress;
use crate::control::error::ControlError;
use crate::control::http::cookies::{Cookie, is_same_origin};
use crate::control::http::state::Shared;
use crate::control::plane::Control;
use crate::model::session::SessionRecord;

/// What a person signs in with. It has no `Debug`: it holds a password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    email: String,
    password: String,
}

/// A session in the API's form.
#[derive(Serialize, JsonSchema)]
pub struct SessionJson {
    id: String,
    email: String,
    account_id: String,
    method: String,
    created_at: String,
    last_seen_at: String,
    expires_at: String,
    user_agent: String,
    address: String,
    /// Whether it is the one that asks.
    current: bool,
}

impl SessionJson {
    fn of(session: SessionRecord, current: &str) -> Self {
        Self {
            current: session.id == current,
            id: session.id,
            email: session.email,
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

/// The session that asks, with what its forms carry.
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
    // A page elsewhere must not sign its visitor in as somebody else.
    if is_same_origin(&headers, control.issuer()) == Some(false) {
        return Err(ControlError::CrossSite);
    }
    let password = Zeroizing::new(body.password);
    let browser = browser(&control, from, &headers);
    let signed_in = control.sessions.sign_in(&body.email, &password, &browser).await?;
    Ok(opened(&control, &signed_in, StatusCode::CREATED))
}

/// `GET /session`: the one that asks.
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
    Ok(without_cookie(&control))
}

/// A new password in the place of the old one. It has no `Debug`: it holds both.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    current_password: String,
    password: String,
}

/// `PUT /session/password`: changes one's own password, and ends all sessions but the new one that comes back.
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
    let signed_in = control
        .passwords
        .change_password(&own.session, &current, &new, &browser)
        .await?;
    Ok(opened(&control, &signed_in, StatusCode::OK))
}

/// The answer that opens a session.
fn opened(control: &Control, signed_in: &SignedIn, status: StatusCode) -> Response {
    let body = OwnSessionJson::of(signed_in.session.clone(), &signed_in.secret);
    let mut response = (status, axum::Json(body)).into_response();
    give_cookies(control, signed_in, &mut response);
    response
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

/// `DELETE /sessions`: signs out everywhere, here, too.
pub async fn delete_all(
    State(control): Shared,
    Extension(from): Extension<ClientAddress>,
    own: InSession,
) -> Result<Response, ControlError> {
    control
        .sessions
        .sign_out_everywhere(&own.session, Some(from.0))
        .await?;
    Ok(without_cookie(&control))
}

fn without_cookie(control: &Control) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(cookie) = control.cookies.clear(Cookie::Session) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}
