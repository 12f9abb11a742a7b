//! The token endpoint: client assertion in, access token out (RFC 6749 section 4.4, RFC 7523, RFC 9068).

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::Control;
use super::body::{has_media_type, read_body};
use super::error::{BadRequest, TokenError, json};
use super::form::Form;
use super::limits::ClientAddress;
use super::provers::Prover;
use super::random;
use crate::domain::access_token::AccessTokenClaims;
use crate::domain::client_assertion::{UnverifiedAssertion, VerifiedAssertion};
use crate::domain::issue::{IssuableApp, issue};
use crate::domain::scope::ScopeSet;
use crate::store::issued::IssuedKey;
use crate::store::replay::Use;

const GRANT_TYPE: &str = "client_credentials";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a token request says, taken out of its form.
struct TokenRequest {
    assertion: String,
    client_id: Option<String>,
    scopes: ScopeSet,
}

/// A token response (RFC 6749 section 5.1). `expires_in` is a number: SDKs need it so.
#[derive(Serialize)]
pub struct TokenResponse {
    pub access_token: String,
    pub expires_in: u64,
    pub token_type: &'static str,
    pub scope: String,
}

/// The claims as they stand in the token (RFC 9068 section 2.2).
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

/// `POST /token` and `POST //token`.
pub(super) async fn post(
    State(control): State<Arc<Control>>,
    Extension(from): Extension<ClientAddress>,
    request: Request,
) -> Response {
    match answer(&control, from, request).await {
        Ok(token) => {
            control.count_token("ok");
            let mut response = json(StatusCode::OK, "application/json", &token);
            response
                .headers_mut()
                .insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
            response
        }
        Err(error) => {
            control.count_token(error.status().1);
            tracing::debug!(%error, "no token issued");
            error.into_response()
        }
    }
}

/// Any other method on the token endpoint's paths.
pub(super) async fn wrong_method() -> TokenError {
    TokenError::Unreadable(BadRequest::Method)
}

async fn answer(
    control: &Control,
    from: ClientAddress,
    request: Request,
) -> Result<TokenResponse, TokenError> {
    let proved = proved(control, request).await;
    let (request, prover, assertion) = proved.map_err(|error| control.slow_down(from, error))?;
    control.issue_token(&prover.app, &assertion, &request.scopes)
}

/// Reads a request and proves who sent it.
async fn proved(
    control: &Control,
    request: Request,
) -> Result<(TokenRequest, Arc<Prover>, VerifiedAssertion), TokenError> {
    if !has_media_type(request.headers(), "application/x-www-form-urlencoded") {
        return Err(TokenError::MediaType);
    }
    check_no_authorization(request.headers())?;
    let body = read_body(request.into_body())
        .await
        .map_err(TokenError::Unreadable)?;
    let request = parse(&body)?;
    let (prover, assertion) = control.prove(&request).await?;
    Ok((request, prover, assertion))
}

/// RFC 6749 section 2.3: one way of authentication per request, and ours is in the body.
fn check_no_authorization(headers: &HeaderMap) -> Result<(), TokenError> {
    if headers.contains_key(header::AUTHORIZATION) {
        Err(TokenError::Authorization)
    } else {
        Ok(())
    }
}

fn parse(body: &[u8]) -> Result<TokenRequest, TokenError> {
    let form = Form::parse(body).map_err(|error| TokenError::Request(error.to_string()))?;
    match form.get("grant_type") {
        Some(GRANT_TYPE) => {}
        Some(_) => return Err(TokenError::GrantType),
        None => {
            return Err(TokenError::Request(
                "the parameter grant_type is missing".to_owned(),
            ));
        }
    }
    let refused = |sentence: &str| Err(TokenError::Client(sentence.to_owned()));
    if form.get("client_secret").is_some() {
        return refused("this endpoint takes no client_secret; send client_assertion (private_key_jwt)");
    }
    match (form.get("client_assertion_type"), form.get("client_assertion")) {
        (Some(ASSERTION_TYPE), Some(assertion)) => Ok(TokenRequest {
            assertion: assertion.to_owned(),
            client_id: form.get("client_id").map(str::to_owned),
            scopes: ScopeSet::parse(form.get("scope").unwrap_or_default())?,
        }),
        (Some(ASSERTION_TYPE), None) => refused("the parameter client_assertion is missing"),
        (Some(_), _) => refused("the client_assertion_type is not that of RFC 7523 section 2.2"),
        (None, _) => refused("the parameter client_assertion_type is missing"),
    }
}

impl Control {
    /// Proves who asks: looks up the app and key that the assertion names, verifies it, and uses it up.
    async fn prove(&self, request: &TokenRequest) -> Result<(Arc<Prover>, VerifiedAssertion), TokenError> {
        let assertion = UnverifiedAssertion::parse(&request.assertion)?;
        if request
            .client_id
            .as_deref()
            .is_some_and(|id| id != assertion.app().as_str())
        {
            return Err(TokenError::Client(
                "the client_id is not the sub of the client assertion".to_owned(),
            ));
        }
        let remembered = self.remembered(assertion.app());
        let was_remembered = remembered.is_some();
        let prover = match remembered {
            Some(prover) => Some(prover),
            None => self.prover(assertion.app()).await?,
        };
        let verified = self.verify(&assertion, prover.as_deref());
        if was_remembered && matches!(verified, Err(TokenError::Unproven)) {
            // One look into the store for whoever proves nothing, so that the time taken does not tell who
            // asked for tokens of late.
            self.prover(assertion.app()).await?;
        }
        let verified = verified?;
        let prover = prover.ok_or(TokenError::Unproven)?;
        self.limits.app_may_ask(&prover.app.id)?;
        let digest = URL_SAFE_NO_PAD.encode(verified.replay_digest);
        let Use::First { version } = self.store.use_assertion(digest, verified.expires_at).await? else {
            return Err(TokenError::Client(
                "the client assertion was used before; make a new one for each request".to_owned(),
            ));
        };
        // Counted only now: a copy of an assertion proves nothing about who sent it.
        self.limits.app_asks(&prover.app.id)?;
        if Self::is_as_of(&prover, version) {
            return Ok((prover, verified));
        }
        // Something was changed since, maybe this app, maybe by another process: what it may have is what it
        // may have now.
        let prover = self.prover(&prover.app.id).await?.ok_or(TokenError::Unproven)?;
        prover.key(&verified.key).ok_or(TokenError::Unproven)?;
        Ok((prover, verified))
    }

    /// Verifies an assertion with the key that it names.
    fn verify(
        &self,
        assertion: &UnverifiedAssertion<'_>,
        prover: Option<&Prover>,
    ) -> Result<VerifiedAssertion, TokenError> {
        let now = self.now();
        let Some(key) = prover.and_then(|prover| prover.key(assertion.key_id())) else {
            // A signature is verified all the same, so that the time taken does not tell an unknown app or
            // key from a wrong signature. What comes out of it does not matter.
            let _ = assertion.verify(self.keys.active().verifying(), &[], now);
            return Err(TokenError::Unproven);
        };
        let audiences: Vec<&str> = self.assertion_audiences.iter().map(String::as_str).collect();
        Ok(assertion.verify(key, &audiences, now)?)
    }

    /// Counts a request that proved no app, and asks its sender to wait where there were too many of them.
    fn slow_down(&self, from: ClientAddress, error: TokenError) -> TokenError {
        if matches!(error, TokenError::TooMany(_) | TokenError::Control(_)) {
            return error;
        }
        match self.limits.unproven_token_request(from) {
            Ok(()) => error,
            Err(wait) => TokenError::TooMany(wait),
        }
    }

    /// Issues a token to an app that proved itself.
    fn issue_token(
        &self,
        app: &IssuableApp,
        assertion: &VerifiedAssertion,
        requested: &ScopeSet,
    ) -> Result<TokenResponse, TokenError> {
        let now = self.now();
        let claims = issue(
            &self.identity,
            app,
            assertion,
            requested,
            random::token_id()?,
            now,
        )?;
        let access_token = self.keys.active().sign(&Claims::from(&claims))?;
        self.uses.note_app_key(&claims.client_key, now);
        self.uses.note_issued(IssuedKey::new(
            &claims.app,
            &claims.client_key,
            now,
            claims.expires_at,
        ));
        tracing::debug!(app.id = %claims.app, key.id = %claims.client_key, "token issued");
        Ok(TokenResponse {
            access_token,
            expires_in: claims.expires_at.since(now),
            token_type: "Bearer",
            scope: claims.scopes.to_string(),
        })
    }
}
