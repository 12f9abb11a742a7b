//! `/login/oidc`: out to the provider and back.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

use super::cookies::Cookie;
use super::session_cookies::{browser, give_cookies};
use crate::control::accounts::oidc::SignOnError;
use crate::control::accounts::secret::Secret;
use crate::control::accounts::sign_on::{Callback, SIGN_ON_S};
use crate::control::client_address::ClientAddress;
use crate::control::error::ControlError;
use crate::control::form::Form;
use crate::control::plane::Control;

type Shared = State<Arc<Control>>;

/// `GET /login/oidc?next=/path`: sends the browser to the provider.
pub(crate) async fn begin(
    State(control): Shared,
    Extension(from): Extension<ClientAddress>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, SignOnError> {
    let query = Form::parse(uri.query().unwrap_or_default().as_bytes()).unwrap_or_default();
    let browser = browser(&control, from, &headers);
    let (pending, url) = control
        .sign_on
        .begin_sign_on(&browser, query.get("next").unwrap_or("/"))
        .await?;
    let mut response = see_other(&url);
    if let Some(cookie) = control
        .cookies
        .set(Cookie::SignOn, &pending.to_cookie(), SIGN_ON_S)
    {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// `GET /login/oidc/callback`: the browser is back.
pub(crate) async fn callback(
    State(control): Shared,
    Extension(from): Extension<ClientAddress>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let query = Form::parse(uri.query().unwrap_or_default().as_bytes()).unwrap_or_default();
    let returned = Callback {
        state: query.get("state"),
        code: query.get("code"),
        issuer: query.get("iss"),
        error: query.get("error"),
    };
    let browser = browser(&control, from, &headers);
    let cookie = control.cookies.get(Cookie::SignOn, &headers);
    let held = control.cookies.get(Cookie::Session, &headers);
    let signed_in = match held.and_then(Secret::parse) {
        // Who cannot be told is not signed in.
        Some(secret) => control.sessions.authenticate_session(&secret).await.ok(),
        None => None,
    };
    let signed_in = signed_in.as_ref().map(|session| &session.account);
    let ended = control
        .sign_on
        .complete_sign_on(cookie, returned, &browser, signed_in)
        .await;
    let mut response = match ended {
        Ok(signed_on) => {
            let mut response = see_other(&signed_on.next);
            give_cookies(&control, &signed_on.signed_in, &mut response);
            response
        }
        Err(error) => {
            control.refused_sign_ins.sign_on_refused(&error, browser.address);
            error.into_response()
        }
    };
    if let Some(cookie) = control.cookies.clear(Cookie::SignOn) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

fn see_other(url: &str) -> Response {
    match HeaderValue::from_str(url) {
        Ok(url) => {
            let headers = [
                (header::LOCATION, url),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            ];
            (StatusCode::SEE_OTHER, headers).into_response()
        }
        Err(_) => ControlError::Crypto("writing a redirect").into_response(),
    }
}

impl IntoResponse for SignOnError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::NotSetUp => StatusCode::NOT_FOUND,
            Self::State | Self::Refused(_) => StatusCode::BAD_REQUEST,
            Self::Unverified
            | Self::NotInvited
            | Self::OtherSubject
            | Self::PasswordFirst
            | Self::JoinedWithPassword => StatusCode::FORBIDDEN,
            Self::Provider(error) => {
                tracing::error!(%error, "the sign-on provider cannot be used");
                StatusCode::BAD_GATEWAY
            }
            Self::Control(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        match self {
            Self::Control(error) => error.into_response(),
            other => {
                let headers = [
                    (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
                    (header::CACHE_CONTROL, "no-store"),
                    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                ];
                (status, headers, format!("{other}\n")).into_response()
            }
        }
    }
}
