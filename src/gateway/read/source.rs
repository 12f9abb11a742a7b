//! The source that a request names, in all the places where its API looks.

use pingora_http::RequestHeader;

use super::credential::Credential;
use super::head::query_of;
use super::json::scan::BodyKeys;
use super::query;
use super::spelling::is_spelt_alike;
use crate::config::{Api, Identify};
use crate::domain::decision::DenyReason;
use crate::domain::facts::SourceFact;
use crate::domain::ids::{WriteKeyDigest, is_write_key_text};

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
