//! Who sends a management request: an API token or a session.

use crate::control::actor::Actor;
use crate::control::client_address::ClientAddress;
use crate::control::error::ControlError;
use crate::control::http::session_cookies::in_session;
use crate::control::plane::Control;
use crate::model::credential::Credential;
use crate::model::member::Member;
use axum::extract::FromRequestParts;
use http::HeaderValue;
use http::header;
use http::request::Parts;
use std::net::IpAddr;
use std::sync::Arc;

const REQUEST_REJECTED: &str = "management request rejected";

/// The member who sent the request, in the workspace of the credential.
pub struct Caller(pub Actor);

impl FromRequestParts<Arc<Control>> for Caller {
    type Rejection = ControlError;

    async fn from_request_parts(parts: &mut Parts, control: &Arc<Control>) -> Result<Self, ControlError> {
        let (member, credential) = caller(parts, control).await?;
        Ok(Self(
            Actor::member(member, address(parts)).with_credential(credential),
        ))
    }
}

/// The member and the credential of the request, within the rate limit.
pub(crate) async fn caller(parts: &Parts, control: &Control) -> Result<(Member, Credential), ControlError> {
    match authenticated(parts, control).await {
        Ok((member, credential)) => {
            control.limits.management_request(&member.account)?;
            Ok((member, credential))
        }
        Err(ControlError::Unauthenticated) => {
            if let Some(from) = parts.extensions.get::<ClientAddress>() {
                control.limits.failed_authentication(*from)?;
                log_rejection(parts, control, *from).await;
            }
            Err(ControlError::Unauthenticated)
        }
        Err(error) => Err(error),
    }
}

/// Logs why a request was not authenticated: the client itself reads one text for all causes. A request without a
/// credential is logged at level debug: browsers send them before they sign in.
async fn log_rejection(parts: &Parts, control: &Control, from: ClientAddress) {
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
    let cause = match (values.next().map(HeaderValue::to_str), values.next()) {
        (None, _) => {
            tracing::debug!(cause = "no_session", client = %from.0, "{REQUEST_REJECTED}");
            return;
        }
        (Some(_), Some(_)) => "authorization_repeated",
        (Some(Err(_)), None) => "authorization_malformed",
        (Some(Ok(value)), None) => match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                control.api_tokens.cause(token.trim()).await
            }
            _ => "authorization_scheme",
        },
    };
    tracing::info!(cause, client = %from.0, "{REQUEST_REJECTED}");
}

/// The client address of the request.
pub fn address(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<ClientAddress>().map(|from| from.0)
}

/// The member of the request's credential: an API token or a session, not both.
pub(crate) async fn authenticated(
    parts: &Parts,
    control: &Control,
) -> Result<(Member, Credential), ControlError> {
    if !parts.headers.contains_key(header::AUTHORIZATION) {
        let found = in_session(parts, control).await?;
        let member = control
            .sessions
            .default_membership(&found.session.account)
            .await?;
        return Ok((member, Credential::Session(found.session.id)));
    }
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(ControlError::Unauthenticated);
    };
    let value = value.to_str().map_err(|_| ControlError::Unauthenticated)?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            control.api_tokens.authenticate_by(token.trim()).await
        }
        _ => Err(ControlError::Unauthenticated),
    }
}
