//! Request facts: everything a decision may look at, and nothing else.

use super::access_token::{TokenFault, VerifiedToken};
use super::decision::DenyReason;
use super::ids::WriteKeyDigest;
use super::scope::Scope;

/// What the gateway observed about one request, and what the route it came in on asks for.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'a> {
    pub route: RouteFacts<'a>,
    pub source: SourceFact,
    pub credential: CredentialFact<'a>,
}

/// What a route asks of its requests.
#[derive(Clone, Copy, Debug)]
pub struct RouteFacts<'a> {
    /// The scope a token needs here.
    pub scope: &'a Scope,
    /// What happens to a request that names a source nobody registered.
    pub unknown_sources: UnknownSources,
    /// What happens to a request without an access token, on a route that identifies by token.
    pub without_token: WithoutToken,
}

/// What happens to a request that names an unknown source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownSources {
    #[default]
    Deny,
    /// The upstream knows sources that we do not, and judges them itself.
    Forward,
}

/// What happens to a request that carries no token, or an opaque one that an upstream issued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WithoutToken {
    #[default]
    Deny,
    /// The upstream checks its own credentials.
    Forward,
}

/// Which source the request says it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceFact {
    /// The route identifies by token alone; no source is looked for.
    ByToken,
    /// The route identifies by token, and the request also carries this write key, which a server behind the
    /// gateway may read.
    ByTokenBeside {
        key: WriteKeyDigest,
        /// The key stands in `Authorization`, where a token of the route's upstream would.
        is_credential: bool,
    },
    /// Every place that names a source names this one.
    WriteKey(WriteKeyDigest),
    /// The source cannot be told: missing, contradictory, or the body could not be read. The reason is
    /// the denial's.
    Unreadable(DenyReason),
}

/// The request's bearer credential.
#[derive(Clone, Copy, Debug)]
pub enum CredentialFact<'a> {
    /// No `Authorization` header, or `Basic`, which only names a source.
    Missing,
    /// More than one credential: the upstream might trust the other one.
    Conflicting,
    /// A bearer credential without the shape of a JWS, such as an upstream's own opaque token.
    Opaque,
    /// A token that did not verify.
    Faulty(&'a TokenFault),
    /// A token with a valid signature.
    Verified(&'a VerifiedToken),
}
