//! Request targets in absolute-form, as clients send them to a proxy (RFC 9112 section 3.2.2).
//!
//! The target is split into its authority and its origin-form, and only the latter goes on: routing, decision and
//! forwarding see the same request as if the client had sent the origin-form. RFC 9112 tells a proxy to ignore a
//! `Host` that names another host. This gateway rejects it: a server behind it may read either.

use http::Version;
use http::header::HOST;
use http::{HeaderValue, uri::Authority};
use pingora_http::RequestHeader;

use crate::domain::cost;
use crate::domain::decision::DenyReason;

/// Rewrites a target in absolute-form to origin-form. Other targets stay.
///
/// # Errors
/// The authority is malformed, or `Host` is missing in HTTP/1.1, repeated, or names another host.
pub fn to_origin_form(request: &mut RequestHeader) -> Result<(), DenyReason> {
    let target = request.raw_path();
    // Nearly always it begins with `/` here.
    let Some(rest) = without_scheme(target) else {
        return Ok(());
    };
    cost::count(3 * target.len());
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
    let (authority, path) = rest
        .split_at_checked(end.unwrap_or(rest.len()))
        .unwrap_or_default();
    let malformed = DenyReason::RequestMalformed;
    if authority.contains(&b'@') || Authority::try_from(authority).is_err() {
        return Err(malformed);
    }
    let mut hosts = request.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if host.as_bytes().eq_ignore_ascii_case(authority) => {}
        (None, None) if request.version == Version::HTTP_10 => {}
        _ => return Err(malformed),
    }
    let origin = match path.first() {
        Some(b'/') => path.to_vec(),
        // An empty path is `/` (RFC 9110 section 4.2.3). `OPTIONS` would ask about the whole server by it, which
        // is `*` in origin-form and belongs to no API.
        None if request.method == http::Method::OPTIONS => return Err(DenyReason::PathInvalid),
        _ => [b"/".as_slice(), path].concat(),
    };
    let host = HeaderValue::from_bytes(authority).map_err(|_| malformed)?;
    request
        .set_raw_path(&origin)
        .map_err(|_| DenyReason::PathInvalid)?;
    request.insert_header(HOST, host).map_err(|_| malformed)
}

/// The rest of a target behind `http://` or `https://`, in any letter case.
fn without_scheme(target: &[u8]) -> Option<&[u8]> {
    ["http://", "https://"].iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, host: Option<&str>) -> RequestHeader {
        let mut request = RequestHeader::build("POST", target.as_bytes(), None).unwrap();
        if let Some(host) = host {
            request.insert_header(HOST, host).unwrap();
        }
        request
    }

    #[test]
    fn absolute_form_becomes_origin_form() {
        for (target, origin) in [
            ("http://a.test/v1/batch?b=1", "/v1/batch?b=1"),
            ("HTTPS://A.test/", "/"),
            ("http://a.test", "/"),
            ("http://a.test?b=1", "/?b=1"),
            ("/v1/batch", "/v1/batch"),
        ] {
            let mut request = request(target, Some("a.test"));
            to_origin_form(&mut request).unwrap();
            assert_eq!(request.raw_path(), origin.as_bytes(), "{target}");
            assert_eq!(request.headers.get_all(HOST).iter().count(), 1);
            assert_eq!(request.uri.authority(), None);
        }
    }

    #[test]
    fn absolute_form_of_another_host_is_rejected() {
        for (target, host) in [
            ("http://a.test/", Some("b.test")),
            ("http://a.test/", Some("a.test:80")),
            ("http://a.test:80/", Some("a.test")),
            ("http://a.test/", None),
            ("http://a@a.test/", Some("a.test")),
            ("http:///v1/batch", Some("a.test")),
            ("http://?b=1", Some("a.test")),
        ] {
            let mut request = request(target, host);
            request.set_version(Version::HTTP_11);
            assert!(to_origin_form(&mut request).is_err(), "{target} {host:?}");
        }
    }

    #[test]
    fn absolute_form_gives_http10_its_host() {
        let mut request = request("http://a.test/v1/batch", None);
        request.set_version(Version::HTTP_10);
        to_origin_form(&mut request).unwrap();
        assert_eq!(request.headers[HOST], "a.test");
    }
}
