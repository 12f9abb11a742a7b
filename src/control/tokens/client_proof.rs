//! Client authentication by a signed assertion (`private_key_jwt`, RFC 7523 section 2.2), the same at every endpoint.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::client_cache::{AuthenticatingClient, Clients};
use super::decoy_keys::DecoyKeys;
use super::error::{TokenError, Unproven};
use crate::control::bad_request::BadRequest;
use crate::control::changes::Changes;
use crate::control::client_address::ClientAddress;
use crate::control::form::Form;
use crate::control::rate_limits::Limits;
use crate::domain::client_assertion::{
    AssertionError, AssertionRules, KEYS_TRIED_MAX, UnverifiedAssertion, VerifiedAssertion,
};
use crate::domain::ids::{AppId, KeyId};
use crate::store::Store;
use crate::store::replay::AssertionUse;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a client sends to authenticate. It has no `Debug`.
pub(crate) struct ClientCredentials {
    assertion: String,
    client_id: Option<String>,
}

/// An app that authenticated, and its assertion.
pub(crate) struct AuthenticatedClient {
    pub client: Arc<AuthenticatingClient>,
    pub assertion: VerifiedAssertion,
}

/// The app and key that a request names, verified or not: for the log.
#[derive(Debug, Default)]
pub(crate) struct ClaimedIdentity {
    pub app: Option<AppId>,
    pub key: Option<KeyId>,
}

impl ClientCredentials {
    /// The credentials in a form.
    ///
    /// # Errors
    /// [`TokenError::Credentials`] says what is missing or of another kind.
    pub fn of(form: &Form) -> Result<Self, TokenError> {
        let rejected = |problem| Err(TokenError::Credentials(problem));
        if form.get("client_secret").is_some() {
            return rejected("this endpoint takes no client_secret; send client_assertion (private_key_jwt)");
        }
        match (form.get("client_assertion_type"), form.get("client_assertion")) {
            (Some(ASSERTION_TYPE), Some(assertion)) => Ok(Self {
                assertion: assertion.to_owned(),
                client_id: form.get("client_id").map(str::to_owned),
            }),
            (Some(ASSERTION_TYPE), None) => rejected("the parameter client_assertion is missing"),
            (Some(_), _) => rejected("the client_assertion_type is not that of RFC 7523 section 2.2"),
            (None, _) => rejected("the parameter client_assertion_type is missing"),
        }
    }
}

/// Authenticates clients by their assertions (RFC 7523).
pub struct ClientAuthentication {
    pub(crate) assertion_audiences: [String; 2],
    /// The longest lifetime of an assertion, in seconds.
    pub(crate) assertion_lifetime_max_s: u64,
    pub(crate) decoys: DecoyKeys,
    pub(crate) limits: Arc<Limits>,
    pub(crate) store: Arc<Store>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) clients: Arc<Clients>,
}

impl ClientAuthentication {
    /// Authenticates a client: looks up the app that the assertion names, verifies the assertion, and uses it up.
    pub(crate) async fn authenticate(
        &self,
        credentials: &ClientCredentials,
        from: ClientAddress,
        claimed: &mut ClaimedIdentity,
    ) -> Result<AuthenticatedClient, TokenError> {
        let assertion = UnverifiedAssertion::parse(&credentials.assertion)?;
        claimed.app = Some(assertion.app().clone());
        claimed.key = assertion.key_id().cloned();
        let client_id = credentials.client_id.as_deref();
        if client_id.is_some_and(|id| id != assertion.app().as_str()) {
            return Err(TokenError::ClientIdMismatch);
        }
        let cached = self.clients.cached(assertion.app());
        let was_cached = cached.is_some();
        let client = match cached {
            Some(client) => Some(client),
            None => self.clients.client_for(assertion.app(), from).await?,
        };
        let verified = self.verify(&assertion, client.as_deref());
        if was_cached && matches!(verified, Err(TokenError::Unproven(_))) {
            self.clients.read_in_vain(assertion.app(), from).await?;
        }
        let verified = verified?;
        let client = client.ok_or(TokenError::Unproven(Unproven::UnknownApp))?;
        claimed.key = Some(verified.key.clone());
        if client.has_expired(&verified.key, self.changes.now()) {
            return Err(TokenError::KeyExpired);
        }
        self.limits.app_may_ask(&client.app.id)?;
        let digest = URL_SAFE_NO_PAD.encode(verified.replay_digest);
        let used_until = self.changes.watch.end_of_row(verified.expires_at);
        let AssertionUse::Fresh { version } = self.store.use_assertion(digest, used_until).await? else {
            return Err(TokenError::Replayed);
        };
        // Counted only now: a copy of an assertion proves nothing about its sender.
        self.limits.app_asks(&client.app.id)?;
        if client.is_as_of(version) {
            return Ok(AuthenticatedClient {
                client,
                assertion: verified,
            });
        }
        // Something changed since, maybe this app, maybe by another process: its grants of now count.
        let client = self.clients.client(&client.app.id, version).await?;
        let client = client.ok_or(TokenError::Unproven(Unproven::UnknownApp))?;
        if !client.keys().iter().any(|key| *key.id() == verified.key) {
            return Err(TokenError::Unproven(Unproven::UnknownKey));
        }
        Ok(AuthenticatedClient {
            client,
            assertion: verified,
        })
    }

    /// Verifies an assertion with the keys of the app that it names. As many signatures are verified whether app and
    /// key exist or not, so that the time taken tells neither from a wrong signature.
    fn verify(
        &self,
        assertion: &UnverifiedAssertion<'_>,
        client: Option<&AuthenticatingClient>,
    ) -> Result<VerifiedAssertion, TokenError> {
        let keys = client.map_or(&[][..], AuthenticatingClient::keys);
        let audiences: Vec<&str> = self.assertion_audiences.iter().map(String::as_str).collect();
        let rules = AssertionRules {
            audiences: &audiences,
            lifetime_max_s: self.assertion_lifetime_max_s,
        };
        let error = match assertion.verify(keys, rules, self.changes.now()) {
            Err(AssertionError::Signature) => unproven(assertion, client),
            verified => return Ok(verified?),
        };
        let all = if assertion.key_id().is_some() {
            1
        } else {
            KEYS_TRIED_MAX
        };
        let tried = assertion.candidates(keys).count();
        self.decoys.verify_in_vain(assertion, all.saturating_sub(tried));
        Err(TokenError::Unproven(error))
    }

    /// Counts a request that did not authenticate, and asks its sender to wait where there were too many of them.
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

/// Why no key verified the assertion. Only the log tells.
fn unproven(assertion: &UnverifiedAssertion<'_>, client: Option<&AuthenticatingClient>) -> Unproven {
    let Some(client) = client else {
        return Unproven::UnknownApp;
    };
    let named = assertion.key_id();
    let mut keys = client
        .keys()
        .iter()
        .filter(|key| named.is_none_or(|named| named == key.id()))
        .peekable();
    if keys.peek().is_none() {
        Unproven::UnknownKey
    } else if keys.all(|key| key.algorithm() != assertion.algorithm()) {
        Unproven::Algorithm
    } else {
        Unproven::Signature
    }
}
