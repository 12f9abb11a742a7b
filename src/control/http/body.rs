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

/// What `Content-Type` says of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MediaType {
    /// The wanted media type, in UTF-8.
    Fits,
    /// The wanted media type in another charset. It is not read: a reader that believes the label reads another text.
    OtherCharset,
    /// Another media type, none, or several.
    Other,
}

/// Compares the body's media type with `wanted`. Parameters other than `charset` do not count.
pub(crate) fn media_type(headers: &HeaderMap, wanted: &str) -> MediaType {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return MediaType::Other;
    };
    let Ok(value) = value.to_str() else {
        return MediaType::Other;
    };
    let mut parts = value.split(';');
    let name = parts.next().unwrap_or_default();
    if !name.trim().eq_ignore_ascii_case(wanted) {
        return MediaType::Other;
    }
    let is_utf8 = |parameter: &str| match parameter.split_once('=') {
        Some((name, charset)) if name.trim().eq_ignore_ascii_case("charset") => {
            let charset = charset.trim().trim_matches('"');
            ["utf-8", "utf8", "us-ascii"]
                .iter()
                .any(|known| charset.eq_ignore_ascii_case(known))
        }
        _ => true,
    };
    if parts.all(is_utf8) {
        MediaType::Fits
    } else {
        MediaType::OtherCharset
    }
}

/// Whether the body's media type is `wanted`, in UTF-8.
pub(crate) fn has_media_type(headers: &HeaderMap, wanted: &str) -> bool {
    media_type(headers, wanted) == MediaType::Fits
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
