//! What every request of an OAuth client has in common: a form, and no `Authorization` header.

use crate::control::form::Form;
use crate::control::http::body::has_media_type;
use crate::control::http::body::read_body;
use crate::control::tokens::error::TokenError;
use axum::extract::Request;
use http::HeaderMap;
use http::header;

/// Reads the form of a request.
pub(crate) async fn read_form(request: Request) -> Result<Form, TokenError> {
    if !has_media_type(request.headers(), "application/x-www-form-urlencoded") {
        return Err(TokenError::MediaType);
    }
    let body = read_body(request.into_body())
        .await
        .map_err(TokenError::Unreadable)?;
    Form::parse(&body).map_err(|error| TokenError::Request(error.to_string()))
}

/// RFC 6749 section 2.3: one way of authentication per request, and ours is in the body.
pub(crate) fn check_no_authorization(headers: &HeaderMap) -> Result<(), TokenError> {
    if headers.contains_key(header::AUTHORIZATION) {
        Err(TokenError::Authorization)
    } else {
        Ok(())
    }
}
