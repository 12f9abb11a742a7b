//! What the headers say about a body: its media type and its content coding.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};

use crate::domain::decision::DenyReason;

/// Whether a media type says that the body is a form of `name=value` pairs.
#[must_use]
pub fn is_form(kind: &[u8]) -> bool {
    starts_with(kind, b"application/x-www-form-urlencoded")
}

/// Whether the headers say that the body is a form.
#[must_use]
pub fn has_form(headers: &HeaderMap) -> bool {
    let kinds = headers.get_all(CONTENT_TYPE);
    kinds.iter().any(|kind| is_form(kind.as_bytes()))
}

fn starts_with(text: &[u8], lower_case: &[u8]) -> bool {
    text.get(..lower_case.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(lower_case))
}

/// How a body is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Identity,
    Gzip,
}

/// The one content coding of a body whose write key is to be read.
///
/// # Errors
/// Any coding but gzip, or more than one; and media types that would make the upstream read the same
/// bytes as a form, or as other characters.
pub fn coding(headers: &HeaderMap) -> Result<Coding, DenyReason> {
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    let is_one_reading = kinds.next().is_none_or(may_be_json);
    if !is_one_reading || kinds.next().is_some() {
        return Err(DenyReason::BodyInvalid);
    }
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    let first = codings.next().map(HeaderValue::as_bytes);
    match (first, codings.next()) {
        (None, None) => Ok(Coding::Identity),
        (Some(one), None) if one.eq_ignore_ascii_case(b"identity") => Ok(Coding::Identity),
        (Some(one), None) if one.eq_ignore_ascii_case(b"gzip") => Ok(Coding::Gzip),
        _ => Err(DenyReason::BodyEncodingUnsupported),
    }
}

/// Whether a media type leaves a body to be read as JSON in UTF-8. Its name need not be JSON's: browsers send
/// `text/plain` to be spared a question.
fn may_be_json(kind: &HeaderValue) -> bool {
    let Ok(kind) = kind.to_str() else { return false };
    let kind = kind.to_ascii_lowercase();
    let mut parameters = kind.split(';');
    let name = parameters.next().unwrap_or_default().trim();
    let is_utf8 = |parameter: &str| match parameter.split_once('=') {
        Some((name, value)) if name.trim() == "charset" => {
            matches!(value.trim().trim_matches('"'), "utf-8" | "utf8" | "us-ascii")
        }
        _ => true,
    };
    !name.starts_with("multipart/")
        && name != "application/x-www-form-urlencoded"
        && !kind.contains(',')
        && parameters.all(is_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_that_are_read_otherwise_are_told() {
        let type_of = |kind: &'static str| may_be_json(&HeaderValue::from_static(kind));
        for good in [
            "application/json",
            "Application/JSON; Charset=\"UTF-8\"",
            "text/plain;charset=utf8",
            "text/plain; a=b",
            "",
        ] {
            assert!(type_of(good), "{good}");
        }
        for bad in [
            "multipart/form-data; boundary=x",
            "Multipart/Mixed",
            "application/x-www-form-urlencoded",
            " application/x-www-form-urlencoded ; charset=utf-8",
            "application/json, application/x-www-form-urlencoded",
            "application/json; charset=utf-7",
            "application/json; charset = utf-16le",
            "application/json; charset=\"iso-8859-1\"",
            "application/json; charset=utf-8; charset=utf-7",
            "application/json; charset=",
        ] {
            assert!(!type_of(bad), "{bad}");
        }
    }
}
