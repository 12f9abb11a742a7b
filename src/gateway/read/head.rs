//! From a request's head to facts: its one canonical form, its route, its credential, its source.
//!
//! What is routed, what is decided and what is forwarded are the same bytes. A request that could be
//! read in two ways is refused here, before anything else looks at it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Version};
use pingora_http::RequestHeader;
use zeroize::Zeroizing;

use super::query;
use super::query::hex;
use super::raw_head::TARGET_BYTES_MAX;
use super::scan::BodyKeys;
use crate::config::{Api, Identify, Limits, PathPattern};
use crate::domain::cost;
use crate::domain::decision::DenyReason;
use crate::domain::facts::SourceFact;
use crate::domain::ids::{WriteKeyDigest, is_write_key_text};
use crate::domain::jws;

/// A request's head in its one canonical form.
#[derive(Debug)]
pub struct Head<'r> {
    /// Lower case, without port.
    pub host: String,
    pub path: &'r str,
}

/// The request's credential as it was sent.
pub enum Credential {
    /// No `Authorization`.
    Missing,
    /// The user of HTTP Basic: a write key. An empty password is what SDKs send.
    Basic(Zeroizing<Vec<u8>>),
    /// A bearer credential with the shape of a JWS.
    Token(Zeroizing<String>),
    /// A bearer credential of another shape, or an empty one.
    Opaque,
    /// Another scheme, or one that cannot be read.
    Unreadable,
    /// More than one.
    Conflicting,
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

/// One way to tell where the request ends, and no wish to change protocol.
fn check_framing(request: &RequestHeader) -> Result<(), DenyReason> {
    let headers = &request.headers;
    if headers.contains_key(UPGRADE) || headers.get_all(CONTENT_LENGTH).iter().count() > 1 {
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
            ["close", "keep-alive", "te", ""]
                .iter()
                .any(|known| option.eq_ignore_ascii_case(known))
        };
        if !value.split(',').all(|option| known(option.trim())) {
            return Err(DenyReason::RequestMalformed);
        }
    }
    Ok(())
}

/// One host, the same in `Host` and `:authority` where both are there.
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
        (None, None) => return Err(DenyReason::RequestMalformed),
    };
    // Cut, checked by its letters and by its labels, and folded.
    cost::count(4 * host.len());
    let host = std::str::from_utf8(host).map_err(|_| DenyReason::RequestMalformed)?;
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
    if !(is_name || is_v6)
        || port.is_empty()
        || !port.bytes().all(|byte| byte.is_ascii_digit())
        || request.version < Version::HTTP_10
    {
        return Err(DenyReason::RequestMalformed);
    }
    Ok(name.to_ascii_lowercase())
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
                let (Some(high), Some(low)) = (rest.first().and_then(hex), rest.get(1).and_then(hex)) else {
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

/// The API that a request belongs to: its host fits, and of the paths that fit the most specific wins; of two that
/// claim the same path, the one that names the host. Two that claim the same host and path are no valid config.
///
/// # Errors
/// Compared without letter case, another API's path would fit more specifically. A server behind us that
/// compares so would do there what was decided for here.
pub fn route<'a>(apis: &'a [Api], head: &Head<'_>) -> Result<Option<(usize, &'a Api)>, DenyReason> {
    let names_host = |api: &Api| api.hosts.contains(&head.host);
    let fits_host = |api: &Api| names_host(api) || api.hosts.iter().any(|host| host == "*");
    let best = |fit: fn(&PathPattern, &str) -> Option<usize>| {
        let fit = move |api: &Api| api.paths.iter().filter_map(|path| fit(path, head.path)).max();
        apis.iter()
            .enumerate()
            .filter(|(_, api)| fits_host(api))
            .filter_map(|(at, api)| fit(api).map(|specific| (specific, at, api)))
            .max_by_key(|(specific, at, api)| (*specific, names_host(api), usize::MAX - at))
    };
    let found = best(PathPattern::matches);
    let in_any_case = best(PathPattern::matches_in_any_case);
    match (found, in_any_case) {
        (Some((fits, at, _)), Some((fits_more, other, _))) if fits_more > fits && other != at => {
            Err(DenyReason::PathInvalid)
        }
        (found, _) => Ok(found.map(|(_, at, api)| (at, api))),
    }
}

/// The credential, from `Authorization` alone: a token in a query or body is never looked at
/// (RFC 6750 section 2.3 makes that optional and discouraged).
#[must_use]
pub fn credential(headers: &HeaderMap) -> Credential {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = all.next() else {
        return Credential::Missing;
    };
    if all.next().is_some() {
        return Credential::Conflicting;
    }
    let Ok(value) = value.to_str() else {
        return Credential::Unreadable;
    };
    cost::count(3 * value.len());
    // Neither a Bearer nor a Basic credential has a comma, a space or a tab in it (RFC 6750 section 2.1, RFC
    // 7617 section 2). Some servers separate by tabs, others do not; after a comma they may read another one.
    if value.contains('\t') {
        return Credential::Conflicting;
    }
    // Nothing at all is no credential to anybody.
    if value.is_empty() {
        return Credential::Opaque;
    }
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    let rest = rest.trim_start_matches(' ');
    let has_more = memchr::memchr2(b',', b' ', rest.as_bytes()).is_some();
    if scheme.eq_ignore_ascii_case("bearer") {
        if has_more {
            return Credential::Conflicting;
        }
        return match jws::looks_like_jws(rest) {
            true => Credential::Token(Zeroizing::new(rest.to_owned())),
            false => Credential::Opaque,
        };
    }
    if scheme.eq_ignore_ascii_case("basic") {
        if has_more {
            return Credential::Conflicting;
        }
        return match STANDARD.decode(rest).map(Zeroizing::new) {
            Ok(pair) => match pair.split(|byte| *byte == b':').next() {
                Some(user) if pair.contains(&b':') => Credential::Basic(Zeroizing::new(user.to_vec())),
                _ => Credential::Unreadable,
            },
            Err(_) => Credential::Unreadable,
        };
    }
    Credential::Unreadable
}

/// Whether the query carries an access token (RFC 6750 section 2.3).
#[must_use]
pub fn has_token_in_query(request: &RequestHeader) -> bool {
    query_of(request).is_some_and(|query| query::has_token_parameter(query.as_bytes()))
}

/// Whether the source can only be told with the body.
#[must_use]
pub fn needs_body(api: &Api) -> bool {
    api.identify.contains(&Identify::Body)
}

/// The source that all configured places name together.
///
/// `body` holds the keys found in the body, where the API looks there and a body came.
#[must_use]
pub fn source(
    api: &Api,
    request: &RequestHeader,
    credential: &Credential,
    body: Option<&BodyKeys>,
) -> SourceFact {
    if api.identify.contains(&Identify::Token) {
        return SourceFact::ByToken;
    }
    let mut named: Option<WriteKeyDigest> = None;
    let mut disagree = false;
    let mut add = |key: &[u8]| {
        let digest = WriteKeyDigest::of(key);
        disagree |= named.is_some_and(|earlier| earlier != digest) || !is_write_key_text(key);
        named = Some(digest);
    };
    let mut body_key = None;
    let mut is_odd = false;
    for place in &api.identify {
        match place {
            Identify::Basic => match credential {
                Credential::Basic(user) => add(user),
                // Many decoders take more than the one form: without padding, in the alphabet of URLs, with
                // bits left over. What cannot be told here names a source to a server behind us.
                Credential::Unreadable => is_odd = true,
                _ => {}
            },
            Identify::Body => {
                body_key = body.and_then(|keys| keys.top);
            }
            Identify::Query(name) => {
                let held = query_of(request);
                query::values(held, name).for_each(|key| add(&key));
                is_odd |= query::has_odd_spelling(held, name);
            }
            Identify::Header(name) => {
                let spelt = request
                    .headers
                    .iter()
                    .filter(|(held, _)| is_spelt_alike(held.as_str(), name));
                spelt.for_each(|(_, key)| add(key.as_bytes()));
            }
            Identify::Token => {}
        }
    }
    if let Some(key) = body_key {
        disagree |= named.is_some_and(|earlier| earlier != key);
        named = Some(key);
    }
    disagree |= is_odd;
    // What the events say cannot name a source, but it must not contradict the one that is named.
    if let (Some(named), Some(events)) = (named, body.and_then(|keys| keys.events)) {
        disagree |= named != events;
    }
    match named {
        _ if disagree => SourceFact::Unreadable(DenyReason::SourceAmbiguous),
        Some(key) => SourceFact::WriteKey(key),
        None => SourceFact::Unreadable(DenyReason::SourceMissing),
    }
}

/// Whether two header names are one to a server that maps headers to variables and cannot tell `_` from
/// `-` then.
#[must_use]
pub fn is_spelt_alike(one: &str, other: &str) -> bool {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte };
    one.len() == other.len() && one.bytes().zip(other.bytes()).all(|(a, b)| plain(a) == plain(b))
}

/// The query of a request whose head was found canonical.
#[must_use]
pub fn query_of(request: &RequestHeader) -> Option<&str> {
    let target = std::str::from_utf8(request.raw_path()).ok()?;
    target.split_once('?').map(|(_, query)| query)
}

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
