//! The typed `login:` section: sessions, passwords and single sign-on.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::domain::network::Network;

/// How people sign in.
#[derive(Clone, Debug)]
pub struct Login {
    /// How long a session lasts at most.
    pub session_lifetime: Duration,
    /// How long a session lasts without being used.
    pub session_idle: Duration,
    /// Where they may sign on.
    pub oidc: Option<Oidc>,
    /// Whether passwords are accepted. Without them, `oidc` is the only way to sign in.
    pub passwords: bool,
}

impl Default for Login {
    fn default() -> Self {
        Self {
            session_lifetime: Duration::from_secs(12 * 3_600),
            session_idle: Duration::from_secs(2 * 3_600),
            oidc: None,
            passwords: true,
        }
    }
}

/// An `OpenID` provider.
#[derive(Clone, Debug)]
pub struct Oidc {
    /// To the letter as the provider writes it.
    pub issuer: String,
    pub client_id: String,
    pub client_secret: ClientSecret,
    /// `openid` and `email` among them.
    pub scopes: Vec<String>,
    /// Domains of the e-mail addresses that may sign on; any, when there are none.
    pub domains: Vec<String>,
    /// Networks that the provider may be in besides the public one.
    pub networks: Vec<Network>,
}

/// The secret that proves this server to its provider. It cannot be printed.
#[derive(Clone)]
pub struct ClientSecret(Zeroizing<String>);

impl ClientSecret {
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself, for the one request that carries it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(..)")
    }
}
