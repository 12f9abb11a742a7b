//! The cookies of a session and of a known browser, and the session that a request belongs to.

use super::cookies::Cookie;
use super::cookies::is_safe;
use super::cookies::is_same_origin;
use crate::control::accounts::secret::Secret;
use crate::control::accounts::sessions::BROWSER_KEPT_S;
use crate::control::accounts::sessions::Browser;
use crate::control::accounts::sessions::SignedIn;
use crate::control::client_address::ClientAddress;
use crate::control::error::ControlError;
use crate::control::plane::Control;
use crate::model::session::SessionRecord;
use axum::extract::FromRequestParts;
use axum::response::Response;
use http::HeaderMap;
use http::header;
use http::request::Parts;
use std::sync::Arc;

/// Where scripts of our pages put the session's CSRF token.
pub(crate) const CSRF_HEADER: &str = "x-csrf-token";

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
    let session = control.sessions.authenticate_session(&secret).await?;
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
