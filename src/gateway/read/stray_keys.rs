//! Write keys in places where an API does not look, so that an enforced source stays enforced wherever its key is sent.
//!
//! A server behind an API may read a write key from another place than the API does and take the events for another
//! source. So the places where clients and servers put write keys are all looked at: `Authorization`, the query,
//! headers, and a body that can be read. On an API that identifies by token, `decide` judges the key it is given
//! ([`SourceFact::ByTokenBeside`]); on one that identifies sources, another known source makes the request ambiguous.
//! This is the second line of defence: the first is an upstream, or a host, that an API does not share.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use pingora_http::RequestHeader;
use smallvec::SmallVec;
use zeroize::Zeroizing;

use super::body::Held;
use super::body_keys::{Found, WRITE_KEY_PARAMETER, keys_of_any};
use super::credential::Credential;
use super::head::query_of;
use super::pixel::{DATA_PARAMETER, in_one_alphabet, read_forgivingly};
use super::query::ValueSearch;
use super::spelling::is_spelt_alike;
use crate::config::{Api, Identify, Limits};
use crate::domain::decision::DenyReason;
use crate::domain::facts::SourceFact;
use crate::domain::ids::{WRITE_KEY_BYTES_MAX, WriteKeyDigest, is_write_key_text};
use crate::domain::policy::{Enforcement, Policy};

/// The header that servers of this family read a write key from (Jitsu).
const WRITE_KEY_HEADER: &str = "x-write-key";

/// So many different texts of one request may be write keys. No client sends more than two.
const KEYS_MAX: usize = 64;

/// Decodes as forgivingly as any server: with or without padding, with bits left over.
const FORGIVING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What may be write keys in one request. Most are texts of other kinds, which no source has as its key.
#[derive(Default)]
pub struct StrayKeys {
    credentials: SmallVec<[WriteKeyDigest; 4]>,
    others: SmallVec<[WriteKeyDigest; 4]>,
    /// There are too many, or one place names two.
    is_ambiguous: bool,
}

impl StrayKeys {
    /// Those in the head. Besides the usual places, all those that an API of this gateway identifies sources by
    /// are looked at.
    #[must_use]
    pub fn in_head(apis: &[Api], request: &RequestHeader) -> Self {
        let mut keys = Self {
            credentials: credentials(&request.headers),
            ..Self::default()
        };
        keys.add_others(apis, request);
        keys
    }

    /// Those in the head of a request to an API that identifies sources, apart from the places where it looks itself.
    #[must_use]
    pub fn outside(apis: &[Api], api: &Api, request: &RequestHeader, credential: &Credential) -> Self {
        let is_read = match credential {
            Credential::Missing | Credential::Token(_) => true,
            Credential::Basic(_) => api.identify.contains(&Identify::Basic),
            _ => false,
        };
        let mut keys = Self::default();
        if !is_read {
            keys.credentials = credentials(&request.headers);
        }
        keys.add_others(apis, request);
        keys
    }

    fn add_others(&mut self, apis: &[Api], request: &RequestHeader) {
        let places = || apis.iter().flat_map(|api| &api.identify);
        if let Some(query) = query_of(request) {
            let parameters = places().filter_map(|place| match place {
                Identify::Query(name) => Some(name.as_str()),
                _ => None,
            });
            let names: SmallVec<[&str; 8]> = parameters.chain([WRITE_KEY_PARAMETER]).collect();
            ValueSearch::new(query.as_bytes(), &names).advance(usize::MAX, |value| self.add_value(value));
            ValueSearch::new(query.as_bytes(), &[DATA_PARAMETER])
                .advance(usize::MAX, |data| self.add_pixel(data.unwrap_or_default()));
        }
        let headers = places().filter_map(|place| match place {
            Identify::Header(name) => Some(name.as_str()),
            _ => None,
        });
        let names: SmallVec<[&str; 8]> = headers.chain([WRITE_KEY_HEADER]).collect();
        for (held, value) in &request.headers {
            if names.iter().any(|name| is_spelt_alike(held.as_str(), name)) {
                self.add_value(Some(value.as_bytes()));
            }
        }
    }

    /// Adds what a body names. A body that cannot be read names nothing.
    ///
    /// # Errors
    /// [`DenyReason::Overloaded`] for a large body that waited too long for its turn.
    pub async fn add_body(
        &mut self,
        headers: &HeaderMap,
        body: &Held,
        limits: &Limits,
    ) -> Result<(), DenyReason> {
        let searched = keys_of_any(headers, body, limits, |found| match found {
            Found::Key(key) => self.add(key),
            Found::Value(value) => self.add_value(value),
        });
        match searched.await {
            Err(DenyReason::SourceAmbiguous) => self.is_ambiguous = true,
            other => return other,
        }
        Ok(())
    }

    fn add(&mut self, key: WriteKeyDigest) {
        if self.others.contains(&key) {
            return;
        }
        match self.others.len() < KEYS_MAX {
            true => self.others.push(key),
            false => self.is_ambiguous = true,
        }
    }

    fn add_value(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => may_be_key(value).into_iter().for_each(|key| self.add(key)),
            None => self.is_ambiguous = true,
        }
    }

    fn add_pixel(&mut self, data: &[u8]) {
        match read_forgivingly(data) {
            Ok(keys) => [keys.top, keys.events]
                .into_iter()
                .flatten()
                .for_each(|key| self.add(key)),
            Err(_) => self.is_ambiguous = true,
        }
    }

    /// The fact for an API that identifies by token: of several keys the one whose source is the most strictly
    /// enforced.
    #[must_use]
    pub fn fact(&self, policy: &Policy) -> SourceFact {
        if self.is_ambiguous {
            return SourceFact::Unreadable(DenyReason::SourceAmbiguous);
        }
        let strictness = |key: &WriteKeyDigest| {
            policy.source(key).map(|source| match source.enforcement {
                Enforcement::Off => 0_u8,
                Enforcement::Observe => 1,
                Enforcement::On => 2,
            })
        };
        let as_credential = self.credentials.iter().find(|key| policy.source(key).is_some());
        let others = || self.others.iter().max_by_key(|key| strictness(key));
        match as_credential.or_else(others) {
            Some(key) => SourceFact::ByTokenBeside {
                key: *key,
                is_credential: as_credential.is_some(),
            },
            None => SourceFact::ByToken,
        }
    }

    /// Whether some place names a known source other than this one.
    #[must_use]
    pub fn contradict(&self, named: &WriteKeyDigest, policy: &Policy) -> bool {
        let mut all = self.credentials.iter().chain(&self.others);
        self.is_ambiguous || all.any(|key| key != named && policy.source(key).is_some())
    }
}

/// The digest of a text that has the form of a write key, without the white space around it.
fn may_be_key(text: &[u8]) -> Option<WriteKeyDigest> {
    let text = text.trim_ascii();
    let is_key = (1..=WRITE_KEY_BYTES_MAX).contains(&text.len()) && is_write_key_text(text);
    is_key.then(|| WriteKeyDigest::of(text))
}

/// What a server might take for a write key in `Authorization`: all of it, what follows its scheme, and the user of
/// Basic, decoded as forgivingly as any server does. Some servers decode what follows the scheme, and do not look at
/// the scheme.
fn credentials(headers: &HeaderMap) -> SmallVec<[WriteKeyDigest; 4]> {
    let mut keys = SmallVec::new();
    for value in headers.get_all(AUTHORIZATION) {
        let value = value.as_bytes().trim_ascii();
        keys.extend(may_be_key(value));
        let mut parts = value.splitn(2, |byte| *byte == b' ');
        let (first, rest) = (parts.next().unwrap_or_default(), parts.next());
        keys.extend(rest.and_then(may_be_key));
        let user = basic_user(rest.unwrap_or(first).trim_ascii());
        keys.extend(user.and_then(|user| may_be_key(&user)));
    }
    keys
}

fn basic_user(encoded: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let pair = FORGIVING
        .decode(&*in_one_alphabet(encoded))
        .map(Zeroizing::new)
        .ok()?;
    let user = pair.split(|byte| *byte == b':').next()?;
    Some(Zeroizing::new(user.to_vec()))
}
