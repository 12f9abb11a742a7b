//! What is wrong with a token that does not verify.

use std::sync::Arc;

use thiserror::Error;

use super::json::JsonError;
use super::jws::JwsError;

/// Why a bearer credential is not a token with a valid signature of a trusted issuer.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TokenFault {
    #[error("{0}")]
    Malformed(#[from] JwsError),
    #[error("the token's claims are not those of an access token: it {0}")]
    Claims(JsonError),
    #[error("the token's claim `{0}` is not acceptable")]
    Claim(Box<str>),
    #[error("the token's claim `{0}` has a value of the wrong type")]
    ClaimType(Box<str>),
    /// The names are quoted already.
    #[error("the token lacks the claim {0}")]
    ClaimMissing(Box<str>),
    #[error("the token is not an access token of its issuer (`typ` in its header, or its claims, say so)")]
    Type,
    #[error("the token's issuer is not trusted")]
    IssuerUntrusted,
    /// The issuer may have published the key since its key set was last read.
    #[error("the token's key is not among the keys of its issuer")]
    KeyUnknown { issuer: Arc<str> },
    #[error("the keys of the token's issuer have not been fetched yet")]
    KeysUnavailable { issuer: Arc<str> },
    #[error("the token's signature is not valid")]
    SignatureInvalid,
    /// RFC 9449 section 7 and RFC 8705 section 3: a bound token is worth nothing without its key.
    #[error("the token is bound to a key (`cnf`), and the request has no proof of that key")]
    ProofMissing,
}

impl TokenFault {
    /// The trusted issuer that the token names and that has no key for it. The token is not verified.
    #[must_use]
    pub const fn issuer(&self) -> Option<&Arc<str>> {
        match self {
            Self::KeyUnknown { issuer } | Self::KeysUnavailable { issuer } => Some(issuer),
            _ => None,
        }
    }
}
