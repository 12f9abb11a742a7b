//! The credential of a request, from `Authorization` alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

use crate::domain::cost;
use crate::domain::jws;

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
