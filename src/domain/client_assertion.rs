//! Client assertions: how an app proves itself at the token endpoint (RFC 7523 section 3, with the
//! tolerance that released SDKs need and no more).

use thiserror::Error;

use super::digest::sha256;
use super::ids::{AppId, KeyId};
use super::json::{JsonError, Object, Value};
use super::jws::{CompactJws, JwsError};
use super::key::VerifyingKey;
use super::time::UnixSeconds;

/// The longest life of an assertion, `exp - iat`, in seconds. The SDKs use exactly 60.
pub const ASSERTION_LIFETIME_MAX_S: u64 = 600;

/// Tolerated clock difference for assertions, in seconds.
pub const ASSERTION_LEEWAY_S: u64 = 5;

/// The clock difference, in seconds, up to which a client is told that its clock is wrong: a year. SDKs answer
/// that by trying again at once with a corrected clock, some of them without end, so it must not be said of
/// dates that no clock explains, such as milliseconds. A client whose clock is further off than a certificate
/// is valid could not have connected.
pub const CLOCK_ERROR_MAX_S: u64 = 366 * 86_400;

/// Why a client assertion is not accepted. Which status and `error` code each becomes is the token
/// endpoint's business; a wrong clock is kept apart because SDKs correct theirs on its exact answer.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AssertionError {
    #[error("the client assertion is not acceptable: {0}")]
    Malformed(#[from] JwsError),
    #[error("the client assertion's claims are not acceptable: it {0}")]
    Claims(#[from] JsonError),
    #[error("the client assertion's claim `{0}` is not acceptable")]
    Claim(&'static str),
    #[error(
        "the client assertion's claim `{0}` is years away from this server's clock; write it in seconds since 1970"
    )]
    Implausible(&'static str),
    #[error("the client assertion was made for another audience; set `aud` to {0}")]
    Audience(String),
    #[error("the client assertion's `typ` is that of another kind of token")]
    Type,
    #[error("the client assertion may live for {ASSERTION_LIFETIME_MAX_S} seconds at most")]
    Lifetime,
    #[error("Token is expired")]
    Expired,
    #[error("Token used before issued")]
    UsedBeforeIssued,
    #[error("the client assertion's signature is not valid for the key it names")]
    Signature,
}

/// An assertion taken apart: who says that it speaks, under which key, not yet proven.
pub struct UnverifiedAssertion<'t> {
    jws: CompactJws<'t>,
    app: AppId,
}

/// An assertion whose signature, audience and time were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedAssertion {
    pub app: AppId,
    /// The app key that made the signature.
    pub key: KeyId,
    /// When it can no longer be used, and so when its replay entry may be dropped.
    pub expires_at: UnixSeconds,
    /// SHA-256 of `header.payload`. Replay is keyed on what was signed, since `jti` may be one of only
    /// 32,768 numbers in a published sample.
    pub replay_digest: [u8; 32],
}

impl<'t> UnverifiedAssertion<'t> {
    /// Takes an assertion apart.
    ///
    /// # Errors
    /// [`AssertionError`] when it is no compact JWS, its `typ` belongs to another kind of token, or it
    /// has no usable `sub`.
    pub fn parse(assertion: &'t str) -> Result<Self, AssertionError> {
        let jws = CompactJws::parse(assertion)?;
        // RFC 7523bis: an explicit type of another profile is refused; `JWT` or none is what SDKs send.
        if jws.has_type() && !jws.is_type("JWT") && !jws.is_type("client-authentication+jwt") {
            return Err(AssertionError::Type);
        }
        let app =
            AppId::parse(jws.unverified_claims()?.text("sub")?).map_err(|_| AssertionError::Claim("sub"))?;
        Ok(Self { jws, app })
    }

    /// The app that the assertion claims to come from, for looking up its keys.
    #[must_use]
    pub fn app(&self) -> &AppId {
        &self.app
    }

    /// The key id that the assertion names.
    #[must_use]
    pub fn key_id(&self) -> &KeyId {
        self.jws.key_id()
    }

    /// Proves the assertion with `key`, which must be one of the app's keys, for one of `audiences`.
    ///
    /// The signature is checked first, so that nothing about audience or clock is told to a stranger.
    ///
    /// # Errors
    /// [`AssertionError`] names the first check that failed.
    pub fn verify(
        &self,
        key: &VerifyingKey,
        audiences: &[&str],
        now: UnixSeconds,
    ) -> Result<VerifiedAssertion, AssertionError> {
        if !self.jws.is_signed_by(key) {
            return Err(AssertionError::Signature);
        }
        let claims = self.jws.unverified_claims()?;
        check_audience(&claims, audiences)?;
        check_issuer(&claims, &self.app, audiences)?;
        match claims.value("jti") {
            Some(Value::Text(text)) if !text.is_empty() && text.len() <= 256 => {}
            Some(Value::Integer(_)) => {}
            None => return Err(JsonError::Missing("jti").into()),
            Some(_) => return Err(JsonError::Type("jti").into()),
        }
        let expires_at = date(&claims, "exp")?.ok_or(JsonError::Missing("exp"))?;
        let issued_at = date(&claims, "iat")?.ok_or(JsonError::Missing("iat"))?;
        let not_before = date(&claims, "nbf")?.unwrap_or(issued_at);
        if now >= expires_at.plus(ASSERTION_LEEWAY_S) {
            return Err(if now.since(expires_at) > CLOCK_ERROR_MAX_S {
                AssertionError::Implausible("exp")
            } else {
                AssertionError::Expired
            });
        }
        let usable_from = issued_at.max(not_before);
        if now.plus(ASSERTION_LEEWAY_S) < usable_from {
            return Err(if usable_from.since(now) > CLOCK_ERROR_MAX_S {
                AssertionError::Implausible(if usable_from == issued_at { "iat" } else { "nbf" })
            } else {
                AssertionError::UsedBeforeIssued
            });
        }
        if expires_at.since(issued_at) > ASSERTION_LIFETIME_MAX_S {
            return Err(AssertionError::Lifetime);
        }
        Ok(VerifiedAssertion {
            app: self.app.clone(),
            key: key.id().clone(),
            expires_at: expires_at.plus(ASSERTION_LEEWAY_S),
            replay_digest: sha256(self.jws.signing_input()),
        })
    }
}

/// `aud` is one of ours, alone: as a text, or as an array of that one text. A list of several would let
/// one assertion serve two servers (RFC 7523bis).
fn check_audience(claims: &Object<'_>, audiences: &[&str]) -> Result<(), AssertionError> {
    let trimmed = |url: &str| url.strip_suffix('/').unwrap_or(url).to_owned();
    match claims.texts("aud")?.as_slice() {
        [one] if audiences.iter().any(|ours| trimmed(ours) == trimmed(one)) => Ok(()),
        _ => Err(AssertionError::Audience(
            audiences
                .first()
                .map_or_else(String::new, |ours| (*ours).to_owned()),
        )),
    }
}

/// `iss` is the app (RFC 7523 section 3), the authorization server (as released SDKs send), or absent.
fn check_issuer(claims: &Object<'_>, app: &AppId, audiences: &[&str]) -> Result<(), AssertionError> {
    let trimmed = |url: &str| url.strip_suffix('/').unwrap_or(url).to_owned();
    match claims.optional_text("iss")? {
        None => Ok(()),
        Some(iss) if iss == app.as_str() => Ok(()),
        Some(iss) if audiences.iter().any(|ours| trimmed(ours) == trimmed(iss)) => Ok(()),
        Some(_) => Err(AssertionError::Claim("iss")),
    }
}

/// A date as the SDKs send it: a whole number, a fraction, or either of them as a text.
fn date(claims: &Object<'_>, name: &'static str) -> Result<Option<UnixSeconds>, JsonError> {
    /// Dates past the year 9999 are somebody's milliseconds or an attack.
    const LATEST: f64 = 253_402_300_799.0;
    let number = match claims.value(name) {
        None => return Ok(None),
        Some(Value::Integer(seconds)) => return Ok(Some(UnixSeconds(*seconds))),
        Some(Value::Number(number)) => *number,
        // Digits, with a fraction at most: `inf`, `nan`, signs and exponents are not dates.
        Some(Value::Text(text))
            if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') =>
        {
            text.parse::<f64>().map_err(|_| JsonError::Type(name))?
        }
        Some(_) => return Err(JsonError::Type(name)),
    };
    if !(0.0..=LATEST).contains(&number) {
        return Err(JsonError::Type(name));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked above"
    )]
    Ok(Some(UnixSeconds(number as u64)))
}
