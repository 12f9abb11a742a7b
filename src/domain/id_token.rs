//! ID tokens: what an outside provider says of a person who signed on there (OpenID Connect Core section 2).

use thiserror::Error;

use super::issuer_keys::IssuerKeys;
use super::json::{JsonError, Object, Value};
use super::jws::{CompactJws, JwsError};
use super::time::UnixSeconds;

/// Tolerated clock difference, in seconds.
const LEEWAY_S: u64 = 60;

/// The oldest ID token taken, in seconds: it is fetched the moment it was made.
const AGE_MAX_S: u64 = 600;

/// The longest subject, in bytes.
const SUBJECT_BYTES_MAX: usize = 255;

/// What an ID token must have been made for.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'e> {
    pub issuer: &'e str,
    pub client_id: &'e str,
    pub nonce: &'e str,
}

/// Why an ID token is not believed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IdTokenError {
    #[error("the ID token is not acceptable: {0}")]
    Malformed(#[from] JwsError),
    #[error("the ID token's claims are not acceptable: it {0}")]
    Claims(#[from] JsonError),
    #[error("the ID token names a key that the provider does not publish")]
    Key,
    #[error("the ID token's signature is not valid")]
    Signature,
    #[error("the ID token's claim `{0}` is not what it must be here")]
    Claim(&'static str),
    #[error("the ID token is expired, or too old")]
    Expired,
}

/// A person as their provider knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub subject: String,
    /// The address, where the provider says that it has verified it.
    pub email: Option<String>,
}

/// The key id that an ID token names, to be looked for among the provider's keys.
///
/// # Errors
/// [`IdTokenError::Malformed`].
pub fn key_id(token: &str) -> Result<super::ids::KeyId, IdTokenError> {
    Ok(CompactJws::parse(token)?.require_key_id()?.clone())
}

/// Verifies an ID token with the provider's keys (OpenID Connect Core section 3.1.3.7).
///
/// # Errors
/// [`IdTokenError`] names the first check that failed.
pub fn verify(
    token: &str,
    keys: &IssuerKeys,
    expected: Expected<'_>,
    now: UnixSeconds,
) -> Result<Identity, IdTokenError> {
    let jws = CompactJws::parse(token)?;
    let key_id = jws.require_key_id()?;
    if jws.has_type() && !jws.is_type("JWT") {
        return Err(IdTokenError::Claim("typ"));
    }
    if !keys.has(key_id) {
        return Err(IdTokenError::Key);
    }
    let mut candidates = keys.candidates(key_id, jws.algorithm());
    if !candidates.any(|key| jws.is_signed_by(key)) {
        return Err(IdTokenError::Signature);
    }
    let claims = jws.unverified_claims()?;
    let must = |name: &'static str, holds: bool| {
        if holds {
            Ok(())
        } else {
            Err(IdTokenError::Claim(name))
        }
    };
    must("iss", claims.text("iss")? == expected.issuer)?;
    // Exactly one audience: a token for several could be replayed from one to another.
    must("aud", claims.texts("aud")? == [expected.client_id])?;
    must(
        "azp",
        claims
            .optional_text("azp")?
            .is_none_or(|azp| azp == expected.client_id),
    )?;
    must("nonce", claims.text("nonce")? == expected.nonce)?;
    let (issued_at, expires_at) = (claims.date("iat")?, claims.date("exp")?);
    if now >= expires_at.plus(LEEWAY_S) || now.since(issued_at) > AGE_MAX_S {
        return Err(IdTokenError::Expired);
    }
    must("iat", issued_at <= now.plus(LEEWAY_S))?;
    let not_before = claims.optional_date("nbf")?.unwrap_or_default();
    must("nbf", not_before <= now.plus(LEEWAY_S))?;
    identity(&claims)
}

/// What the answer of the provider's `UserInfo` endpoint says of the same person (OpenID Connect Core section 5.3.2).
///
/// # Errors
/// [`IdTokenError::Claim`] where it is about another subject.
pub fn user_info(body: &[u8], subject: &str) -> Result<Identity, IdTokenError> {
    let found = identity(&Object::parse(body)?)?;
    if found.subject == subject {
        Ok(found)
    } else {
        Err(IdTokenError::Claim("sub"))
    }
}

fn identity(claims: &Object<'_>) -> Result<Identity, IdTokenError> {
    let subject = claims.text("sub")?;
    if subject.is_empty()
        || subject.len() > SUBJECT_BYTES_MAX
        || !subject.bytes().all(|b| b.is_ascii_graphic())
    {
        return Err(IdTokenError::Claim("sub"));
    }
    // Only the JSON value `true` counts: some providers write it as a text, and then about anybody's address.
    let verified = claims.value("email_verified") == Some(&Value::Flag(true));
    Ok(Identity {
        subject: subject.to_owned(),
        email: claims
            .optional_text("email")?
            .filter(|_| verified)
            .map(str::to_owned),
    })
}
