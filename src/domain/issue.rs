//! `issue`: may this app have a token, for which scopes, until when.

use thiserror::Error;

use super::access_token::AccessTokenClaims;
use super::client_assertion::VerifiedAssertion;
use super::ids::{AppId, WorkspaceId};
use super::scope::ScopeSet;
use super::time::{TokenLifetime, UnixSeconds};

/// What issuing needs to know of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuableApp {
    pub id: AppId,
    pub workspace: WorkspaceId,
    pub scopes: ScopeSet,
    pub token_lifetime: TokenLifetime,
    /// Tokens issued before this moment are no longer accepted.
    pub not_issued_before: UnixSeconds,
}

/// What is the same for every token of this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerIdentity {
    /// `iss`, and the audience that assertions are made for.
    pub issuer: String,
    /// `aud` of the access tokens: the gateways.
    pub audience: String,
}

/// Why an app gets no token although it proved itself.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IssueError {
    #[error("the scope `{0}` is not among the scopes of this OAuth app")]
    ScopeNotHeld(String),
    #[error("the assertion was made by another OAuth app")]
    AppMismatch,
}

/// Makes the claims of a token for `app` and `audience`. An empty request gets all the app's scopes (RFC 6749
/// section 3.3); a scope the app does not have is an error, never dropped in silence.
///
/// # Errors
/// [`IssueError`] when a requested scope is not the app's.
pub fn issue(
    server: &IssuerIdentity,
    app: &IssuableApp,
    assertion: &VerifiedAssertion,
    requested: &ScopeSet,
    audience: &str,
    token_id: String,
    now: UnixSeconds,
) -> Result<AccessTokenClaims, IssueError> {
    if assertion.app != app.id {
        return Err(IssueError::AppMismatch);
    }
    if let Some(scope) = requested.iter().find(|scope| !app.scopes.covers(scope)) {
        return Err(IssueError::ScopeNotHeld(scope.to_string()));
    }
    Ok(AccessTokenClaims {
        issuer: server.issuer.clone(),
        app: app.id.clone(),
        audience: audience.to_owned(),
        // Revoking all tokens moves this moment to the second after: a token of the same second is as if issued
        // then, which the leeway between clocks allows for.
        issued_at: now.max(app.not_issued_before),
        expires_at: now.plus(app.token_lifetime.seconds()),
        token_id,
        scopes: if requested.is_empty() {
            app.scopes.clone()
        } else {
            requested.clone()
        },
        workspace: app.workspace.clone(),
        client_key: assertion.key.clone(),
    })
}
