//! `POST /token`: client credentials with a signed assertion (RFC 6749 section 4.4, RFC 7523, RFC 8707).

use super::client_log::ClientLog;
use super::client_request::check_no_authorization;
use super::client_request::read_form;
use crate::control::client_address::ClientAddress;
use crate::control::form::Form;
use crate::control::http::problem::json;
use crate::control::plane::Control;
use crate::control::tokens::client_proof::{AuthenticatedClient, ClientCredentials};
use crate::control::tokens::error::TokenError;
use crate::control::tokens::issue::{TokenRequest, TokenResponse};
use crate::domain::scope::ScopeSet;
use axum::Extension;
use axum::extract::Request;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use std::sync::Arc;

pub(crate) const GRANT_TYPE: &str = "client_credentials";

/// `POST /token` and `POST //token`.
pub(crate) async fn post(
    State(control): State<Arc<Control>>,
    Extension(from): Extension<ClientAddress>,
    request: Request,
) -> Response {
    let mut log = ClientLog::new("token", from);
    match answer(&control, from, request, &mut log).await {
        Ok(token) => {
            control.count_token("ok");
            log.issued(&token.scope, token.expires_in);
            let mut response = json(StatusCode::OK, "application/json", &token);
            response
                .headers_mut()
                .insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
            response
        }
        Err(error) => {
            control.count_token(error.status().1);
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
) -> Result<TokenResponse, TokenError> {
    let authenticated = authenticate(control, from, request, log).await;
    let (authenticated, scopes, form) =
        authenticated.map_err(|error| control.client_authentication.slow_down(from, error))?;
    let resources: Vec<&str> = form.all("resource").collect();
    let request = TokenRequest {
        scopes: &scopes,
        resources: &resources,
    };
    control.tokens.issue_token(&authenticated, &request)
}

/// Reads a request and authenticates its sender.
async fn authenticate(
    control: &Control,
    from: ClientAddress,
    request: Request,
    log: &mut ClientLog,
) -> Result<(AuthenticatedClient, ScopeSet, Form), TokenError> {
    check_no_authorization(request.headers())?;
    let form = read_form(request).await?;
    match form.get("grant_type") {
        Some(GRANT_TYPE) => {}
        Some(_) => return Err(TokenError::GrantType),
        None => {
            return Err(TokenError::Request(
                "the parameter grant_type is missing".to_owned(),
            ));
        }
    }
    let credentials = ClientCredentials::of(&form)?;
    let scopes = ScopeSet::parse(form.get("scope").unwrap_or_default())?;
    let authentication = &control.client_authentication;
    let authenticated = authentication
        .authenticate(&credentials, from, &mut log.claimed)
        .await?;
    Ok((authenticated, scopes, form))
}
