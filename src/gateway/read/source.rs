//! The source that a request names, in all the places where its API looks.

use std::borrow::Cow;

use http::HeaderMap;
use pingora_http::RequestHeader;
use smallvec::SmallVec;

use super::body::Held;
use super::body_keys::write_keys;
use super::credential::Credential;
use super::head::query_of;
use super::json::scan::BodyKeys;
use super::pixel::{self, PixelFault};
use super::query;
use super::refusal::Refusal;
use super::spelling::is_spelt_alike;
use super::stray_keys::StrayKeys;
use crate::config::{Api, Identify, Limits};
use crate::domain::decision::DenyReason;
use crate::domain::facts::SourceFact;
use crate::domain::ids::{WriteKeyDigest, is_write_key_text};
use crate::domain::policy::Policy;

/// What a request names: its source, and write keys in places where its API does not look.
pub struct Named {
    source: SourceFact,
    strays: StrayKeys,
    /// A sentence for JSON that could not be read.
    detail: Option<Cow<'static, str>>,
}

impl Named {
    /// What the head names, where no body is needed to know the source.
    #[must_use]
    pub fn by_head(apis: &[Api], api: &Api, request: &RequestHeader, credential: &Credential) -> Self {
        let source = source(api, request, credential, None);
        let strays = match source {
            SourceFact::ByToken => StrayKeys::in_head(apis, request),
            _ => StrayKeys::outside(apis, api, request, credential),
        };
        Self::new(source, strays)
    }

    fn new(source: SourceFact, strays: StrayKeys) -> Self {
        // Without a body, JSON can stand in a pixel alone.
        let is_pixel = source == SourceFact::Unreadable(DenyReason::BodyInvalid);
        Self {
            source,
            strays,
            detail: is_pixel.then_some(Cow::Borrowed(PIXEL_DATA)),
        }
    }

    /// What head and body name together, where the API looks in both.
    pub async fn by_body(
        apis: &[Api],
        api: &Api,
        request: &RequestHeader,
        credential: &Credential,
        body: &Held,
        limits: &Limits,
    ) -> Self {
        let strays = StrayKeys::outside(apis, api, request, credential);
        match write_keys(&request.headers, body, limits).await {
            Ok(keys) => Self::new(source(api, request, credential, keys.as_ref()), strays),
            Err(Refusal { reason, detail }) => Self {
                source: SourceFact::Unreadable(reason),
                strays,
                detail,
            },
        }
    }

    /// Adds what a body names in which the API does not look.
    pub async fn add_body(&mut self, headers: &HeaderMap, body: &Held, limits: &Limits) {
        if let Err(reason) = self.strays.add_body(headers, body, limits).await {
            self.source = SourceFact::Unreadable(reason);
        }
    }

    /// The fact for `decide`.
    #[must_use]
    pub fn fact(&self, policy: &Policy) -> SourceFact {
        match self.source {
            SourceFact::ByToken => self.strays.fact(policy),
            SourceFact::WriteKey(key) if self.strays.contradict(&key, policy) => {
                SourceFact::Unreadable(DenyReason::SourceAmbiguous)
            }
            source => source,
        }
    }

    /// What to tell the client about a denial that has its reason in the source.
    #[must_use]
    pub fn explain(
        &self,
        reason: DenyReason,
        api: &Api,
        credential: &Credential,
    ) -> Option<Cow<'static, str>> {
        if let Some(detail) = &self.detail {
            return Some(detail.clone());
        }
        let is_stray = matches!(self.source, SourceFact::WriteKey(_) | SourceFact::ByToken);
        match (reason, credential) {
            (DenyReason::SourceMissing, _) => Some(places(api).into()),
            (DenyReason::SourceAmbiguous, _) if is_stray => Some(STRAY_KEY.into()),
            (DenyReason::SourceAmbiguous, Credential::Unreadable(mistake))
                if api.identify.contains(&Identify::Basic) =>
            {
                Some(mistake.sentence().into())
            }
            _ => None,
        }
    }
}

const STRAY_KEY: &str = "the request names another source in a place where servers of this API may look (query, header, Authorization or body); send one write key, once";

const PIXEL_DATA: &str =
    "the parameter `data` is not base64 of one JSON object; percent-encode `+`, `/` and `=` in it";

/// Says where an API looks for a write key.
fn places(api: &Api) -> String {
    let places = api.identify.iter().map(|place| match place {
        Identify::Basic => "as the user of HTTP Basic".to_owned(),
        Identify::Body => "as `writeKey` of a JSON body".to_owned(),
        Identify::Query(name) => format!("in the query parameter `{name}`"),
        Identify::Header(name) => format!("in the header `{name}`"),
        Identify::Pixel => "in the query, as `writeKey` or in `data`".to_owned(),
        Identify::Token => "in the access token".to_owned(),
    });
    let places: Vec<String> = places.collect();
    format!(
        "the request names no source; send its write key {}",
        places.join(", or ")
    )
}

/// Whether the body is needed to know the source.
#[must_use]
pub fn needs_body(api: &Api) -> bool {
    api.identify.contains(&Identify::Body)
}

/// The source that all places name together where the API looks.
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
    let mut in_json: SmallVec<[BodyKeys; 2]> = SmallVec::new();
    let mut is_odd = false;
    for place in &api.identify {
        match place {
            Identify::Basic => match credential {
                Credential::Basic(user) => add(user),
                // Many decoders accept more than the one form: without padding, in the alphabet of URLs, with bits
                // left over. A credential that is unreadable here names a source to a server behind us.
                Credential::Unreadable(_) => is_odd = true,
                _ => {}
            },
            Identify::Body => in_json.extend(body.copied()),
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
            Identify::Pixel => match pixel::read(query_of(request)) {
                Ok(pixel) => {
                    pixel.keys.iter().for_each(|key| add(key));
                    in_json.extend(pixel.data);
                }
                Err(PixelFault::Data) => return SourceFact::Unreadable(DenyReason::BodyInvalid),
                Err(PixelFault::Ambiguous) => is_odd = true,
            },
            Identify::Token => {}
        }
    }
    for key in in_json.iter().filter_map(|keys| keys.top) {
        disagree |= named.is_some_and(|earlier| earlier != key);
        named = Some(key);
    }
    disagree |= is_odd;
    // The events cannot name a source, but they must not contradict the source that is named.
    let mut events = in_json.iter().filter_map(|keys| keys.events);
    if let Some(named) = named {
        disagree |= events.any(|key| key != named);
    }
    match named {
        _ if disagree => SourceFact::Unreadable(DenyReason::SourceAmbiguous),
        Some(key) => SourceFact::WriteKey(key),
        None => SourceFact::Unreadable(DenyReason::SourceMissing),
    }
}
