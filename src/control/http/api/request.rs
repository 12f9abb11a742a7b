//! What a management request says: its body, its page, who sent it and which workspace it is for.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use http::header;
use http::request::Parts;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::conditions::if_match;
use super::list::ListPage;
use super::session::in_session;
use crate::control::actor::Actor;
use crate::control::error::{BadRequest, ControlError};
use crate::control::form::Form;
use crate::control::http::body::{has_media_type, has_nul_escape, read_body};
use crate::control::http::memory::Reservation;
use crate::control::plane::Control;
use crate::control::rate_limits::ClientAddress;
use crate::domain::decimal::digits;
use crate::domain::ids::{AppId, ID_BYTES_MAX, KeyId, MemberId, SourceId, WorkspaceId};
use crate::store::members::Member;
use crate::store::standing::Credential;

/// Items on one page of a list, unless `limit` asks for another number.
const PAGE_ITEMS: u32 = 50;

/// The most items on one page.
const PAGE_ITEMS_MAX: u32 = 200;

/// A JSON body. Unknown and repeated members are refused.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = ControlError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ControlError> {
        Ok(Self::with_bytes(request).await?.0)
    }
}

impl<T: DeserializeOwned> Json<T> {
    /// Reads a body. Its bytes come with it.
    pub async fn with_bytes(request: Request) -> Result<(Self, Bytes), ControlError> {
        if !has_media_type(request.headers(), "application/json") {
            return Err(BadRequest::NotJson.into());
        }
        let bytes = read_body(request.into_body()).await?;
        if has_nul_escape(&bytes) {
            refuse_nul(&bytes)?;
        }
        let mut reader = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let path = error.path().to_string();
            json_error(&path, error.inner())
        })?;
        reader.end().map_err(|_| BadRequest::Malformed)?;
        Ok((Self(value), bytes))
    }
}

/// Names the field that holds a NUL character. A text that is no JSON is told so elsewhere.
fn refuse_nul(json: &[u8]) -> Result<(), ControlError> {
    let value = serde_json::from_slice(json).unwrap_or_default();
    match nul_in(&value) {
        None => Ok(()),
        Some(path) => Err(ControlError::invalid(
            path.trim_start_matches('.'),
            "the value has a NUL character",
        )),
    }
}

/// The path of the first text that has a NUL character.
fn nul_in(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(at, item)| Some(format!("[{at}]{}", nul_in(item)?))),
        Value::Object(members) => members
            .iter()
            .find_map(|(name, member)| Some(format!(".{name}{}", nul_in(member)?))),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// Names the field at fault. What was sent stays out of the sentence: it may be a private key.
fn json_error(path: &str, error: &serde_json::Error) -> ControlError {
    if !error.is_data() {
        return BadRequest::Malformed.into();
    }
    let sentence = error.to_string();
    let named = sentence.split('`').nth(1).unwrap_or_default().to_owned();
    let at = |name: &str| match path {
        "." => name.to_owned(),
        // The path of an unknown or repeated field ends with it already.
        path if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
        path => format!("{path}.{name}"),
    };
    if sentence.starts_with("unknown field") {
        ControlError::invalid(at(&named), "there is no such field")
    } else if sentence.starts_with("missing field") {
        ControlError::invalid(at(&named), "the field is missing")
    } else if sentence.starts_with("duplicate field") {
        ControlError::invalid(at(&named), "the field is repeated")
    } else {
        ControlError::invalid(path, "the value is not of the type that belongs here")
    }
}

/// Which page of a list is asked for: `?limit=&after=`.
pub struct PageQuery {
    limit: u32,
    after: String,
    /// What the request may hold, its page too.
    reservation: Option<Arc<Reservation>>,
}

impl<S: Sync> FromRequestParts<S> for PageQuery {
    type Rejection = ControlError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ControlError> {
        Self::of(&query(parts, &["limit", "after"])?, parts)
    }
}

impl PageQuery {
    /// The page that a query asks for.
    pub fn of(query: &Form, parts: &Parts) -> Result<Self, ControlError> {
        let limit = query.get("limit").map_or(Some(PAGE_ITEMS), digits);
        let limit = limit
            .filter(|limit| (1..=PAGE_ITEMS_MAX).contains(limit))
            .ok_or_else(|| {
                ControlError::invalid(
                    "limit",
                    format!("the limit is a number from 1 to {PAGE_ITEMS_MAX}"),
                )
            })?;
        let after = query.get("after").unwrap_or_default();
        if after.len() > ID_BYTES_MAX {
            return Err(ControlError::invalid("after", "this is no cursor of a list"));
        }
        Ok(Self {
            limit,
            after: after.to_owned(),
            reservation: parts.extensions.get().cloned(),
        })
    }

    /// The page, to be written.
    pub fn page(&self) -> ListPage {
        ListPage::new(self.limit, &self.after, self.reservation.clone())
    }
}

/// One page of a list. `next` is the `after` of the page that follows.
#[derive(Serialize, JsonSchema)]
pub struct List<T> {
    items: Vec<T>,
    next: Option<String>,
}

impl<T> List<T> {
    /// A list that is never longer than one page.
    pub const fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

/// `?name=true` or `?name=false`, and no other parameter. False unless given.
pub fn flag(parts: &Parts, name: &'static str) -> Result<bool, ControlError> {
    match query(parts, &[name])?.get(name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(ControlError::invalid(name, "this is neither true nor false")),
    }
}

/// The query's parameters, all of them among `known`.
pub fn query(parts: &Parts, known: &[&str]) -> Result<Form, ControlError> {
    let query = Form::parse(parts.uri.query().unwrap_or_default().as_bytes())
        .map_err(|error| ControlError::invalid("query", error.to_string()))?;
    let refused = |name: &str, problem| {
        let name: String = name.chars().take(40).collect();
        Err(ControlError::invalid(name, problem))
    };
    match (query.unknown(known), query.without_value()) {
        (Some(name), _) => refused(name, "there is no such parameter"),
        // The first page has no cursor.
        (None, Some(name)) if name != "after" => refused(name, "the parameter has no value"),
        (None, _) => Ok(query),
    }
}

/// Who sent the request: a member, in the workspace that their credential was made in.
pub struct Caller(pub Actor);

impl FromRequestParts<Arc<Control>> for Caller {
    type Rejection = ControlError;

    async fn from_request_parts(parts: &mut Parts, control: &Arc<Control>) -> Result<Self, ControlError> {
        let (member, credential) = caller(parts, control).await?;
        Ok(Self(Actor::member(member, address(parts)).let_in_by(credential)))
    }
}

/// The member who sent the request and what lets them in, if they may send another one yet.
async fn caller(parts: &Parts, control: &Control) -> Result<(Member, Credential), ControlError> {
    match authenticated(parts, control).await {
        Ok((member, credential)) => {
            control.limits.management_request(&member.account)?;
            Ok((member, credential))
        }
        Err(ControlError::Unauthenticated) => {
            if let Some(from) = parts.extensions.get::<ClientAddress>() {
                control.limits.failed_authentication(*from)?;
            }
            Err(ControlError::Unauthenticated)
        }
        Err(error) => Err(error),
    }
}

/// Where the request came from.
pub fn address(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<ClientAddress>().map(|from| from.0)
}

/// The member that the request's one credential speaks for: an API token, or else a session.
async fn authenticated(parts: &Parts, control: &Control) -> Result<(Member, Credential), ControlError> {
    if !parts.headers.contains_key(header::AUTHORIZATION) {
        let found = in_session(parts, control).await?;
        let member = control.home(&found.session.account).await?;
        return Ok((member, Credential::Session(found.session.id)));
    }
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(ControlError::Unauthenticated);
    };
    let value = value.to_str().map_err(|_| ControlError::Unauthenticated)?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            control.authenticate_by(token.trim()).await
        }
        _ => Err(ControlError::Unauthenticated),
    }
}

/// The workspace in the path, who asks as a member of it, and the other identifiers of the path.
pub struct InWorkspace {
    pub actor: Actor,
    pub workspace: WorkspaceId,
    parameters: Parameters,
}

/// The identifiers in a path, by their names.
struct Parameters(Vec<(String, String)>);

impl FromRequestParts<Arc<Control>> for InWorkspace {
    type Rejection = ControlError;

    async fn from_request_parts(parts: &mut Parts, control: &Arc<Control>) -> Result<Self, ControlError> {
        let (caller, credential) = caller(parts, control).await?;
        let parameters = RawPathParams::from_request_parts(parts, control).await;
        let parameters = parameters.map_err(|_| ControlError::NotFound("resource"))?;
        let parameters = Parameters(
            parameters
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        );
        let workspace = parameters.parse("ws", WorkspaceId::parse, "workspace")?;
        let member = if caller.workspace == workspace {
            caller
        } else {
            // A workspace of others is answered like one that does not exist.
            control.membership(&workspace, &caller.account).await?
        };
        let actor = Actor {
            if_match: if_match(parts)?,
            ..Actor::member(member, address(parts)).let_in_by(credential)
        };
        Ok(Self {
            actor,
            workspace,
            parameters,
        })
    }
}

impl Parameters {
    fn parse<T, E>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
        what: &'static str,
    ) -> Result<T, ControlError> {
        let value = self
            .0
            .iter()
            .find(|(held, _)| held == name)
            .map(|(_, value)| value.as_str());
        value
            .and_then(|value| parse(value).ok())
            .ok_or(ControlError::NotFound(what))
    }
}

impl InWorkspace {
    pub fn app(&self) -> Result<AppId, ControlError> {
        self.parameters.parse("id", AppId::parse, "OAuth app")
    }

    pub fn source(&self) -> Result<SourceId, ControlError> {
        self.parameters.parse("id", SourceId::parse, "source")
    }

    pub fn member(&self) -> Result<MemberId, ControlError> {
        self.parameters.parse("id", MemberId::parse, "member")
    }

    pub fn api_token(&self) -> Result<String, ControlError> {
        let parse = |text: &str| Ok::<_, ControlError>(text.to_owned());
        self.parameters.parse("id", parse, "API token")
    }

    pub fn key(&self) -> Result<KeyId, ControlError> {
        self.parameters.parse("kid", KeyId::parse, "public key")
    }

    /// An identifier of what has no type of its own.
    pub fn id(&self) -> Result<String, ControlError> {
        let text = |text: &str| Ok::<_, ControlError>(text.to_owned());
        self.parameters.parse("id", text, "resource")
    }
}

/// A body that gives something a name.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewName {
    pub name: String,
}
