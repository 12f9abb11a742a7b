//! What every request of an OAuth client has in common: a form, and no `Authorization` header.

use crate::control::bad_request::BadRequest;
use crate::control::form::{Form, PARAMETERS_MAX};
use crate::control::http::body::{MediaType, media_type, read_body};
use crate::control::tokens::error::TokenError;
use axum::extract::Request;
use http::HeaderMap;
use http::header;

/// The one parameter that a client may repeat (RFC 8707 section 2). Any other is `invalid_request` (RFC 6749 section
/// 3.2).
const REPEATABLE: [&str; 1] = ["resource"];

/// Reads the form of a request.
pub(crate) async fn read_form(request: Request) -> Result<Form, TokenError> {
    match media_type(request.headers(), "application/x-www-form-urlencoded") {
        MediaType::Fits => {}
        MediaType::OtherCharset => return Err(TokenError::Charset),
        MediaType::Other => return Err(TokenError::MediaType),
    }
    let body = read_body(request.into_body())
        .await
        .map_err(TokenError::Unreadable)?;
    Form::parse_repeatable(PARAMETERS_MAX, &REPEATABLE, &body)
        .map_err(|error| TokenError::Request(error.to_string()))
}

/// RFC 6749 section 2.3: one way of authentication per request, and ours is in the body.
pub(crate) fn check_no_authorization(headers: &HeaderMap) -> Result<(), TokenError> {
    if headers.contains_key(header::AUTHORIZATION) {
        Err(TokenError::Authorization)
    } else {
        Ok(())
    }
}

/// Any other method than POST on the endpoints of clients.
pub(crate) async fn wrong_method() -> TokenError {
    TokenError::Unreadable(BadRequest::Method)
}
