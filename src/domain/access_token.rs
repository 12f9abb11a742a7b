//! Access tokens: the JWT profile of RFC 9068, what is checked once and what is checked each time.
//!
//! Once, here: shape, types of the claims, `typ`, signature by a key of the issuer that the token names.
//! Each time, in `decide`: that the key is still trusted, audience, time, revocation, app, scope. The
//! first part is what a cache may keep.

use std::sync::Arc;

use smallvec::SmallVec;
use thiserror::Error;

use super::ids::{AppId, Audience, KeyId, TokenDigest, WorkspaceId};
use super::json::{JsonError, Object};
use super::jws::{CompactJws, JwsError};
use super::key::Thumbprint;
#[cfg(feature = "test-util")]
use super::policy::TrustedIssuer;
use super::policy::{AcceptedTypes, Policy};
use super::scope::ScopeSet;
use super::time::UnixSeconds;

/// The longest `jti` accepted, in bytes.
pub const TOKEN_ID_BYTES_MAX: usize = 256;

/// The claims of an access token that our own token endpoint issues (RFC 9068 section 2.2, and two of
/// our own). Times in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessTokenClaims {
    pub issuer: String,
    /// `sub` and `client_id` alike.
    pub app: AppId,
    pub audience: String,
    pub issued_at: UnixSeconds,
    pub expires_at: UnixSeconds,
    pub token_id: String,
    pub scopes: ScopeSet,
    pub workspace: WorkspaceId,
    /// The app key that proved the request for this token.
    pub client_key: KeyId,
}

/// Why a bearer credential is not a token with a valid signature of a trusted issuer.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TokenFault {
    #[error("{0}")]
    Malformed(#[from] JwsError),
    #[error("the token's claims are not those of an access token: it {0}")]
    Claims(JsonError),
    #[error("the token's claim `{0}` is not acceptable")]
    Claim(&'static str),
    #[error("the token's `typ` is not that of an access token")]
    Type,
    #[error("the token's issuer is not trusted")]
    IssuerUntrusted,
    /// The issuer may have published the key since its key set was last read.
    #[error("the token's key is not among the keys of its issuer")]
    KeyUnknown { issuer: Arc<str> },
    #[error("the keys of the token's issuer could not be had yet")]
    KeysUnavailable { issuer: Arc<str> },
    #[error("the token's signature is not valid")]
    SignatureInvalid,
}

/// A token whose signature was valid for a key of the issuer it names. Not a permission: everything that
/// can change is checked again by each decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken {
    pub(crate) issuer: Arc<str>,
    pub(crate) key: Thumbprint,
    pub(crate) app: AppId,
    pub(crate) audiences: SmallVec<[Audience; 1]>,
    /// Whether `aud` is one text, and no list.
    pub(crate) has_one_audience: bool,
    pub(crate) scopes: ScopeSet,
    pub(crate) issued_at: UnixSeconds,
    pub(crate) not_before: Option<UnixSeconds>,
    pub(crate) expires_at: UnixSeconds,
    pub(crate) digest: TokenDigest,
    pub(crate) client_key: Option<KeyId>,
}

impl VerifiedToken {
    /// Verifies `token` with the keys that `policy` trusts.
    ///
    /// The issuer is taken from the unverified claims, but only to look up keys; the signature must
    /// then be valid for one of that issuer's own keys (RFC 8725 section 3.8).
    ///
    /// # Errors
    /// [`TokenFault`] says which check failed first: shape, claims, issuer, type, key, signature.
    pub fn verify(token: &str, policy: &Policy) -> Result<Self, TokenFault> {
        let jws = CompactJws::parse(token)?;
        let key_id = jws.require_key_id()?;
        let claims = jws.unverified_claims()?;
        let issuer = policy
            .issuer(claims.text("iss").map_err(TokenFault::Claims)?)
            .ok_or(TokenFault::IssuerUntrusted)?;
        if let AcceptedTypes::Listed(types) = &issuer.types
            && !types.iter().any(|wanted| jws.is_type(wanted))
        {
            return Err(TokenFault::Type);
        }
        let Some(keys) = &issuer.keys else {
            return Err(TokenFault::KeysUnavailable {
                issuer: Arc::clone(&issuer.issuer),
            });
        };
        if !keys.has(key_id) {
            return Err(TokenFault::KeyUnknown {
                issuer: Arc::clone(&issuer.issuer),
            });
        }
        let mut candidates = keys.candidates(key_id, jws.algorithm());
        let key = candidates.find(|key| jws.is_signed_by(key));
        let key = key.ok_or(TokenFault::SignatureInvalid)?;
        let verified = Self::from_claims(&claims, Arc::clone(&issuer.issuer), key.thumbprint())?;
        if issuer
            .lifetime_max_s
            .is_some_and(|max| verified.expires_at.since(verified.issued_at) > max)
        {
            return Err(TokenFault::Claim("exp"));
        }
        Ok(verified)
    }

    fn from_claims(claims: &Object<'_>, issuer: Arc<str>, key: Thumbprint) -> Result<Self, TokenFault> {
        let text = |name| claims.text(name).map_err(TokenFault::Claims);
        let token_id = text("jti")?;
        if token_id.is_empty() || token_id.len() > TOKEN_ID_BYTES_MAX {
            return Err(TokenFault::Claim("jti"));
        }
        text("sub")?;
        let scopes = claims
            .optional_text("scope")
            .map_err(TokenFault::Claims)?
            .unwrap_or_default();
        let client_key = claims
            .optional_text("client_key_id")
            .map_err(TokenFault::Claims)?
            .map(KeyId::parse)
            .transpose()
            .map_err(|_| TokenFault::Claim("client_key_id"))?;
        Ok(Self {
            app: AppId::parse(text("client_id")?).map_err(|_| TokenFault::Claim("client_id"))?,
            audiences: audiences(claims)?,
            has_one_audience: claims.text("aud").is_ok(),
            scopes: ScopeSet::parse(scopes).map_err(|_| TokenFault::Claim("scope"))?,
            issued_at: UnixSeconds(claims.integer("iat").map_err(TokenFault::Claims)?),
            not_before: claims
                .optional_integer("nbf")
                .map_err(TokenFault::Claims)?
                .map(UnixSeconds),
            expires_at: UnixSeconds(claims.integer("exp").map_err(TokenFault::Claims)?),
            digest: TokenDigest::of(&issuer, token_id),
            issuer,
            key,
            client_key,
        })
    }

    /// A token taken as verified, from the text of its claims: for tests and benches that need more
    /// tokens than can be signed.
    ///
    /// # Errors
    /// [`TokenFault`] when the text is not the claims of an access token.
    #[cfg(feature = "test-util")]
    pub fn for_test(issuer: &TrustedIssuer, key: Thumbprint, claims: &str) -> Result<Self, TokenFault> {
        let claims = Object::parse(claims.as_bytes()).map_err(TokenFault::Claims)?;
        Self::from_claims(&claims, Arc::clone(&issuer.issuer), key)
    }

    /// When the token ends. A cache need not keep it longer.
    #[must_use]
    pub fn expires_at(&self) -> UnixSeconds {
        self.expires_at
    }

    /// The scopes that the token was issued with.
    #[must_use]
    pub fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }

    /// The app that the token was issued to.
    #[must_use]
    pub fn app(&self) -> &AppId {
        &self.app
    }
}

/// The audiences named, without those that could be nobody's here: an audience that is not a plain
/// identifier equals none of ours, which are.
fn audiences(claims: &Object<'_>) -> Result<SmallVec<[Audience; 1]>, TokenFault> {
    let named = claims.texts("aud").map_err(TokenFault::Claims)?;
    Ok(named
        .into_iter()
        .filter_map(|audience| Audience::parse(audience).ok())
        .collect())
}
