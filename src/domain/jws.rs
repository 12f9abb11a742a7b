//! Compact JWS: strict shape, size limits and the header (RFC 7515 sections 3.1, 4 and 7.1; RFC 8725).
//!
//! A header alone chooses neither key nor algorithm: it names a key id, and the key under that id says which algorithm
//! must have been used.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;

use super::cost;
use super::ids::KeyId;
use super::json::{JsonError, Object};
use super::key::{Algorithm, VerifyingKey};

/// The longest client assertion or ID token read, in bytes. Checked before anything is decoded.
pub const JWS_BYTES_MAX: usize = 8 * 1024;

/// The longest encoded header, in bytes.
const HEADER_BYTES_MAX: usize = 1024;

/// The longest encoded signature, in bytes: RSA with 8192 bits.
const SIGNATURE_BYTES_MAX: usize = 1366;

/// Header members that would make the sender choose what verifies, or change how the payload is read.
/// `crit` is refused whole, since we implement no extension it could name (RFC 7515 section 4.1.11).
const REFUSED_MEMBERS: [&str; 6] = ["crit", "b64", "jwk", "jku", "x5u", "x5c"];

/// Why a text is not a compact JWS that we read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum JwsError {
    #[error("the token is longer than {0} bytes")]
    TooLong(usize),
    #[error("the token is not three base64url parts without padding")]
    Shape,
    #[error("the token's {part} is longer than {bytes_max} bytes in base64url")]
    PartTooLong { part: &'static str, bytes_max: usize },
    #[error("the token's header {0}")]
    Header(JsonError),
    #[error("the token's header has the member `{0}`, which is not accepted")]
    RefusedMember(&'static str),
    #[error("the token's `kid` is not a key id")]
    KeyId,
    #[error("the token's `alg` is not one of RS256, PS256, ES256, EdDSA, Ed25519")]
    Algorithm,
    #[error("the token's payload {0}")]
    Payload(JsonError),
}

/// A compact JWS, taken apart but not yet verified.
pub struct CompactJws<'t> {
    algorithm: Algorithm,
    key_id: Option<KeyId>,
    typ: Option<String>,
    signing_input: &'t [u8],
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'t> CompactJws<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`JwsError`] for anything but three strict base64url parts whose header has a supported `alg`, a `kid`
    /// that is a key id or none, and none of the members that would let the sender choose the key.
    pub fn parse(token: &'t str) -> Result<Self, JwsError> {
        Self::parse_at_most(token, JWS_BYTES_MAX)
    }

    /// The same with another bound on the token's length, in bytes.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_at_most(token: &'t str, bytes_max: usize) -> Result<Self, JwsError> {
        if token.len() > bytes_max {
            return Err(JwsError::TooLong(bytes_max));
        }
        cost::count(token.len());
        let (signing_input, signature) = token.rsplit_once('.').ok_or(JwsError::Shape)?;
        let (header, payload) = signing_input.split_once('.').ok_or(JwsError::Shape)?;
        if payload.contains('.') {
            return Err(JwsError::Shape);
        }
        for (part, text, bytes_max) in [
            ("header", header, HEADER_BYTES_MAX),
            ("signature", signature, SIGNATURE_BYTES_MAX),
        ] {
            if text.len() > bytes_max {
                return Err(JwsError::PartTooLong { part, bytes_max });
            }
        }
        let header = decode(header)?;
        let header = Object::parse(&header).map_err(JwsError::Header)?;
        if let Some(refused) = REFUSED_MEMBERS.into_iter().find(|member| header.has(member)) {
            return Err(JwsError::RefusedMember(refused));
        }
        let algorithm =
            Algorithm::parse(header.text("alg").map_err(JwsError::Header)?).ok_or(JwsError::Algorithm)?;
        let key_id = header.optional_text("kid").map_err(JwsError::Header)?;
        let key_id = key_id
            .map(KeyId::of_key_set)
            .transpose()
            .map_err(|_| JwsError::KeyId)?;
        let typ = header
            .optional_text("typ")
            .map_err(JwsError::Header)?
            .map(str::to_owned);
        Ok(Self {
            algorithm,
            key_id,
            typ,
            signing_input: signing_input.as_bytes(),
            payload: decode(payload)?,
            signature: decode(signature)?,
        })
    }

    /// The key id the header names, if it names one (RFC 7515 section 4.1.4).
    #[must_use]
    pub fn key_id(&self) -> Option<&KeyId> {
        self.key_id.as_ref()
    }

    /// The key id the header names.
    ///
    /// # Errors
    /// [`JwsError::Header`] where it names none.
    pub fn require_key_id(&self) -> Result<&KeyId, JwsError> {
        self.key_id().ok_or(JwsError::Header(JsonError::Missing("kid")))
    }

    /// The algorithm the header names. Believed only where it equals the key's.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether the header's `typ` is `wanted`; media types compare without case and without the
    /// `application/` prefix (RFC 7515 section 4.1.9).
    #[must_use]
    pub fn is_type(&self, wanted: &str) -> bool {
        self.typ.as_deref().is_some_and(|typ| {
            let typ = match typ.split_at_checked("application/".len()) {
                Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
                _ => typ,
            };
            typ.eq_ignore_ascii_case(wanted)
        })
    }

    /// Whether the header has a `typ` at all.
    #[must_use]
    pub fn has_type(&self) -> bool {
        self.typ.is_some()
    }

    /// The claims, not yet proven by anything.
    ///
    /// # Errors
    /// [`JwsError::Payload`] when the payload is not one JSON object with each member once.
    pub fn unverified_claims(&self) -> Result<Object<'_>, JwsError> {
        Object::parse(&self.payload).map_err(JwsError::Payload)
    }

    /// Whether `key` made this token's signature, with the key's own algorithm.
    #[must_use]
    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        self.algorithm == key.algorithm() && key.verifies(self.signing_input, &self.signature)
    }

    /// What was signed, `header.payload`: the identity of an assertion for replay protection.
    #[must_use]
    pub fn signing_input(&self) -> &'t [u8] {
        self.signing_input
    }
}

/// Strict base64url: no padding, no whitespace, no spare bits in the last character.
fn decode(part: &str) -> Result<Vec<u8>, JwsError> {
    if part.is_empty() {
        return Err(JwsError::Shape);
    }
    cost::count(part.len());
    URL_SAFE_NO_PAD.decode(part).map_err(|_| JwsError::Shape)
}

/// Whether a bearer credential has the shape of a compact JWS: three dot-separated parts. Opaque tokens
/// of an upstream have no dots.
#[must_use]
pub fn looks_like_jws(credential: &str) -> bool {
    cost::count(credential.len());
    memchr::memchr_iter(b'.', credential.as_bytes()).count() == 2
}
