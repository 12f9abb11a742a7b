//! Bodies of requests: their bound and their media type.

use crate::control::bad_request::BODY_BYTES_MAX;
use axum::body::{Body, Bytes, HttpBody as _};
use bytes::BytesMut;
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;

use crate::control::bad_request::BadRequest;
use crate::control::bad_request::Exhausted;
use crate::domain::cost;

/// Reads a body whole, up to the bound.
pub(crate) async fn read_body(body: Body) -> Result<Bytes, BadRequest> {
    read_body_up_to(body, BODY_BYTES_MAX).await
}

/// Reads a body whole, up to a bound of its own.
pub(crate) async fn read_body_up_to(body: Body, bytes_max: usize) -> Result<Bytes, BadRequest> {
    let promised = body.size_hint().lower();
    if usize::try_from(promised).map_or(true, |promised| promised > bytes_max) {
        return Err(BadRequest::TooLarge);
    }
    let mut body = body;
    // Copied as it arrives: a small part would keep all that was read together with it.
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| unreadable(&error))?;
        let Some(part) = frame.data_ref() else { continue };
        if part.len() > bytes_max - whole.len() {
            return Err(BadRequest::TooLarge);
        }
        whole.extend_from_slice(part);
    }
    Ok(whole.freeze())
}

/// Why a body ended early.
fn unreadable(error: &axum::Error) -> BadRequest {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(bound) = error.downcast_ref::<Exhausted>() {
            return BadRequest::Exhausted(*bound);
        }
        cause = error.source();
    }
    BadRequest::Broken
}

/// Whether a JSON text escapes a NUL character. No text here has one, and not every store can hold one; unescaped,
/// JSON does not allow it.
pub fn has_nul_escape(json: &[u8]) -> bool {
    cost::count(json.len());
    let mut rest = json;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let escape = rest.get(at + 1..).unwrap_or_default();
        if escape.starts_with(b"u0000") {
            return true;
        }
        // What is escaped may be a backslash itself.
        rest = escape.get(1..).unwrap_or_default();
    }
    false
}

/// Whether the body's media type is `wanted`, with whatever parameters.
pub(crate) fn has_media_type(headers: &HeaderMap, wanted: &str) -> bool {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = value
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case(wanted)
}

#[cfg(test)]
mod tests {
    use super::has_nul_escape;

    #[test]
    fn escaped_nul_is_told_from_an_escaped_backslash() {
        for with in [r#"{"a":"\u0000"}"#, r#""x\\\u0000""#, r#""\n\u0000y""#] {
            assert!(has_nul_escape(with.as_bytes()), "{with}");
        }
        for without in [r#""\\u0000""#, r#""\u0001""#, r#""\"#, "", "\\"] {
            assert!(!has_nul_escape(without.as_bytes()), "{without}");
        }
    }
}
