//! `POST /token`: client credentials with a signed assertion (RFC 6749 section 4.4, RFC 7523).

use super::client_request::check_no_authorization;
use super::client_request::read_form;
use crate::control::bad_request::BadRequest;
use crate::control::client_address::ClientAddress;
use crate::control::http::problem::json;
use crate::control::plane::Control;
use crate::control::tokens::client_proof::ClientCredentials;
use crate::control::tokens::client_proof::Proved;
use crate::control::tokens::error::TokenError;
use crate::control::tokens::issue::TokenResponse;
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
    match answer(&control, from, request).await {
        Ok(token) => {
            control.count_token("ok");
            let mut response = json(StatusCode::OK, "application/json", &token);
            response
                .headers_mut()
                .insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
            response
        }
        Err(error) => {
            control.count_token(error.status().1);
            tracing::debug!(%error, "no token issued");
            error.into_response()
        }
    }
}

/// Any other method on the token endpoint's paths.
pub(crate) async fn wrong_method() -> TokenError {
    TokenError::Unreadable(BadRequest::Method)
}

pub(crate) async fn answer(
    control: &Control,
    from: ClientAddress,
    request: Request,
) -> Result<TokenResponse, TokenError> {
    let proved = proved(control, from, request).await;
    let (proved, scopes) = proved.map_err(|error| control.client_authentication.slow_down(from, error))?;
    control.tokens.issue_token(&proved, &scopes)
}

/// Reads a request and proves who sent it.
pub(crate) async fn proved(
    control: &Control,
    from: ClientAddress,
    request: Request,
) -> Result<(Proved, ScopeSet), TokenError> {
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
    Ok((
        control.client_authentication.prove(&credentials, from).await?,
        scopes,
    ))
}
