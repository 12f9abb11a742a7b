//! Write keys on an API that identifies by token, so that an enforced source stays enforced wherever its key is sent.
//!
//! Such an API asks for no source and may forward what carries no token. A server behind it may still read a
//! write key out of the request and take the events. So the places where clients and servers put write keys are
//! looked at: `Authorization`, the query, headers, and a body that can be read. What `decide` makes of a key is in
//! [`SourceFact::ByTokenBeside`]. This is the second line of defence: the first is an upstream, or a host, that the
//! API does not share with one that identifies sources.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use pingora_http::RequestHeader;
use smallvec::SmallVec;
use zeroize::Zeroizing;

use super::body;
use super::body::Held;
use super::content;
use super::head::query_of;
use super::query;
use super::spelling::is_spelt_alike;
use crate::config::{Api, Identify, Limits};
use crate::domain::decision::DenyReason;
use crate::domain::facts::SourceFact;
use crate::domain::ids::{WRITE_KEY_BYTES_MAX, WriteKeyDigest, is_write_key_text};
use crate::domain::policy::{Enforcement, Policy};

/// The parameter that event APIs of this family read a write key from.
const PARAMETER: &str = "writeKey";

/// The header that they read it from (Jitsu).
const HEADER: &str = "x-write-key";

/// As forgiving as any server: with or without padding, with bits left over.
const FORGIVING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a request names.
pub enum Named {
    /// Its source, or why that cannot be told.
    Source(SourceFact),
    /// Nothing that its API asks for; these keys all the same.
    ByToken(StrayKeys),
}

impl Named {
    /// The fact for `decide`.
    #[must_use]
    pub fn fact(&self, policy: &Policy) -> SourceFact {
        match self {
            Self::Source(source) => *source,
            Self::ByToken(keys) => keys.fact(policy),
        }
    }

    /// Adds what a body names on an API that identifies by token. A body that cannot be read names nothing here,
    /// unless it names two things.
    pub async fn add_body(&mut self, headers: &HeaderMap, body: &Held, limits: &Limits) {
        let Self::ByToken(keys) = self else { return };
        match body::write_keys(headers, body, limits).await {
            Ok(found) => keys
                .others
                .extend(found.iter().flat_map(|found| [found.top, found.events]).flatten()),
            Err(DenyReason::SourceAmbiguous) => {
                *self = Self::Source(SourceFact::Unreadable(DenyReason::SourceAmbiguous));
            }
            Err(_) if content::has_form(headers) => {
                let values = query::values_to_somebody(body.bytes(), PARAMETER);
                keys.others.extend(values.filter_map(|value| may_be_key(&value)));
            }
            Err(_) => {}
        }
    }
}

/// What may be write keys in one request. Most are texts of other kinds, which no source has as its key.
#[derive(Default)]
pub struct StrayKeys {
    credentials: SmallVec<[WriteKeyDigest; 4]>,
    others: SmallVec<[WriteKeyDigest; 4]>,
}

impl StrayKeys {
    /// Those in the head. Besides the usual places, all those that an API of this gateway identifies sources by
    /// are looked at.
    #[must_use]
    pub fn in_head(apis: &[Api], request: &RequestHeader) -> Self {
        let mut keys = Self {
            credentials: credentials(&request.headers),
            others: SmallVec::new(),
        };
        let places = || apis.iter().flat_map(|api| &api.identify);
        let parameters = places().filter_map(|place| match place {
            Identify::Query(name) => Some(name.as_str()),
            _ => None,
        });
        let query = query_of(request).unwrap_or_default().as_bytes();
        for name in parameters.chain([PARAMETER]) {
            let values = query::values_to_somebody(query, name);
            keys.others.extend(values.filter_map(|value| may_be_key(&value)));
        }
        let headers = places().filter_map(|place| match place {
            Identify::Header(name) => Some(name.as_str()),
            _ => None,
        });
        for name in headers.chain([HEADER]) {
            let spelt = request.headers.iter();
            let spelt = spelt.filter(|(held, _)| is_spelt_alike(held.as_str(), name));
            keys.others
                .extend(spelt.filter_map(|(_, value)| may_be_key(value.as_bytes())));
        }
        keys
    }

    /// Of several keys the one whose source is the most strictly enforced.
    fn fact(&self, policy: &Policy) -> SourceFact {
        let strictness = |key: &WriteKeyDigest| {
            policy.source(key).map(|source| match source.enforcement {
                Enforcement::Off => 0_u8,
                Enforcement::Observe => 1,
                Enforcement::On => 2,
            })
        };
        let as_credential = self.credentials.iter().find(|key| policy.source(key).is_some());
        let beside = || self.others.iter().max_by_key(|key| strictness(key));
        match as_credential.or_else(beside) {
            Some(key) => SourceFact::ByTokenBeside {
                key: *key,
                is_credential: as_credential.is_some(),
            },
            None => SourceFact::ByToken,
        }
    }
}

/// The digest of a text that has the form of a write key, whatever white space stands around it.
fn may_be_key(text: &[u8]) -> Option<WriteKeyDigest> {
    let text = text.trim_ascii();
    let is_key = (1..=WRITE_KEY_BYTES_MAX).contains(&text.len()) && is_write_key_text(text);
    is_key.then(|| WriteKeyDigest::of(text))
}

/// What a server might take for a write key in `Authorization`: the whole of it, what follows its scheme, and the
/// user of Basic, decoded as forgivingly as anybody does.
fn credentials(headers: &HeaderMap) -> SmallVec<[WriteKeyDigest; 4]> {
    let mut keys = SmallVec::new();
    for value in headers.get_all(AUTHORIZATION) {
        let value = value.as_bytes().trim_ascii();
        keys.extend(may_be_key(value));
        let mut parts = value.splitn(2, |byte| *byte == b' ');
        let (Some(scheme), Some(rest)) = (parts.next(), parts.next()) else {
            continue;
        };
        keys.extend(may_be_key(rest));
        if scheme.eq_ignore_ascii_case(b"basic") {
            keys.extend(basic_user(rest.trim_ascii()).and_then(|user| may_be_key(&user)));
        }
    }
    keys
}

fn basic_user(encoded: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let in_one_alphabet = encoded.iter().map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => *other,
    });
    let standard: Zeroizing<Vec<u8>> = Zeroizing::new(in_one_alphabet.collect());
    let pair = FORGIVING.decode(standard.as_slice()).map(Zeroizing::new).ok()?;
    let user = pair.split(|byte| *byte == b':').next()?;
    Some(Zeroizing::new(user.to_vec()))
}
