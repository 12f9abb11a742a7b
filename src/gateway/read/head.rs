//! The head of a request in its one canonical form.
//!
//! The gateway routes, decides and forwards the same bytes. It refuses a head that two parsers could read in two
//! ways, before anything else looks at it.

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST};
use http::{HeaderMap, HeaderValue, Version};
use pingora_http::RequestHeader;

use super::query;
use super::raw_head::TARGET_BYTES_MAX;
use crate::config::Limits;
use crate::domain::cost;
use crate::domain::decision::DenyReason;
use crate::domain::hex;

/// A request's head in its one canonical form.
#[derive(Debug)]
pub struct Head<'r> {
    /// Lower case, without port. Empty where an HTTP/1.0 request names none.
    pub host: String,
    pub path: &'r str,
}

/// Checks that the head has one reading, and takes it apart. What only the bytes of an HTTP/1 head can
/// show was checked before they were parsed.
///
/// # Errors
/// The denial for a head that is malformed, ambiguous or too large.
pub fn head<'r>(request: &'r RequestHeader, limits: &Limits) -> Result<Head<'r>, DenyReason> {
    check_size(&request.headers, limits)?;
    let method = request.method.as_str();
    if matches!(method, "CONNECT" | "TRACE") || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(DenyReason::RequestMalformed);
    }
    check_values(request)?;
    check_framing(request)?;
    let target = request.raw_path();
    if target.len() > TARGET_BYTES_MAX {
        return Err(DenyReason::HeadersTooLarge);
    }
    // UTF-8, the question mark, the query.
    cost::count(3 * target.len());
    let target = std::str::from_utf8(target).map_err(|_| DenyReason::PathInvalid)?;
    let (path, query) = target
        .split_once('?')
        .map_or((target, None), |(path, query)| (path, Some(query)));
    if !is_canonical(path)
        || !query.is_none_or(|query| query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'))
    {
        return Err(DenyReason::PathInvalid);
    }
    Ok(Head {
        host: host(request)?,
        path,
    })
}

fn check_size(headers: &HeaderMap, limits: &Limits) -> Result<(), DenyReason> {
    if headers.len() > limits.headers || bytes_of(headers) > limits.header_bytes {
        return Err(DenyReason::HeadersTooLarge);
    }
    Ok(())
}

/// How many bytes the names and values of these headers have.
pub(crate) fn bytes_of(headers: &HeaderMap) -> usize {
    cost::count(headers.len());
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum()
}

/// An HTTP/2 value with white space around it is malformed (RFC 9113 section 8.2.1). Sent on over HTTP/1.1 it
/// would be another value than the one looked at here: that side trims it.
fn check_values(request: &RequestHeader) -> Result<(), DenyReason> {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let is_padded = |value: &HeaderValue| {
        let value = value.as_bytes();
        is_blank(value.first()) || is_blank(value.last())
    };
    match request.version == Version::HTTP_2 && request.headers.values().any(is_padded) {
        true => Err(DenyReason::RequestMalformed),
        false => Ok(()),
    }
}

/// One way to tell where the request ends. An offer to change the protocol is ignored (RFC 9110 section 7.8).
fn check_framing(request: &RequestHeader) -> Result<(), DenyReason> {
    let headers = &request.headers;
    if headers.get_all(CONTENT_LENGTH).iter().count() > 1 {
        return Err(DenyReason::RequestMalformed);
    }
    let length_is_digits = headers
        .get(CONTENT_LENGTH)
        .is_none_or(|value| value.as_bytes().iter().all(u8::is_ascii_digit));
    let expects_continue = headers
        .get(EXPECT)
        .is_none_or(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if !length_is_digits || !expects_continue {
        return Err(DenyReason::RequestMalformed);
    }
    let mut codings = headers.get_all(http::header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Err(DenyReason::RequestMalformed);
    }
    // A `Connection` that names an end-to-end header would have it removed on the way.
    for value in headers.get_all(CONNECTION) {
        cost::count(2 * value.len());
        let value = value.to_str().map_err(|_| DenyReason::RequestMalformed)?;
        let known = |option: &str| {
            ["close", "keep-alive", "te", "upgrade", "http2-settings", ""]
                .iter()
                .any(|known| option.eq_ignore_ascii_case(known))
        };
        if !value.split(',').all(|option| known(option.trim())) {
            return Err(DenyReason::RequestMalformed);
        }
    }
    Ok(())
}

/// One host, the same in `Host` and `:authority` where both are there. Empty for HTTP/1.0 without `Host`.
fn host(request: &RequestHeader) -> Result<String, DenyReason> {
    let mut named = request.headers.get_all(HOST).iter();
    let header = named.next().map(HeaderValue::as_bytes);
    if named.next().is_some() {
        return Err(DenyReason::RequestMalformed);
    }
    let authority = request
        .uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    let host = match (header, authority) {
        (Some(header), Some(authority)) if !header.eq_ignore_ascii_case(authority) => {
            return Err(DenyReason::RequestMalformed);
        }
        (Some(host), _) | (None, Some(host)) => host,
        // HTTP/1.0 knows no `Host`. Such a request belongs to the APIs that any host reaches.
        (None, None) if request.version == Version::HTTP_10 => return Ok(String::new()),
        (None, None) => return Err(DenyReason::RequestMalformed),
    };
    let name = host_name(host).ok_or(DenyReason::RequestMalformed)?;
    match request.version < Version::HTTP_10 {
        true => Err(DenyReason::RequestMalformed),
        false => Ok(name),
    }
}

/// The host of an authority in its one form, lower case and without port; `None` where it has another form.
#[must_use]
pub fn host_name(authority: &[u8]) -> Option<String> {
    // Cut, checked by its letters and by its labels, and folded.
    cost::count(4 * authority.len());
    let host = std::str::from_utf8(authority).ok()?;
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, "0"),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    // `a.test.` is `a.test` to most servers, and another host to those that compare the text. No client needs
    // the dot, and there is one form that goes on.
    let is_name = name.bytes().all(plain) && name.split('.').all(|label| !label.is_empty());
    let is_v6 = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|inside| inside.parse::<std::net::Ipv6Addr>().is_ok());
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    ((is_name || is_v6) && is_port).then(|| name.to_ascii_lowercase())
}

/// Whether a path is in the one form in which every server reads it alike: no empty, `.` or `..`
/// segment, no `;`, no backslash, and no percent-encoding but of bytes that need it.
fn is_canonical(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    let bytes = path.as_bytes();
    let plain = |byte: u8| {
        byte.is_ascii_graphic() && !matches!(byte, b'\\' | b';' | b'#' | b'%' | b'"' | b'<' | b'>')
    };
    // And the segments.
    cost::count(2 * bytes.len());
    if bytes.iter().any(|byte| !plain(*byte)) && !is_canonically_encoded(path) {
        return false;
    }
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if segment == "." || segment == ".." || (segment.is_empty() && !is_last) {
            return false;
        }
    }
    true
}

/// Slow path for paths with `%`: each encoding is whole, and of a byte that may only stand encoded.
fn is_canonically_encoded(path: &str) -> bool {
    cost::count(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                let digit = |at: usize| rest.get(at).copied().and_then(hex::digit);
                let (Some(high), Some(low)) = (digit(0), digit(1)) else {
                    return false;
                };
                let byte = high << 4 | low;
                let needless = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
                if needless || matches!(byte, b'/' | b'\\' | b';' | b'%') || byte.is_ascii_control() {
                    return false;
                }
                rest = rest.get(2..).unwrap_or_default();
            }
            b'\\' | b';' | b'#' | b'"' | b'<' | b'>' => return false,
            byte if byte.is_ascii_graphic() => {}
            _ => return false,
        }
    }
    true
}

/// The query of a request whose head was found canonical.
#[must_use]
pub fn query_of(request: &RequestHeader) -> Option<&str> {
    let target = std::str::from_utf8(request.raw_path()).ok()?;
    target.split_once('?').map(|(_, query)| query)
}

/// Whether the query carries an access token (RFC 6750 section 2.3).
#[must_use]
pub fn has_token_in_query(request: &RequestHeader) -> bool {
    query_of(request).is_some_and(|query| query::has_token_parameter(query.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_form_of_a_path_is_canonical() {
        for good in [
            "/",
            "/v1/batch",
            "/v1/batch/",
            "/a.b/~c",
            "/%20x",
            "/a%C3%A9",
            "/..a",
            "/a..",
            "/@:!$&'()*+,=",
        ] {
            assert!(is_canonical(good), "{good}");
        }
        for bad in [
            "",
            "v1",
            "//",
            "//v1",
            "/v1//batch",
            "/./v1",
            "/v1/.",
            "/v1/..",
            "/a/../b",
            "/%2e%2e/b",
            "/a%2fb",
            "/a%5Cb",
            "/a\\b",
            "/a;x=1",
            "/a%00",
            "/a%",
            "/a%4",
            "/a%zz",
            "/%41",
            "/a#b",
            "/a%3bx",
            "/a%25b",
            "*",
            "http://a/b",
        ] {
            assert!(!is_canonical(bad), "{bad}");
        }
    }
}
