//! OpenID Connect sign-on at a provider: authorization code flow with PKCE.
//!
//! The browser goes to the provider with a `state` that its cookie also holds and that is valid once. It returns with
//! a code, which this server exchanges at the provider for the person's identity.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, Uri, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use zeroize::Zeroizing;

use super::pending_sign_on::PendingSignOn;
use crate::config::Oidc as OidcSettings;
use crate::control::error::ControlError;
use crate::control::form::{encode, escape};
use crate::discovery;
use crate::discovery::DiscoveryError;
use crate::domain::digest::sha256;
use crate::domain::id_token::{Expected, IdTokenError, Identity, key_id, user_info, verify};
use crate::domain::issuer_keys::IssuerKeys;
use crate::domain::key::Algorithm;
use crate::domain::time::UnixSeconds;
use crate::fetched::{Fetched, Lifetime};
use crate::http_client::{Bounds, FetchError, HttpClient, Reach, shown};
use crate::key_sets;
use crate::key_sets::LeftOutLog;
use crate::snapshot::KeyBounds;

/// How long the provider's metadata is kept.
const METADATA: Lifetime = Lifetime {
    kept_for: Duration::from_secs(3_600),
    fetch_every: Duration::ZERO,
};

/// How long the provider's keys are kept. An unknown key id causes a fetch before.
const KEYS: Lifetime = Lifetime {
    kept_for: Duration::from_secs(3_600),
    fetch_every: Duration::from_secs(30),
};

/// Logged when a fetch fails while the earlier value suffices.
const FETCH_FAILED: &str = "sign-on provider fetch failed; keeping the current metadata and keys";

/// What one fetch from the provider may take.
const BOUNDS: Bounds = Bounds {
    within: Duration::from_secs(5),
    bytes_max: 256 * 1024,
};

const CODE_REJECTED: &str = "sign-on provider rejected the authorization code";

/// Why a sign-on failed. The messages are shown to the person.
#[derive(Debug, Error)]
pub enum SignOnError {
    #[error("sign-on is not configured on this server; sign in with your password")]
    NotSetUp,
    #[error("this sign-on was started in another browser, has been used, or has expired; start again")]
    State,
    #[error("the provider rejected the sign-on ({0}); start again")]
    Refused(&'static str),
    #[error("the provider has not verified your email address; ask the administrator of the provider")]
    Unverified,
    #[error(
        "your address has not been invited; ask a workspace owner to invite the address that you use at the provider"
    )]
    NotInvited,
    #[error(
        "this address belongs to an account with another identity at the provider; ask a workspace owner"
    )]
    OtherSubject,
    #[error(
        "sign in with the password of this address first, then open /login/oidc in the same browser to link the provider"
    )]
    PasswordFirst,
    #[error(
        "this address joined its workspace with a password, and passwords are turned off now; ask a workspace owner to remove the member and to invite the address again"
    )]
    JoinedWithPassword,
    #[error("the provider is unavailable; try again shortly")]
    Provider(#[from] ProviderError),
    #[error("{0}")]
    Control(#[from] ControlError),
}

/// What is wrong with a provider, for the operator's log.
#[derive(Debug, Error)]
pub enum ProviderError {
    #[error("{0}: {1}")]
    Fetch(&'static str, FetchError),
    #[error("{0} is invalid: {1}")]
    Content(&'static str, String),
    #[error("{0}")]
    Discovery(#[from] DiscoveryError),
    #[error("a fetch failed moments ago; the next one is due in half a minute")]
    NotYet,
    #[error("{0}")]
    IdToken(#[from] IdTokenError),
}

impl From<crate::store::StoreError> for SignOnError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Control(error.into())
    }
}

/// What a provider says of itself (OpenID Connect Discovery section 3), as far as it is used.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) authorization_response_iss_parameter_supported: bool,
}

/// It has no `Debug`: it holds tokens.
#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    access_token: Option<String>,
}

/// The provider, and what is known of it.
pub struct Provider {
    pub(crate) settings: OidcSettings,
    client: HttpClient,
    /// Where the provider sends the browser back to.
    redirect_uri: String,
    metadata: Fetched<Metadata>,
    keys: Fetched<IssuerKeys>,
    left_out: parking_lot::Mutex<LeftOutLog>,
}

impl Provider {
    pub fn new(settings: OidcSettings, public_url: &str) -> Self {
        Self {
            client: HttpClient::of_environment(Reach::Public {
                besides: settings.networks.clone().into(),
            }),
            settings,
            redirect_uri: format!("{public_url}/login/oidc/callback"),
            metadata: Fetched::new(METADATA),
            keys: Fetched::new(KEYS),
            left_out: parking_lot::Mutex::default(),
        }
    }

    /// The provider's metadata, from its own well-known URL.
    pub(crate) async fn metadata(&self) -> Result<Arc<Metadata>, ProviderError> {
        let found = self.metadata.get(|_| true, self.fetch_metadata(), log_failure);
        found.await?.ok_or(ProviderError::NotYet)
    }

    async fn fetch_metadata(&self) -> Result<Metadata, ProviderError> {
        const WHAT: &str = "the provider's metadata";
        let metadata: Metadata = discovery::metadata(&self.client, &self.settings.issuer, BOUNDS).await?;
        for endpoint in [
            &metadata.authorization_endpoint,
            &metadata.token_endpoint,
            &metadata.jwks_uri,
        ] {
            self.endpoint(endpoint, WHAT)?;
        }
        Ok(metadata)
    }

    /// The provider's keys. An unknown key id causes a fetch, twice a minute at most.
    async fn keys(&self, metadata: &Metadata, token: &str) -> Result<Arc<IssuerKeys>, ProviderError> {
        let wanted = key_id(token)?;
        let fetch = self.fetch_keys(metadata);
        let keys = self
            .keys
            .get(|keys| keys.has(&wanted), fetch, log_failure)
            .await?;
        keys.ok_or(ProviderError::NotYet)
    }

    async fn fetch_keys(&self, metadata: &Metadata) -> Result<IssuerKeys, ProviderError> {
        const WHAT: &str = "the provider's key set";
        let uri = self.endpoint(&metadata.jwks_uri, WHAT)?;
        let limits = KeyBounds::default();
        let bounds = Bounds {
            bytes_max: limits.bytes,
            ..BOUNDS
        };
        let body = self.client.get(&uri, HeaderMap::new(), bounds).await;
        let body = body.map_err(|error| ProviderError::Fetch(WHAT, error))?;
        let set = key_sets::parse(&body, &Algorithm::ALL, limits)
            .map_err(|problem| ProviderError::Content(WHAT, problem))?;
        self.left_out
            .lock()
            .note(&self.settings.issuer, &shown(&uri), &set);
        Ok(set.keys)
    }

    /// A URL of the provider. It is https unless the issuer itself is not, which the config allows on this
    /// machine alone.
    fn endpoint(&self, text: &str, what: &'static str) -> Result<Uri, ProviderError> {
        let uri = text.parse::<Uri>().ok().filter(|uri| uri.host().is_some());
        let plain_issuer = self.settings.issuer.starts_with("http://");
        uri.filter(|uri| {
            uri.scheme_str() == Some("https") || plain_issuer && uri.scheme_str() == Some("http")
        })
        .ok_or_else(|| {
            ProviderError::Content(what, "it names an endpoint that is not an https URL".to_owned())
        })
    }

    /// Where the browser is sent (OpenID Connect Core section 3.1.2.1, RFC 7636 section 4.3).
    pub(crate) fn authorization_url(&self, metadata: &Metadata, pending: &PendingSignOn) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(sha256(pending.verifier.expose().as_bytes()));
        let parameters = [
            ("response_type", "code"),
            ("client_id", &self.settings.client_id),
            ("redirect_uri", &self.redirect_uri),
            ("scope", &self.settings.scopes.join(" ")),
            ("state", pending.state.expose()),
            ("nonce", pending.nonce.expose()),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let endpoint = &metadata.authorization_endpoint;
        let joint = if endpoint.contains('?') { '&' } else { '?' };
        format!("{endpoint}{joint}{}", encode(&parameters))
    }

    /// Takes the code to the provider and brings back who it is for.
    pub(crate) async fn exchange(
        &self,
        metadata: &Metadata,
        code: &str,
        pending: &PendingSignOn,
        now: UnixSeconds,
    ) -> Result<Identity, SignOnError> {
        let tokens = self.tokens(metadata, code, pending).await?;
        let keys = self.keys(metadata, &tokens.id_token).await?;
        let expected = Expected {
            issuer: &self.settings.issuer,
            client_id: &self.settings.client_id,
            nonce: pending.nonce.expose(),
        };
        let identity = verify(&tokens.id_token, &keys, expected, now).map_err(ProviderError::IdToken)?;
        match (&identity.email, &metadata.userinfo_endpoint, &tokens.access_token) {
            (None, Some(endpoint), Some(token)) => {
                Ok(self.user_info(endpoint, token, &identity.subject).await?)
            }
            _ => Ok(identity),
        }
    }

    async fn tokens(
        &self,
        metadata: &Metadata,
        code: &str,
        pending: &PendingSignOn,
    ) -> Result<Tokens, SignOnError> {
        const WHAT: &str = "the provider's token endpoint";
        let uri = self.endpoint(&metadata.token_endpoint, WHAT)?;
        let (id, secret) = (&self.settings.client_id, self.settings.client_secret.expose());
        let mut parameters = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", pending.verifier.expose()),
        ];
        let mut headers = HeaderMap::new();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, form);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        // RFC 8414 section 2: the default is Basic.
        let methods = metadata.token_endpoint_auth_methods_supported.as_deref();
        if methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic")) {
            // RFC 6749 section 2.3.1: both are form-encoded before they are joined.
            let pair = Zeroizing::new(format!("{}:{}", escape(id), escape(secret)));
            let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
            let mut value = HeaderValue::from_str(&value).map_err(|_| {
                ProviderError::Content(
                    WHAT,
                    "the client secret has characters that a header cannot have".to_owned(),
                )
            })?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        } else {
            parameters.extend([("client_id", id.as_str()), ("client_secret", secret)]);
        }
        let answer = self.client.post(&uri, headers, encode(&parameters), BOUNDS).await;
        let (status, body) = answer.map_err(|error| ProviderError::Fetch(WHAT, error))?;
        if status.is_client_error() {
            // The code was not good, or our registration there is not.
            tracing::warn!(%status, "{CODE_REJECTED}");
            return Err(SignOnError::Refused("it rejected the authorization code"));
        }
        if status != http::StatusCode::OK {
            return Err(ProviderError::Fetch(WHAT, FetchError::Status(status.as_u16())).into());
        }
        Ok(parsed(&body, WHAT)?)
    }

    async fn user_info(&self, endpoint: &str, token: &str, subject: &str) -> Result<Identity, ProviderError> {
        const WHAT: &str = "the provider's UserInfo endpoint";
        let uri = self.endpoint(endpoint, WHAT)?;
        let mut headers = HeaderMap::new();
        let value = Zeroizing::new(format!("Bearer {token}"));
        let mut value = HeaderValue::from_str(&value).map_err(|_| {
            ProviderError::Content(
                WHAT,
                "the access token has characters that a header cannot have".to_owned(),
            )
        })?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
        let body = self.client.get(&uri, headers, BOUNDS).await;
        let body = body.map_err(|error| ProviderError::Fetch(WHAT, error))?;
        Ok(user_info(&body, subject)?)
    }
}

fn log_failure(error: &ProviderError) {
    tracing::warn!(%error, "{FETCH_FAILED}");
}

/// What a provider's answer says. What it holds stays out of the error: it may be a token.
fn parsed<T: DeserializeOwned>(body: &[u8], what: &'static str) -> Result<T, ProviderError> {
    serde_json::from_slice(body)
        .map_err(|_| ProviderError::Content(what, "it is not the expected JSON".to_owned()))
}
