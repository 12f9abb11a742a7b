//! How a client proves which app it is: a client assertion (RFC 7523 section 2.2), at every endpoint alike.

use super::client_cache::Clients;
use crate::control::changes::Changes;
use crate::control::rate_limits::Limits;
use crate::control::signing_keys::key_ring::KeyRing;
use crate::store::Store;
use arc_swap::ArcSwap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::client_cache::AuthenticatingClient;
use super::error::TokenError;
use crate::control::bad_request::BadRequest;
use crate::control::client_address::ClientAddress;
use crate::control::form::Form;
use crate::domain::client_assertion::{UnverifiedAssertion, VerifiedAssertion};
use crate::store::replay::AssertionUse;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a client says to prove itself. It has no `Debug`.
pub(crate) struct ClientCredentials {
    assertion: String,
    client_id: Option<String>,
}

/// An app that proved itself, and its assertion.
pub(crate) struct Proved {
    pub prover: Arc<AuthenticatingClient>,
    pub assertion: VerifiedAssertion,
}

impl ClientCredentials {
    /// The credentials in a form.
    ///
    /// # Errors
    /// [`TokenError::Client`] says what is missing or of another kind.
    pub fn of(form: &Form) -> Result<Self, TokenError> {
        let refused = |sentence: &str| Err(TokenError::Client(sentence.to_owned()));
        if form.get("client_secret").is_some() {
            return refused("this endpoint takes no client_secret; send client_assertion (private_key_jwt)");
        }
        match (form.get("client_assertion_type"), form.get("client_assertion")) {
            (Some(ASSERTION_TYPE), Some(assertion)) => Ok(Self {
                assertion: assertion.to_owned(),
                client_id: form.get("client_id").map(str::to_owned),
            }),
            (Some(ASSERTION_TYPE), None) => refused("the parameter client_assertion is missing"),
            (Some(_), _) => refused("the client_assertion_type is not that of RFC 7523 section 2.2"),
            (None, _) => refused("the parameter client_assertion_type is missing"),
        }
    }
}

/// Verifies client assertions (RFC 7523).
pub struct ClientAuthentication {
    pub(crate) assertion_audiences: [String; 2],
    pub(crate) keys: Arc<ArcSwap<KeyRing>>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) store: Arc<Store>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) clients: Arc<Clients>,
}

impl ClientAuthentication {
    /// Proves who asks: looks up the app and key that the assertion names, verifies it, and uses it up.
    pub(crate) async fn prove(
        &self,
        credentials: &ClientCredentials,
        from: ClientAddress,
    ) -> Result<Proved, TokenError> {
        let assertion = UnverifiedAssertion::parse(&credentials.assertion)?;
        if credentials
            .client_id
            .as_deref()
            .is_some_and(|id| id != assertion.app().as_str())
        {
            return Err(TokenError::Client(
                "the client_id is not the sub of the client assertion".to_owned(),
            ));
        }
        let remembered = self.clients.remembered(assertion.app());
        let was_remembered = remembered.is_some();
        let prover = match remembered {
            Some(prover) => Some(prover),
            None => self.clients.prover_for(assertion.app(), from).await?,
        };
        let verified = self.verify(&assertion, prover.as_deref());
        if was_remembered && matches!(verified, Err(TokenError::Unproven)) {
            // One look into the store for whoever proves nothing, so that the time taken does not tell who
            // asked for tokens of late.
            self.clients.prover_for(assertion.app(), from).await?;
        }
        let verified = verified?;
        let prover = prover.ok_or(TokenError::Unproven)?;
        self.limits.app_may_ask(&prover.app.id)?;
        let digest = URL_SAFE_NO_PAD.encode(verified.replay_digest);
        let used_until = self.changes.watch.end_of_row(verified.expires_at);
        let AssertionUse::Fresh { version } = self.store.use_assertion(digest, used_until).await? else {
            return Err(TokenError::Client(
                "the client assertion was used before; make a new one for each request".to_owned(),
            ));
        };
        // Counted only now: a copy of an assertion proves nothing about who sent it.
        self.limits.app_asks(&prover.app.id)?;
        if Clients::is_as_of(&prover, version) {
            return Ok(Proved {
                prover,
                assertion: verified,
            });
        }
        // Something was changed since, maybe this app, maybe by another process: what it may have is what it
        // may have now.
        let prover = self
            .clients
            .prover(&prover.app.id)
            .await?
            .ok_or(TokenError::Unproven)?;
        prover.key(&verified.key).ok_or(TokenError::Unproven)?;
        Ok(Proved {
            prover,
            assertion: verified,
        })
    }

    /// Verifies an assertion with the key that it names.
    fn verify(
        &self,
        assertion: &UnverifiedAssertion<'_>,
        prover: Option<&AuthenticatingClient>,
    ) -> Result<VerifiedAssertion, TokenError> {
        let now = self.changes.now();
        let Some(key) = prover.and_then(|prover| prover.key(assertion.key_id())) else {
            // A signature is verified all the same, so that the time taken does not tell an unknown app or
            // key from a wrong signature. What comes out of it does not matter.
            let _ = assertion.verify(self.keys.load().active(now).verifying(), &[], now);
            return Err(TokenError::Unproven);
        };
        let audiences: Vec<&str> = self.assertion_audiences.iter().map(String::as_str).collect();
        Ok(assertion.verify(key, &audiences, now)?)
    }

    /// Counts a request that proved no app, and asks its sender to wait where there were too many of them.
    pub(crate) fn slow_down(&self, from: ClientAddress, error: TokenError) -> TokenError {
        if matches!(
            error,
            TokenError::TooMany(_)
                | TokenError::Control(_)
                | TokenError::Unreadable(BadRequest::Exhausted(_))
        ) {
            return error;
        }
        match self.limits.unproven_token_request(from) {
            Ok(()) => error,
            Err(wait) => TokenError::TooMany(wait),
        }
    }
}
