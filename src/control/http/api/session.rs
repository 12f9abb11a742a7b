//! Sessions in the API's form: sign in, sign out, who is signed in where.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{FromRequestParts, Path, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::request::{Json, List};
use crate::control::accounts::sessions::{BROWSER_KEPT_S, Browser, Secret, SignedIn};
use crate::control::error::ControlError;
use crate::control::http::cookies::{Cookie, is_safe, is_same_origin};
use crate::control::http::routes::{Shared, at_text};
use crate::control::plane::Control;
use crate::control::rate_limits::ClientAddress;
use crate::store::sessions::SessionRecord;

/// Where scripts of our pages put the session's CSRF token.
const CSRF_HEADER: &str = "x-csrf-token";

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

/// Whoever is signed in by a cookie. A request that changes something must come from a page of ours.
pub struct InSession {
    pub secret: Secret,
    pub session: SessionRecord,
}

impl FromRequestParts<Arc<Control>> for InSession {
    type Rejection = ControlError;

    async fn from_request_parts(parts: &mut Parts, control: &Arc<Control>) -> Result<Self, ControlError> {
        if parts.headers.contains_key(header::AUTHORIZATION) {
            return Err(ControlError::Unauthenticated);
        }
        let found = in_session(parts, control).await;
        if let (Err(ControlError::Unauthenticated), Some(from)) =
            (&found, parts.extensions.get::<ClientAddress>())
        {
            control.limits.failed_authentication(*from)?;
        }
        let found = found?;
        control.limits.management_request(&found.session.account)?;
        Ok(found)
    }
}

/// The session of a request's cookie, if the request may speak for it.
pub async fn in_session(parts: &Parts, control: &Control) -> Result<InSession, ControlError> {
    let cookie = control.cookies.get(Cookie::Session, &parts.headers);
    let secret = cookie
        .and_then(Secret::parse)
        .ok_or(ControlError::Unauthenticated)?;
    let session = control.authenticate_session(&secret).await?;
    if !is_safe(&parts.method) {
        let same_origin = is_same_origin(&parts.headers, control.issuer()) == Some(true);
        let token = parts
            .headers
            .get(CSRF_HEADER)
            .and_then(|value| value.to_str().ok());
        if !same_origin && !token.is_some_and(|token| secret.owns_csrf_token(token)) {
            return Err(ControlError::CrossSite);
        }
    }
    Ok(InSession { secret, session })
}

/// The browser that sent a request.
pub fn browser(control: &Control, from: ClientAddress, headers: &HeaderMap) -> Browser {
    let user_agent = headers
        .get(header::USER_AGENT)
        .and_then(|value| value.to_str().ok());
    Browser {
        address: from.0,
        user_agent: user_agent.unwrap_or_default().to_owned(),
        known_by: control
            .cookies
            .get(Cookie::Browser, headers)
            .and_then(Secret::parse),
    }
}

/// Gives the browser the cookies of a session that was just opened.
pub fn give_cookies(control: &Control, signed_in: &SignedIn, response: &mut Response) {
    let seconds = signed_in.session.expires_at.since(signed_in.session.created_at);
    let session = control
        .cookies
        .set(Cookie::Session, signed_in.secret.expose(), seconds);
    let browser = signed_in.browser.as_ref().and_then(|secret| {
        control
            .cookies
            .set(Cookie::Browser, secret.expose(), BROWSER_KEPT_S)
    });
    for cookie in session.into_iter().chain(browser) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
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
    let signed_in = control.sign_in(&body.email, &password, &browser).await?;
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
    control.sign_out(&own.session, &id, Some(from.0)).await?;
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
    let found = control.sessions(&own.session).await?;
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
    control.sign_out(&own.session, &id, Some(from.0)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /sessions`: signs out everywhere, here, too.
pub async fn delete_all(
    State(control): Shared,
    Extension(from): Extension<ClientAddress>,
    own: InSession,
) -> Result<Response, ControlError> {
    control.sign_out_everywhere(&own.session, Some(from.0)).await?;
    Ok(without_cookie(&control))
}

fn without_cookie(control: &Control) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(cookie) = control.cookies.clear(Cookie::Session) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}
