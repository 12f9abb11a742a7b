//! `POST /introspect` (RFC 7662).

use super::client_log::ClientLog;
use super::client_request::read_form;
use crate::control::client_address::ClientAddress;
use crate::control::http::problem::json;
use crate::control::plane::Control;
use crate::control::tokens::client_proof::ClientCredentials;
use crate::control::tokens::error::TokenError;
use crate::control::tokens::introspect::Active;
use crate::control::tokens::introspect::Caller;
use crate::control::tokens::introspect::Introspection;
use axum::Extension;
use axum::extract::Request;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderMap;
use http::StatusCode;
use http::header;
use serde::Serialize;
use std::sync::Arc;

/// `POST /introspect`.
pub(crate) async fn post(
    State(control): State<Arc<Control>>,
    Extension(from): Extension<ClientAddress>,
    request: Request,
) -> Response {
    #[derive(Serialize)]
    struct Inactive {
        active: bool,
    }
    let mut log = ClientLog::new("introspect", from);
    match answer(&control, from, request, &mut log).await {
        Ok(Some(active)) => json(StatusCode::OK, "application/json", &active),
        Ok(None) => json(StatusCode::OK, "application/json", &Inactive { active: false }),
        Err(error) => {
            log.rejected(&error);
            error.into_response()
        }
    }
}

async fn answer(
    control: &Control,
    from: ClientAddress,
    request: Request,
    log: &mut ClientLog,
) -> Result<Option<Active>, TokenError> {
    let bearer = bearer(request.headers())?;
    let form = read_form(request).await?;
    let token = form
        .get("token")
        .ok_or_else(|| TokenError::Request("the parameter token is missing".to_owned()))?;
    let caller = match bearer {
        Some(api_token) => {
            control
                .introspection
                .introspecting_member(from, &form, &api_token)
                .await?
        }
        None => {
            let authentication = &control.client_authentication;
            let authenticated = async {
                authentication
                    .authenticate(&ClientCredentials::of(&form)?, from, &mut log.claimed)
                    .await
            };
            let authenticated = authenticated
                .await
                .map_err(|error| authentication.slow_down(from, error))?;
            Caller::App(authenticated.client.app.workspace.clone())
        }
    };
    let Some(own) = control.revocation.own_token(token) else {
        return Ok(None);
    };
    if !Introspection::sees(&caller, &own.workspace) {
        return Ok(None);
    }
    Ok(control.introspection.active(token, &own).await?)
}

/// The bearer token in the headers, if there is an `Authorization` header.
fn bearer(headers: &HeaderMap) -> Result<Option<zeroize::Zeroizing<String>>, TokenError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let value = value.to_str().map_err(|_| TokenError::Bearer)?;
            match value.split_once(' ') {
                Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                    Ok(Some(token.trim().to_owned().into()))
                }
                _ => Err(TokenError::Bearer),
            }
        }
        (Some(_), Some(_)) => Err(TokenError::Request(
            "there is more than one Authorization header".to_owned(),
        )),
    }
}
