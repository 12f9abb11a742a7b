//! Bodies of requests: their bound and their media type.

use axum::body::{Body, Bytes};
use http::{HeaderMap, header};

use super::error::BadRequest;

/// The longest body read, in bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// Reads a body whole, up to the bound.
pub(super) async fn read_body(body: Body) -> Result<Bytes, BadRequest> {
    read_body_up_to(body, BODY_BYTES_MAX).await
}

/// Reads a body whole, up to a bound of its own.
pub(super) async fn read_body_up_to(body: Body, bytes_max: usize) -> Result<Bytes, BadRequest> {
    axum::body::to_bytes(body, bytes_max).await.map_err(|error| {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(error) = cause {
            if error.is::<http_body_util::LengthLimitError>() {
                return BadRequest::TooLarge;
            }
            cause = error.source();
        }
        BadRequest::Broken
    })
}

/// Whether the body's media type is `wanted`, with whatever parameters.
pub(super) fn has_media_type(headers: &HeaderMap, wanted: &str) -> bool {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = value
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case(wanted)
}
