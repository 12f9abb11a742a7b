//! A request that may be forwarded, and what forwarding it takes.

use std::sync::Arc;

use super::known_facts::KnownFacts;
use crate::domain::access_token::VerifiedToken;
use crate::domain::decision::Permit;
use crate::domain::scope::ScopeSet;
use crate::gateway::read::body::Held;

/// A request that may go on, and what it needs for that.
pub(crate) struct AdmittedRequest {
    pub(crate) permit: Permit,
    /// The policy that allowed it.
    pub(crate) policy_version: u64,
    pub(crate) token: Option<Arc<VerifiedToken>>,
    pub(crate) body: Held,
    pub(crate) forward_authorization: bool,
    pub(crate) known: KnownFacts,
}

impl AdmittedRequest {
    /// The scopes of the token, or those of its app where its issuer's tokens say none.
    pub(crate) fn scopes(&self) -> Option<&ScopeSet> {
        let of_app = || self.permit.app().map(|app| &app.scopes);
        self.token.as_ref()?.scopes().or_else(of_app)
    }
}
