//! One log line for each request of an OAuth client: who it claims to be, and the real cause of a rejection. The client
//! itself may read less, so that nobody learns which apps and keys exist.

use super::error::in_description;
use crate::control::client_address::ClientAddress;
use crate::control::tokens::client_proof::ClaimedIdentity;
use crate::control::tokens::error::TokenError;
use crate::domain::ids::{AppId, KeyId};

const TOKEN_ISSUED: &str = "token issued";
const CLIENT_REQUEST_REJECTED: &str = "client request rejected";

/// What is known of a request while it is handled.
pub(crate) struct ClientLog {
    endpoint: &'static str,
    from: ClientAddress,
    /// The app and key that the request names.
    pub claimed: ClaimedIdentity,
}

impl ClientLog {
    pub fn new(endpoint: &'static str, from: ClientAddress) -> Self {
        Self {
            endpoint,
            from,
            claimed: ClaimedIdentity::default(),
        }
    }

    /// Logs that a token was issued.
    pub fn issued(&self, scope: &str, expires_in_s: u64) {
        tracing::info!(
            app_id = self.app(),
            key_id = self.key(),
            client = %self.from.0,
            scope,
            expires_in_s,
            "{TOKEN_ISSUED}"
        );
    }

    /// Logs why the request was rejected. A request over its rate limit is logged at level debug: a flood of them must
    /// not fill the log.
    pub fn rejected(&self, error: &TokenError) {
        // The text repeats names that the client sent: without line breaks it cannot forge a line of its own.
        let description: String = error.to_string().chars().map(in_description).collect();
        macro_rules! rejected {
            ($level:ident) => {
                tracing::$level!(
                    endpoint = self.endpoint,
                    cause = error.cause(),
                    app_id = self.app(),
                    key_id = self.key(),
                    client = %self.from.0,
                    status = error.status().0.as_u16(),
                    error = %description,
                    "{CLIENT_REQUEST_REJECTED}"
                )
            };
        }
        match error {
            TokenError::TooMany(_) | TokenError::Unreadable(_) => rejected!(debug),
            _ => rejected!(info),
        }
    }

    fn app(&self) -> Option<&str> {
        self.claimed.app.as_ref().map(AppId::as_str)
    }

    fn key(&self) -> Option<&str> {
        self.claimed.key.as_ref().map(KeyId::as_str)
    }
}
