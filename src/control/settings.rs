//! The settings that a control plane opens with.

use std::time::Duration;

use super::open_error::OpenError;
use crate::config::{ControlLimits, LeakedTokens, Login, Signing};
use crate::domain::issuer_url::is_issuer_url;
use crate::domain::network::Network;
use crate::store_location::StoreLocation;

/// Settings of a control plane.
#[derive(Clone, Debug)]
pub struct ControlSettings {
    pub store: StoreLocation,
    /// Where clients reach this server, without a trailing slash. It is the issuer (`iss`), exactly.
    pub public_url: String,
    /// `aud` of access tokens, if the config names it; else what the store has.
    pub audience: Option<String>,
    /// Public URLs of gateways: what clients may name as `resource` (RFC 8707).
    pub resources: Vec<String>,
    /// The longest lifetime of a client assertion, in seconds.
    pub assertion_lifetime_max_s: u64,
    /// Rotation and encryption of signing keys.
    pub signing: Signing,
    /// Who may report leaked tokens.
    pub leaked_tokens: LeakedTokens,
    /// Peers whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<Network>,
    /// Rate limits.
    pub limits: ControlLimits,
    /// How long audit events are kept.
    pub audit_retention: Duration,
    /// How people sign in.
    pub login: Login,
    /// How long an edge may go without proving that its policy is current, if the config says; else what the store has.
    pub fleet_max_age: Option<Duration>,
}

impl ControlSettings {
    /// Checks what the config cannot: values that may come from elsewhere.
    ///
    /// # Errors
    /// [`OpenError::PublicUrl`], [`OpenError::Audience`].
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        check_public_url(&self.public_url)?;
        if self.audience.as_deref() == Some("") {
            return Err(OpenError::Audience);
        }
        Ok(())
    }
}

fn check_public_url(url: &str) -> Result<(), OpenError> {
    match is_issuer_url(url) {
        true => Ok(()),
        false => Err(OpenError::PublicUrl(url.to_owned())),
    }
}
