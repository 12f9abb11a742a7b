//! What became known of a request on its way, for its log line.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::access_token::VerifiedToken;
use crate::domain::decision::{DenyReason, Permit};
use crate::domain::policy::{App, Source};
use crate::gateway::observe::cut::Cut;
use crate::gateway::read::refusal::Refusal;

/// What is known of a request. Nothing here is taken from a token that did not verify.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownFacts {
    /// The source that the request names.
    pub(crate) source: Option<Arc<Source>>,
    pub(crate) token: Option<Arc<VerifiedToken>>,
    pub(crate) permit: Option<Permit>,
    /// A trusted issuer whose keys do not verify the token.
    pub(crate) unverified_issuer: Option<Arc<str>>,
    /// How long verifying and deciding took.
    pub(crate) decide: Option<Duration>,
    pub(crate) upstream_server: Option<SocketAddr>,
    /// From choosing a server to the end of the response.
    pub(crate) upstream: Option<Duration>,
    pub(crate) cut: Option<Cut>,
}

/// A refusal, and what was known when it was made.
#[derive(Clone, Debug)]
pub(crate) struct Denied {
    pub(crate) refusal: Refusal,
    pub(crate) known: KnownFacts,
}

impl KnownFacts {
    /// What a permit rests on.
    pub(crate) fn of_permit(permit: &Permit, token: Option<&Arc<VerifiedToken>>) -> Self {
        Self {
            permit: Some(permit.clone()),
            token: token.cloned(),
            ..Self::default()
        }
    }

    fn source(&self) -> Option<&Source> {
        let permitted = self.permit.as_ref().and_then(Permit::source);
        permitted.or(self.source.as_deref())
    }

    fn app(&self) -> Option<&App> {
        self.permit.as_ref().and_then(Permit::app)
    }

    pub(crate) fn source_id(&self) -> Option<&str> {
        self.source().map(|source| source.id.as_str())
    }

    pub(crate) fn app_id(&self) -> Option<&str> {
        let permitted = self.app().map(|app| app.id.as_str());
        permitted.or_else(|| self.token.as_ref().map(|token| token.app().as_str()))
    }

    pub(crate) fn workspace_id(&self) -> Option<&str> {
        let of_source = self.source().map(|source| source.workspace.as_str());
        of_source.or_else(|| self.app().map(|app| app.workspace.as_str()))
    }

    pub(crate) fn issuer(&self) -> Option<&str> {
        let verified = self.token.as_ref().map(|token| token.issuer());
        verified.or(self.unverified_issuer.as_deref())
    }

    pub(crate) fn client_key_id(&self) -> Option<&str> {
        let key = self.token.as_ref().and_then(|token| token.client_key());
        key.map(|key| key.as_str())
    }
}

impl Denied {
    /// The same refusal, knowing `known` besides.
    pub(crate) fn knowing(refusal: impl Into<Refusal>, known: KnownFacts) -> Self {
        Self {
            refusal: refusal.into(),
            known,
        }
    }
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self::knowing(refusal, KnownFacts::default())
    }
}

impl From<DenyReason> for Denied {
    fn from(reason: DenyReason) -> Self {
        Refusal::from(reason).into()
    }
}
