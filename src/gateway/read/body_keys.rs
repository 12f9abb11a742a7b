//! The write keys in a held body, found in slices so that a large one lets other requests go first.

use super::body::Held;
use super::content::{self, Coding};
use super::inflate::inflate;
use super::json::scan::{BodyKeys, BodyScan};
use super::json::scan_error::ScanError;
use super::large_bodies::Slices;
use super::query::{FormSearch, ValueSearch};
use super::refusal::Refusal;
use crate::config::Limits;
use crate::domain::decision::DenyReason;
use crate::domain::ids::WriteKeyDigest;

/// The parameter that event APIs of this family read a write key from.
pub(crate) const WRITE_KEY_PARAMETER: &str = "writeKey";

/// The write keys of a JSON body, `None` for an empty one.
///
/// Under the media type of a form a body that is one JSON object is read as JSON, if its reading as a form names no
/// write key, or the same one.
///
/// # Errors
/// The denial for a body that is not one JSON object, names several sources, or cannot be inflated
/// within the bounds; or for a large one that waited too long for its turn.
pub async fn write_keys(
    headers: &http::HeaderMap,
    held: &Held,
    limits: &Limits,
) -> Result<Option<BodyKeys>, Refusal> {
    let content = content::content(headers)?;
    if held.bytes().is_empty() {
        return Ok(None);
    }
    let mut slices = Slices::new(held.client(), limits.body_timeout);
    let inflated;
    let (body, mut share) = (held.bytes(), held.further_share());
    let body: &[u8] = match content.coding {
        Coding::Identity => {
            slices.expect(body.len()).await?;
            body
        }
        Coding::Gzip => {
            inflated = inflate(body, limits.body_bytes, &mut share, &mut slices).await?;
            &inflated
        }
    };
    let keys = scan(body, &mut slices)
        .await
        .map_err(|error| explain(error, body, content.is_form))?;
    if content.is_form {
        check_as_form(body, keys.top, &mut slices).await?;
    }
    Ok(Some(keys))
}

/// Why the scan of a body failed.
#[derive(Clone, Copy)]
enum Failed {
    Scan(ScanError),
    /// Other large bodies took all the time that this one may wait.
    Overloaded(DenyReason),
}

async fn scan(body: &[u8], slices: &mut Slices) -> Result<BodyKeys, Failed> {
    let mut scan = BodyScan::new(body);
    loop {
        let size = slices.size();
        match scan.advance(size) {
            Ok(Some(keys)) => return Ok(keys),
            Ok(None) => slices.done(size).await.map_err(Failed::Overloaded)?,
            Err(error) => return Err(Failed::Scan(error)),
        }
    }
}

/// Says which mistake was made, of those that people make.
fn explain(failed: Failed, body: &[u8], is_form: bool) -> Refusal {
    let detail = match failed {
        Failed::Overloaded(reason) => return reason.into(),
        Failed::Scan(ScanError::Ambiguous) => {
            return Refusal::because(
                DenyReason::SourceAmbiguous,
                "the body names more than one source, or a write key that parsers read differently; send one writeKey, once",
            );
        }
        Failed::Scan(ScanError::TooDeep) => "the body is nested deeper than 64 levels",
        Failed::Scan(ScanError::Invalid) if is_form => {
            "the body is a form; send one JSON object as application/json"
        }
        Failed::Scan(ScanError::Invalid) if body.starts_with(b"\xef\xbb\xbf") => {
            "the body begins with a byte order mark; send JSON without one"
        }
        Failed::Scan(ScanError::Invalid) if body.trim_ascii_start().starts_with(b"[") => {
            "the body is a JSON array; send one JSON object"
        }
        Failed::Scan(ScanError::Invalid) if body.starts_with(b"\x1f\x8b") => {
            "the body is gzip without saying so; send Content-Encoding: gzip"
        }
        Failed::Scan(ScanError::Invalid) => return DenyReason::BodyInvalid.into(),
    };
    Refusal::because(DenyReason::BodyInvalid, detail)
}

/// Checks that a body which was read as JSON names nothing else to a server that reads it as a form.
async fn check_as_form(
    body: &[u8],
    named: Option<WriteKeyDigest>,
    slices: &mut Slices,
) -> Result<(), Refusal> {
    if has_token(body, slices).await? {
        return Err(DenyReason::CredentialsConflict.into());
    }
    let mut search = ValueSearch::new(body, &[WRITE_KEY_PARAMETER]);
    let mut is_other = false;
    loop {
        let size = slices.size();
        let is_end = search.advance(size, |value| {
            is_other |= named.is_none() || value.map(WriteKeyDigest::of) != named;
        });
        if is_other {
            return Err(Refusal::because(
                DenyReason::SourceAmbiguous,
                "the body names another source where it is read as a form, which its Content-Type says; send it as application/json",
            ));
        }
        if is_end {
            return Ok(());
        }
        slices.done(size).await?;
    }
}

/// Hands over every value that some server could take for a write key in a body that the API does not read: of a JSON
/// object and of a form. A body that cannot be read names nothing.
///
/// # Errors
/// [`DenyReason::SourceAmbiguous`] for a JSON object that names two sources, and [`DenyReason::Overloaded`] for a large
/// body that waited too long for its turn.
pub async fn keys_of_any(
    headers: &http::HeaderMap,
    held: &Held,
    limits: &Limits,
    mut found: impl FnMut(Found<'_>),
) -> Result<(), DenyReason> {
    let Ok(coding) = content::coding(headers) else {
        return Ok(());
    };
    let mut slices = Slices::new(held.client(), limits.body_timeout);
    let inflated;
    let (body, mut share) = (held.bytes(), held.further_share());
    let body: &[u8] = match coding {
        Coding::Identity => {
            slices.expect(body.len()).await?;
            body
        }
        Coding::Gzip => match inflate(body, limits.body_bytes, &mut share, &mut slices).await {
            Ok(bytes) => {
                inflated = bytes;
                &inflated
            }
            Err(Refusal { reason, .. }) if reason == DenyReason::Overloaded => return Err(reason),
            Err(_) => return Ok(()),
        },
    };
    match scan(body, &mut slices).await {
        Ok(keys) => [keys.top, keys.events]
            .into_iter()
            .flatten()
            .for_each(|key| found(Found::Key(key))),
        Err(Failed::Scan(ScanError::Ambiguous)) => return Err(DenyReason::SourceAmbiguous),
        Err(Failed::Overloaded(reason)) => return Err(reason),
        Err(Failed::Scan(ScanError::Invalid | ScanError::TooDeep)) => {}
    }
    if !content::has_form(headers) {
        return Ok(());
    }
    let mut search = ValueSearch::new(body, &[WRITE_KEY_PARAMETER]);
    while !search.advance(slices.size(), |value| found(Found::Value(value))) {
        slices.done(slices.size()).await?;
    }
    Ok(())
}

/// What may be a write key in a body.
pub enum Found<'v> {
    Key(WriteKeyDigest),
    /// The value of a parameter, `None` for one that is too long.
    Value(Option<&'v [u8]>),
}

/// Whether a form carries an access token, as RFC 6750 section 2.2 knows it. The work on a large one lets other
/// requests go first.
///
/// # Errors
/// [`DenyReason::Overloaded`] for a large one that waited too long for its turn.
pub async fn has_token_in_form(
    headers: &http::HeaderMap,
    held: &Held,
    limits: &Limits,
) -> Result<bool, DenyReason> {
    if !content::has_form(headers) {
        return Ok(false);
    }
    let mut slices = Slices::new(held.client(), limits.body_timeout);
    slices.expect(held.bytes().len()).await?;
    has_token(held.bytes(), &mut slices).await
}

async fn has_token(form: &[u8], slices: &mut Slices) -> Result<bool, DenyReason> {
    let mut search = FormSearch::new(form);
    loop {
        let size = slices.size();
        if let Some(has_token) = search.advance(size) {
            return Ok(has_token);
        }
        slices.done(size).await?;
    }
}
