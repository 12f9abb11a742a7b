//! `POST /revoke` (RFC 7009).

use super::client_log::ClientLog;
use super::client_request::check_no_authorization;
use super::client_request::read_form;
use crate::control::actor::Actor;
use crate::control::actor::Who;
use crate::control::client_address::ClientAddress;
use crate::control::plane::Control;
use crate::control::tokens::client_proof::ClientCredentials;
use crate::control::tokens::error::TokenError;
use axum::Extension;
use axum::extract::Request;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use std::sync::Arc;

/// `POST /revoke` (RFC 7009): an app revokes a token of its own.
pub(crate) async fn post(
    State(control): State<Arc<Control>>,
    Extension(from): Extension<ClientAddress>,
    request: Request,
) -> Response {
    let mut log = ClientLog::new("revoke", from);
    let revoked = revoke_own(&control, from, request, &mut log).await;
    match revoked.map_err(|error| control.client_authentication.slow_down(from, error)) {
        Ok(()) => (
            StatusCode::OK,
            [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))],
        )
            .into_response(),
        Err(error) => {
            log.rejected(&error);
            error.into_response()
        }
    }
}

/// RFC 7009 section 2.2: a token that is unknown, has expired, or belongs to another client gets the response of one that
/// was revoked, and is left as it is.
async fn revoke_own(
    control: &Control,
    from: ClientAddress,
    request: Request,
    log: &mut ClientLog,
) -> Result<(), TokenError> {
    check_no_authorization(request.headers())?;
    let form = read_form(request).await?;
    let token = form
        .get("token")
        .ok_or_else(|| TokenError::Request("the parameter token is missing".to_owned()))?;
    let authenticated = control
        .client_authentication
        .authenticate(&ClientCredentials::of(&form)?, from, &mut log.claimed)
        .await?;
    let own = &authenticated.client.app;
    let Some(token) = control
        .revocation
        .own_token(token)
        .filter(|token| token.app == own.id)
    else {
        return Ok(());
    };
    let actor = Actor {
        who: Who::App(own.id.clone()),
        from: Some(from.0),
        ..Actor::system("revoke")
    };
    control
        .revocation
        .revoke_own(&actor, &own.workspace, &token)
        .await?;
    Ok(())
}
