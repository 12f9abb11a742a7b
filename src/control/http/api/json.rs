//! JSON bodies of the management API, read strictly.

use crate::control::bad_request::{BODY_BYTES_MAX, BadRequest};
use crate::control::error::ControlError;
use crate::control::http::body::has_nul_escape;
use crate::control::http::body::read_body_up_to;
use crate::control::http::body::{MediaType, media_type};
use axum::body::Bytes;
use axum::extract::FromRequest;
use axum::extract::Request;
use serde::de::DeserializeOwned;
use serde_json::Value;

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
        Self::up_to(request, BODY_BYTES_MAX).await
    }

    /// Reads a body of at most `bytes_max` bytes. Its bytes come with it.
    pub(crate) async fn up_to(request: Request, bytes_max: usize) -> Result<(Self, Bytes), ControlError> {
        match media_type(request.headers(), "application/json") {
            MediaType::Fits => {}
            MediaType::OtherCharset => return Err(BadRequest::Charset.into()),
            MediaType::Other => return Err(BadRequest::NotJson.into()),
        }
        let bytes = read_body_up_to(request.into_body(), bytes_max).await?;
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

/// Rejects a body with a NUL character and names its field. Malformed JSON is rejected elsewhere.
pub(crate) fn refuse_nul(json: &[u8]) -> Result<(), ControlError> {
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
pub(crate) fn nul_in(value: &Value) -> Option<String> {
    let mut steps = Vec::new();
    is_nul_below(value, &mut steps).then(|| {
        let outermost_first = steps.into_iter().rev();
        outermost_first.fold(String::new(), |path, step| match step {
            Step::Item(at) => format!("{path}[{at}]"),
            Step::Member(name) => path + "." + name,
        })
    })
}

/// Names the invalid field. The value is not repeated: it may be a private key.
pub(crate) fn json_error(path: &str, error: &serde_json::Error) -> ControlError {
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

/// One level of a path into a JSON text.
pub(crate) enum Step<'v> {
    Item(usize),
    Member(&'v str),
}

/// Whether a text in `value` has a NUL character. The way to the first one is put into `steps`, innermost first: the
/// path is written once, however deep it is.
pub(crate) fn is_nul_below<'v>(value: &'v Value, steps: &mut Vec<Step<'v>>) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().enumerate().any(|(at, item)| {
            let found = is_nul_below(item, steps);
            steps.extend(found.then_some(Step::Item(at)));
            found
        }),
        Value::Object(members) => members.iter().any(|(name, member)| {
            let found = is_nul_below(member, steps);
            steps.extend(found.then_some(Step::Member(name)));
            found
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
