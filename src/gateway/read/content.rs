//! What the headers say about a body: its media type and its content coding.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};

use super::refusal::Refusal;
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

/// How a body whose write key is to be read is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    pub coding: Coding,
    /// The media type is that of a form. Some clients send JSON under it: RudderStack's Node.js SDK, and `curl -d`.
    pub is_form: bool,
}

/// Reads the one media type and the one content coding of a body.
///
/// # Errors
/// Any coding but gzip, or more than one; and media types under which the upstream would read the same bytes as parts
/// or as other characters.
pub fn content(headers: &HeaderMap) -> Result<Content, Refusal> {
    let invalid = |detail: &'static str| Refusal::because(DenyReason::BodyInvalid, detail);
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    let is_form = match kinds.next() {
        Some(kind) => is_form_or_json(kind).map_err(invalid)?,
        None => false,
    };
    if kinds.next().is_some() {
        return Err(invalid("the request has two Content-Type headers; send one"));
    }
    Ok(Content {
        coding: coding(headers)?,
        is_form,
    })
}

/// The one content coding of a body.
///
/// # Errors
/// [`DenyReason::BodyEncodingUnsupported`].
pub fn coding(headers: &HeaderMap) -> Result<Coding, DenyReason> {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    let first = codings.next().map(HeaderValue::as_bytes);
    match (first, codings.next()) {
        (None, None) => Ok(Coding::Identity),
        (Some(one), None) if one.eq_ignore_ascii_case(b"identity") => Ok(Coding::Identity),
        (Some(one), None) if one.eq_ignore_ascii_case(b"gzip") => Ok(Coding::Gzip),
        _ => Err(DenyReason::BodyEncodingUnsupported),
    }
}

/// Whether a media type is that of a form, where it leaves the body to be read as JSON in UTF-8. Its name need not be
/// JSON's: browsers send `text/plain` to avoid a preflight.
///
/// # Errors
/// A sentence for a media type that does not.
fn is_form_or_json(kind: &HeaderValue) -> Result<bool, &'static str> {
    let kind = kind
        .to_str()
        .map_err(|_| "the Content-Type header has characters beyond ASCII")?;
    let kind = kind.to_ascii_lowercase();
    let mut parameters = kind.split(';');
    let name = parameters.next().unwrap_or_default().trim();
    let is_utf8 = |parameter: &str| match parameter.split_once('=') {
        Some((name, value)) if name.trim() == "charset" => {
            matches!(value.trim().trim_matches('"'), "utf-8" | "utf8" | "us-ascii")
        }
        _ => true,
    };
    if name.starts_with("multipart/") {
        return Err("the Content-Type header says multipart; send one JSON object as application/json");
    }
    if kind.contains(',') {
        return Err("the Content-Type header has more than one media type; send application/json");
    }
    if !parameters.all(is_utf8) {
        return Err("the Content-Type header names another charset than UTF-8; send the body in UTF-8");
    }
    Ok(is_form(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &'static str) -> Result<bool, &'static str> {
        is_form_or_json(&HeaderValue::from_static(kind))
    }

    #[test]
    fn media_types_that_leave_json_to_be_read_are_accepted() {
        for json in [
            "application/json",
            "Application/JSON; Charset=\"UTF-8\"",
            "text/plain;charset=utf8",
            "text/plain; a=b",
            "",
        ] {
            assert_eq!(read(json), Ok(false), "{json}");
        }
        for form in [
            "application/x-www-form-urlencoded",
            " application/X-www-form-urlencoded ; charset=utf-8",
        ] {
            assert_eq!(read(form), Ok(true), "{form}");
        }
    }

    #[test]
    fn media_types_that_are_read_otherwise_are_refused() {
        for (bad, word) in [
            ("multipart/form-data; boundary=x", "multipart"),
            ("Multipart/Mixed", "multipart"),
            (
                "application/json, application/x-www-form-urlencoded",
                "more than one",
            ),
            ("application/json; charset=utf-7", "charset"),
            ("application/json; charset = utf-16le", "charset"),
            ("application/json; charset=\"iso-8859-1\"", "charset"),
            ("application/json; charset=utf-8; charset=utf-7", "charset"),
            ("application/x-www-form-urlencoded; charset=utf-7", "charset"),
            ("application/json; charset=", "charset"),
        ] {
            let sentence = read(bad).unwrap_err();
            assert!(sentence.contains(word), "{bad}: {sentence}");
        }
    }
}
