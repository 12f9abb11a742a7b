//! The token endpoint: client assertion in, access token out (RFC 6749 section 4.4, RFC 7523, RFC 9068).

use crate::control::changes::Changes;
use crate::control::signing_keys::key_ring::KeyRing;
use crate::control::usage::Uses;
use crate::domain::issue::IssuerIdentity;
use arc_swap::ArcSwap;
use serde::Serialize;
use std::sync::Arc;

use super::client_proof::AuthenticatedClient;
use super::error::TokenError;
use super::resources::Resources;
use crate::control::ids;
use crate::domain::access_token::AccessTokenClaims;
use crate::domain::issue::issue;
use crate::domain::scope::ScopeSet;
use crate::store::issued::IssuedKey;

/// A token response (RFC 6749 section 5.1). `expires_in` is a number: SDKs fail on a string.
#[derive(Serialize)]
pub struct TokenResponse {
    pub access_token: String,
    pub expires_in: u64,
    pub token_type: &'static str,
    pub scope: String,
}

/// The claims of a token, in their order (RFC 9068 section 2.2).
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    client_id: &'a str,
    aud: &'a str,
    iat: u64,
    exp: u64,
    jti: &'a str,
    scope: String,
    workspace_id: &'a str,
    client_key_id: &'a str,
}

impl<'a> From<&'a AccessTokenClaims> for Claims<'a> {
    fn from(claims: &'a AccessTokenClaims) -> Self {
        Self {
            iss: &claims.issuer,
            sub: claims.app.as_str(),
            client_id: claims.app.as_str(),
            aud: &claims.audience,
            iat: claims.issued_at.0,
            exp: claims.expires_at.0,
            jti: &claims.token_id,
            scope: claims.scopes.to_string(),
            workspace_id: claims.workspace.as_str(),
            client_key_id: claims.client_key.as_str(),
        }
    }
}

/// Issues access tokens.
pub struct Tokens {
    pub(crate) identity: Arc<IssuerIdentity>,
    pub(crate) keys: Arc<ArcSwap<KeyRing>>,
    pub(crate) uses: Arc<Uses>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) resources: Arc<Resources>,
}

/// What a client asks for.
pub(crate) struct TokenRequest<'r> {
    /// All the app's scopes where it is empty.
    pub scopes: &'r ScopeSet,
    /// The gateways that the token is for (RFC 8707); all where it is empty.
    pub resources: &'r [&'r str],
}

impl Tokens {
    /// Issues a token to an app that authenticated.
    ///
    /// # Errors
    /// [`TokenError::Scope`] for a scope that the app does not have, [`TokenError::Resource`].
    pub(crate) fn issue_token(
        &self,
        authenticated: &AuthenticatedClient,
        requested: &TokenRequest<'_>,
    ) -> Result<TokenResponse, TokenError> {
        let now = self.changes.now();
        let app = &authenticated.client.app;
        let audience = self.resources.audience(requested.resources)?;
        let token_id = ids::token_id(&app.id, now.plus(app.token_lifetime.seconds()))?;
        let claims = issue(
            &self.identity,
            app,
            &authenticated.assertion,
            requested.scopes,
            audience,
            token_id,
            now,
        )?;
        let keys = self.keys.load();
        let signing_key = keys.active(now);
        let access_token = signing_key.sign(&Claims::from(&claims))?;
        self.uses.note_app_key(&claims.client_key, now);
        let counted = IssuedKey::new(
            &claims.app,
            &claims.client_key,
            signing_key.verifying().id(),
            claims.issued_at,
            claims.expires_at,
        );
        self.uses.record_issued(counted, claims.issued_at);
        Ok(TokenResponse {
            access_token,
            expires_in: claims.expires_at.since(now),
            token_type: "Bearer",
            scope: claims.scopes.to_string(),
        })
    }
}
