//! Client assertions: how an app authenticates at the token endpoint (RFC 7523 section 3, with the tolerance that
//! released libraries need and no more).

use thiserror::Error;

use super::digest::sha256;
use super::ids::{AppId, KeyId};
use super::json::{JsonError, Object, Value};
use super::jws::{CompactJws, JwsError};
use super::key::{Algorithm, VerifyingKey};
use super::time::UnixSeconds;

/// The longest lifetime of an assertion unless the config says otherwise, in seconds. The SDKs use exactly 60,
/// Authlib an hour.
pub const ASSERTION_LIFETIME_MAX_S: u64 = 3_600;

/// Keys that may verify one assertion: an app has two at most.
pub const KEYS_TRIED_MAX: usize = 2;

/// Tolerated clock difference for assertions, in seconds.
pub const ASSERTION_LEEWAY_S: u64 = 5;

/// The clock difference, in seconds, up to which the answer says that the client's clock is wrong: a year. SDKs react
/// to it by trying again at once with a corrected clock, some of them without end, so it must not be said of
/// dates that no clock explains, such as milliseconds. A client whose clock is further off than a certificate
/// is valid could not have connected.
pub const CLOCK_ERROR_MAX_S: u64 = 366 * 86_400;

/// Why a client assertion is rejected. The token endpoint picks status and `error` code. A wrong clock is apart, since
/// SDKs correct theirs on its exact text.
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
    #[error(
        "the client assertion expires too late: `exp` may be {0} seconds after `iat`, or after now without `iat`"
    )]
    Lifetime(u64),
    #[error("Token is expired")]
    Expired,
    #[error("Token used before issued")]
    UsedBeforeIssued,
    #[error("the client assertion's signature is not valid for any of the app's keys")]
    Signature,
}

/// What an assertion has to say to be accepted here.
#[derive(Clone, Copy, Debug)]
pub struct AssertionRules<'r> {
    /// Names of this server: its issuer, and its token endpoint.
    pub audiences: &'r [&'r str],
    /// The longest time from `iat` to `exp`, in seconds.
    pub lifetime_max_s: u64,
}

/// An assertion taken apart: the app and the key that it names, not yet verified.
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
    /// SHA-256 of `header.payload`. Replay protection is keyed on what was signed: `jti` is optional, and in a
    /// published sample it is one of only 32,768 numbers.
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

    /// The key id that the assertion names, if it names one.
    #[must_use]
    pub fn key_id(&self) -> Option<&KeyId> {
        self.jws.key_id()
    }

    /// The algorithm that the assertion names.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.jws.algorithm()
    }

    /// Whether `key` made the assertion's signature.
    #[must_use]
    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        self.jws.is_signed_by(key)
    }

    /// The keys of the app that may have signed the assertion: the one it names, or all where it names none; of them
    /// those for its algorithm, [`KEYS_TRIED_MAX`] at most.
    pub fn candidates<'k>(&self, keys: &'k [VerifyingKey]) -> impl Iterator<Item = &'k VerifyingKey> {
        let (named, algorithm) = (self.key_id().cloned(), self.algorithm());
        keys.iter()
            .filter(move |key| named.as_ref().is_none_or(|named| named == key.id()))
            .filter(move |key| key.algorithm() == algorithm)
            .take(KEYS_TRIED_MAX)
    }

    /// Verifies the assertion with `keys`, which must be all the keys of the app.
    ///
    /// The signature is checked first, so that a stranger learns nothing about audience or clock.
    ///
    /// # Errors
    /// [`AssertionError`] names the first check that failed.
    pub fn verify(
        &self,
        keys: &[VerifyingKey],
        rules: AssertionRules<'_>,
        now: UnixSeconds,
    ) -> Result<VerifiedAssertion, AssertionError> {
        let key = self.candidates(keys).find(|key| self.is_signed_by(key));
        let key = key.ok_or(AssertionError::Signature)?;
        let claims = self.jws.unverified_claims()?;
        check_audience(&claims, rules.audiences)?;
        check_issuer(&claims, &self.app, rules.audiences)?;
        match claims.value("jti") {
            Some(Value::Text(text)) if !text.is_empty() && text.len() <= 256 => {}
            Some(Value::Integer(_)) | None => {}
            Some(_) => return Err(JsonError::Type("jti").into()),
        }
        let expires_at = date(&claims, "exp")?.ok_or(JsonError::Missing("exp"))?;
        check_dates(&claims, expires_at, rules.lifetime_max_s, now)?;
        Ok(VerifiedAssertion {
            app: self.app.clone(),
            key: key.id().clone(),
            expires_at: expires_at.plus(ASSERTION_LEEWAY_S),
            replay_digest: sha256(self.jws.signing_input()),
        })
    }
}

/// `exp`, and `iat` and `nbf` where they are there (RFC 7523 section 3: both may be absent).
fn check_dates(
    claims: &Object<'_>,
    expires_at: UnixSeconds,
    lifetime_max_s: u64,
    now: UnixSeconds,
) -> Result<(), AssertionError> {
    let issued_at = date(claims, "iat")?;
    let not_before = date(claims, "nbf")?;
    if now >= expires_at.plus(ASSERTION_LEEWAY_S) {
        return Err(if now.since(expires_at) > CLOCK_ERROR_MAX_S {
            AssertionError::Implausible("exp")
        } else {
            AssertionError::Expired
        });
    }
    for (name, begins) in [("iat", issued_at), ("nbf", not_before)] {
        let Some(begins) = begins else { continue };
        if now.plus(ASSERTION_LEEWAY_S) < begins {
            return Err(if begins.since(now) > CLOCK_ERROR_MAX_S {
                AssertionError::Implausible(name)
            } else {
                AssertionError::UsedBeforeIssued
            });
        }
    }
    // A client whose clock is ahead counts from its own now.
    let from = issued_at.unwrap_or_else(|| now.plus(ASSERTION_LEEWAY_S));
    if expires_at.since(from) > lifetime_max_s {
        return Err(AssertionError::Lifetime(lifetime_max_s));
    }
    Ok(())
}

/// `aud` is one name of this server, alone: as a text, or as an array of that one text. A list of several would let one
/// assertion serve two servers (RFC 7523bis).
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
    /// Dates past the year 9999 are milliseconds or an attack.
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
