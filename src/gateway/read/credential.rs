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
    /// One word under a known scheme that is neither `Basic` nor `Bearer`.
    OtherScheme {
        scheme: &'static str,
        value: Zeroizing<String>,
    },
    /// Some servers read a credential in it, and others do not or another one.
    Unreadable(Mistake),
    /// More than one.
    Conflicting,
}

/// What makes a credential unreadable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Bytes beyond ASCII.
    Text,
    /// `Basic` with something that is not the base64 of a pair.
    Basic,
    /// `Bearer:`, or `Bearer` without a space behind it.
    Bearer,
    /// One word, as a token without `Bearer` before it.
    NoScheme,
    /// A scheme that nobody registered.
    Scheme,
}

impl Mistake {
    /// What to send instead.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Text => "the Authorization header has characters beyond ASCII; send Basic or Bearer",
            Self::Basic => {
                "the Basic credential is not the base64 of a write key and a colon; send base64(WRITE_KEY:)"
            }
            Self::Bearer => {
                "the Authorization header has no space behind Bearer; send Bearer, one space and the token"
            }
            Self::NoScheme => {
                "the Authorization header has no scheme; send Bearer and the token, or Basic and base64(WRITE_KEY:)"
            }
            Self::Scheme => {
                "the scheme of the Authorization header is not known; send Bearer and the token, or Basic and base64(WRITE_KEY:)"
            }
        }
    }
}

/// Schemes that no server takes for Basic or Bearer: those registered with IANA, and some in wide use.
const OTHER_SCHEMES: [&str; 16] = [
    "AWS4-HMAC-SHA256",
    "Concealed",
    "Digest",
    "DPoP",
    "GNAP",
    "Hawk",
    "HMAC",
    "HOBA",
    "Mutual",
    "Negotiate",
    "NTLM",
    "OAuth",
    "PrivateToken",
    "SCRAM-SHA-1",
    "SCRAM-SHA-256",
    "vapid",
];

/// Reads the credential. A token in a query or body is never looked at (RFC 6750 section 2.3 makes that optional and
/// discouraged).
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
        return Credential::Unreadable(Mistake::Text);
    };
    cost::count(3 * value.len());
    // Neither a Bearer nor a Basic credential has a comma, a space or a tab in it (RFC 6750 section 2.1, RFC
    // 7617 section 2). Some servers separate by tabs, others do not; after a comma they may read another one.
    if value.contains('\t') {
        return Credential::Conflicting;
    }
    // No server reads a credential in an empty value.
    if value.is_empty() {
        return Credential::Opaque;
    }
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    let rest = rest.trim_start_matches(' ');
    let has_more = memchr::memchr2(b',', b' ', rest.as_bytes()).is_some();
    let is = |name: &str| scheme.eq_ignore_ascii_case(name);
    match scheme {
        _ if (is("bearer") || is("basic")) && has_more => Credential::Conflicting,
        _ if is("bearer") && jws::looks_like_jws(rest) => Credential::Token(Zeroizing::new(rest.to_owned())),
        _ if is("bearer") => Credential::Opaque,
        _ if is("basic") => basic(rest),
        _ => other(scheme, rest, has_more),
    }
}

fn basic(encoded: &str) -> Credential {
    let Ok(pair) = STANDARD.decode(encoded).map(Zeroizing::new) else {
        return Credential::Unreadable(Mistake::Basic);
    };
    match pair.split(|byte| *byte == b':').next() {
        Some(user) if pair.contains(&b':') => Credential::Basic(Zeroizing::new(user.to_vec())),
        _ => Credential::Unreadable(Mistake::Basic),
    }
}

fn other(scheme: &str, rest: &str, has_more: bool) -> Credential {
    let known = OTHER_SCHEMES
        .iter()
        .find(|known| scheme.eq_ignore_ascii_case(known));
    let begins = |name: &str| {
        let start = scheme.get(..name.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(name))
    };
    match known {
        Some(scheme) if !rest.is_empty() && !has_more => Credential::OtherScheme {
            scheme,
            value: Zeroizing::new(rest.to_owned()),
        },
        _ if begins("bearer") => Credential::Unreadable(Mistake::Bearer),
        _ if begins("basic") => Credential::Unreadable(Mistake::Basic),
        _ if rest.is_empty() => Credential::Unreadable(Mistake::NoScheme),
        _ => Credential::Unreadable(Mistake::Scheme),
    }
}
