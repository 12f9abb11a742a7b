//! What a request says besides its path and body, and what its answer says besides its body: `If-Match` and
//! `ETag` (RFC 9110), `Idempotency-Key`.

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::json::Json;
use crate::control::actor::{Actor, IdempotencyKey, IfMatch};
use crate::control::bad_request::BadRequest;
use crate::control::conflict::Conflict;
use crate::control::error::ControlError;
use crate::control::plane::Control;
use crate::domain::decimal::canonical;
use crate::domain::digest::{Chain, sha256};

/// The header of the idempotency key.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The longest key, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// Entity tags that one `If-Match` may list.
const TAGS_MAX: usize = 16;

/// A resource with its revision: the body of a response with an `ETag`.
pub struct Tagged<T> {
    status: StatusCode,
    revision: u64,
    body: T,
}

impl<T> Tagged<T> {
    /// An existing resource: 200.
    pub const fn shown(revision: u64, body: T) -> Self {
        Self {
            status: StatusCode::OK,
            revision,
            body,
        }
    }

    /// A new resource: 201.
    pub const fn created(revision: u64, body: T) -> Self {
        Self {
            status: StatusCode::CREATED,
            revision,
            body,
        }
    }
}

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.body)).into_response();
        if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", self.revision)) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

/// The revisions that `If-Match` names.
pub fn if_match(parts: &Parts) -> Result<IfMatch, BadRequest> {
    let mut tags = Vec::new();
    for value in parts.headers.get_all(header::IF_MATCH) {
        let text = value.to_str().map_err(|_| BadRequest::IfMatch)?.trim();
        if text == "*" {
            return Ok(IfMatch::Any);
        }
        for tag in text.split(',') {
            let inner = tag
                .trim()
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'));
            let inner = inner.ok_or(BadRequest::IfMatch)?;
            if tags.len() == TAGS_MAX || inner.contains('"') {
                return Err(BadRequest::IfMatch);
            }
            // A tag that is not a number is valid and matches nothing.
            tags.push(canonical(inner).unwrap_or(0));
        }
    }
    Ok(if tags.is_empty() {
        IfMatch::Any
    } else {
        IfMatch::Revisions(tags)
    })
}

/// A JSON body that creates a resource, with its `Idempotency-Key`.
pub struct Creation<T> {
    new: T,
    key: Option<Key>,
}

/// What identifies a retry of a request.
struct Key {
    text: String,
    method_and_path: String,
    body_digest: [u8; 32],
}

/// Whether a request to create a resource is new or a retry.
pub enum Idempotency<T> {
    /// A new request.
    New(Actor, T),
    /// A retry of a request that created the resource with this ID.
    Replay(String),
}

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Creation<T> {
    type Rejection = ControlError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ControlError> {
        let text = key_text(request.headers())?;
        let method_and_path = format!("{} {}", request.method(), request.uri().path());
        let (Json(new), bytes) = Json::with_bytes(request).await?;
        Ok(Self {
            new,
            key: text.map(|text| Key {
                text,
                method_and_path,
                body_digest: sha256(&bytes),
            }),
        })
    }
}

fn key_text(headers: &HeaderMap) -> Result<Option<String>, BadRequest> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    let fits = (1..=KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits && values.next().is_none() {
        Ok(Some(text.to_owned()))
    } else {
        Err(BadRequest::IdempotencyKey)
    }
}

impl<T> Creation<T> {
    /// Looks up the idempotency key.
    pub async fn begin(self, control: &Control, actor: &Actor) -> Result<Idempotency<T>, ControlError> {
        let Some(key) = self.key else {
            return Ok(Idempotency::New(actor.clone(), self.new));
        };
        let member = actor.as_member().map(|member| member.id.as_str());
        let mut digest = Chain::new("portcullis idempotency key");
        digest.text(member);
        digest.text(Some(&key.method_and_path));
        digest.text(Some(&key.text));
        let key = IdempotencyKey {
            digest: URL_SAFE_NO_PAD.encode(digest.finish()),
            body_digest: URL_SAFE_NO_PAD.encode(key.body_digest),
        };
        Ok(match control.changes.created_before(&key).await? {
            Some(made) => Idempotency::Replay(made),
            None => {
                let actor = Actor {
                    idempotency_key: Some(key),
                    ..actor.clone()
                };
                Idempotency::New(actor, self.new)
            }
        })
    }

    /// The same for a resource whose secret is shown once: a retry fails.
    pub async fn begin_once(self, control: &Control, actor: &Actor) -> Result<(Actor, T), ControlError> {
        match self.begin(control, actor).await? {
            Idempotency::New(actor, new) => Ok((actor, new)),
            Idempotency::Replay(_) => Err(Conflict::RetriedForSecret.into()),
        }
    }
}

/// The resource of a retried request, if it still exists.
pub fn still_there<T>(found: Result<T, ControlError>) -> Result<T, ControlError> {
    found.map_err(|error| match error {
        ControlError::NotFound(_) => Conflict::RetriedTooLate.into(),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &str) -> Result<IfMatch, BadRequest> {
        let request = http::Request::get("/")
            .header("if-match", value)
            .body(())
            .unwrap();
        if_match(&request.into_parts().0)
    }

    #[test]
    fn entity_tags_are_read_as_they_are_written() {
        assert_eq!(parsed("\"3\""), Ok(IfMatch::Revisions(vec![3])));
        assert_eq!(parsed("\"3\", \"4\""), Ok(IfMatch::Revisions(vec![3, 4])));
        assert_eq!(parsed("*"), Ok(IfMatch::Any));
        assert_eq!(
            parsed("\"abc\""),
            Ok(IfMatch::Revisions(vec![0])),
            "matches nothing"
        );
        for bad in ["3", "W/\"3\"", "\"3", "", "\"3\",", "\"3\"\"4\""] {
            assert_eq!(parsed(bad), Err(BadRequest::IfMatch), "{bad:?}");
        }
    }
}
