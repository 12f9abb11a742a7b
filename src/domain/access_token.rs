//! Access tokens: the JWT profile of RFC 9068 and those of identity providers.
//!
//! Checked once, here: shape, types of the claims, `typ`, signature by a key of the issuer that the token names. A cache
//! may keep that. Checked for every request, in `decide`: key, audience, time, revocation, app and scope.

use std::sync::Arc;

use smallvec::SmallVec;

use super::ids::{AppId, Audience, KeyId, TokenDigest, WorkspaceId};
use super::json::Object;
use super::jws::CompactJws;
use super::key::Thumbprint;
use super::policy::{AcceptedTypes, Policy, TrustedIssuer};
use super::scope::ScopeSet;
use super::time::UnixSeconds;
pub use super::token_fault::TokenFault;
pub use super::token_id::TOKEN_ID_BYTES_MAX;

/// The longest access token accepted unless `limits.token_bytes` says otherwise, in bytes.
pub const TOKEN_BYTES_MAX: usize = 32 * 1024;

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
    /// `None` where the issuer's tokens say no scope: those of the app count.
    pub(crate) scopes: Option<ScopeSet>,
    pub(crate) issued_at: UnixSeconds,
    pub(crate) not_before: Option<UnixSeconds>,
    pub(crate) expires_at: UnixSeconds,
    pub(crate) digest: TokenDigest,
    pub(crate) client_key: Option<KeyId>,
}

impl VerifiedToken {
    /// Verifies `token`, of [`TOKEN_BYTES_MAX`] at most, with the keys that `policy` trusts.
    ///
    /// # Errors
    /// As [`Self::verify_at_most`].
    pub fn verify(token: &str, policy: &Policy) -> Result<Self, TokenFault> {
        Self::verify_at_most(token, policy, TOKEN_BYTES_MAX)
    }

    /// Verifies `token`, of `bytes_max` at most, with the keys that `policy` trusts.
    ///
    /// The issuer is taken from the unverified claims, but only to look up keys; the signature must
    /// then be valid for one of that issuer's own keys (RFC 8725 section 3.8).
    ///
    /// # Errors
    /// [`TokenFault`] says which check failed first: size, shape, issuer, type, key, signature, binding, claims.
    pub fn verify_at_most(token: &str, policy: &Policy, bytes_max: usize) -> Result<Self, TokenFault> {
        let jws = CompactJws::parse_at_most(token, bytes_max)?;
        let key_id = jws.require_key_id()?;
        let claims = jws.unverified_claims()?;
        let issuer = policy
            .issuer(claims.text("iss").map_err(TokenFault::Claims)?)
            .ok_or(TokenFault::IssuerUntrusted)?;
        if !is_accepted_type(&jws, &issuer.types) {
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
        // INVARIANT: no proof of a key is checked anywhere yet, so no bound token is accepted.
        if claims.has("cnf") {
            return Err(TokenFault::ProofMissing);
        }
        let verified = Self::from_claims(&claims, jws.signing_input(), issuer, key.thumbprint())?;
        if issuer
            .lifetime_max_s
            .is_some_and(|max| verified.expires_at.since(verified.issued_at) > max)
        {
            return Err(TokenFault::Claim("exp".into()));
        }
        Ok(verified)
    }

    fn from_claims(
        claims: &Object<'_>,
        signing_input: &[u8],
        issuer: &TrustedIssuer,
        key: Thumbprint,
    ) -> Result<Self, TokenFault> {
        let names = &issuer.claims;
        let app = AppId::parse(names.app(claims)?);
        let app = app.map_err(|_| TokenFault::Claim(names.app_claim(claims).into()))?;
        names.check_subject(claims, &app)?;
        let token_id = names.id_of(claims, signing_input)?;
        let client_key = claims
            .optional_text("client_key_id")
            .map_err(TokenFault::Claims)?
            .map(KeyId::parse)
            .transpose()
            .map_err(|_| TokenFault::Claim("client_key_id".into()))?;
        let (audiences, has_one_audience) = names.audiences(claims)?;
        // The gateway's audiences are plain identifiers, so no other text can equal one.
        let audiences = audiences.into_iter();
        let date = |name| claims.date(name).map_err(TokenFault::Claims);
        Ok(Self {
            app,
            audiences: audiences
                .filter_map(|audience| Audience::parse(audience).ok())
                .collect(),
            has_one_audience,
            scopes: names.scopes(claims)?,
            issued_at: date("iat")?,
            not_before: claims.optional_date("nbf").map_err(TokenFault::Claims)?,
            expires_at: date("exp")?,
            digest: TokenDigest::of(&issuer.issuer, &token_id),
            issuer: Arc::clone(&issuer.issuer),
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
        let parsed = Object::parse(claims.as_bytes()).map_err(TokenFault::Claims)?;
        Self::from_claims(&parsed, claims.as_bytes(), issuer, key)
    }

    /// When the token ends. A cache need not keep it longer.
    #[must_use]
    pub fn expires_at(&self) -> UnixSeconds {
        self.expires_at
    }

    /// From when on the token is valid: `nbf` or `iat`, whichever is later.
    #[must_use]
    pub fn begins_at(&self) -> UnixSeconds {
        self.not_before
            .map_or(self.issued_at, |not_before| not_before.max(self.issued_at))
    }

    /// The scopes that the token was issued with; `None` where its issuer says none and those of the app count.
    #[must_use]
    pub fn scopes(&self) -> Option<&ScopeSet> {
        self.scopes.as_ref()
    }

    /// Who issued the token.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The key of the app that proved the token request, where the issuer says so.
    #[must_use]
    pub fn client_key(&self) -> Option<&KeyId> {
        self.client_key.as_ref()
    }

    /// The app that the token was issued to.
    #[must_use]
    pub fn app(&self) -> &AppId {
        &self.app
    }
}

fn is_accepted_type(jws: &CompactJws<'_>, types: &AcceptedTypes) -> bool {
    let is_listed = |types: &[String]| types.iter().any(|wanted| jws.is_type(wanted));
    match types {
        AcceptedTypes::Any => true,
        AcceptedTypes::Listed(types) => is_listed(types),
        AcceptedTypes::ListedOrNone(types) => !jws.has_type() || is_listed(types),
    }
}
