//! A request as plain data, and its way into the facts that `decide` looks at. Tokens are taken as
//! verified here, since a signature for each of thousands would take minutes.

use portcullis::domain::access_token::{TokenFault, VerifiedToken};
use portcullis::domain::claim_names::ClaimNames;
use portcullis::domain::decide::decide;
use portcullis::domain::decision::DenyReason;
use portcullis::domain::facts::{
    CredentialFact, RequestFacts, RouteFacts, SourceFact, UnknownSources, WithoutToken,
};
use portcullis::domain::ids::WriteKeyDigest;
use portcullis::domain::policy::{AcceptedTypes, Policy, TrustedIssuer};
use portcullis::domain::scope::Scope;
use portcullis::domain::time::UnixSeconds;
use serde_json::json;

use super::model::Answer;
use super::signers::signer;

#[derive(Clone, Debug)]
pub struct Request {
    pub now: u64,
    pub scope: String,
    pub forward_unknown_sources: bool,
    pub forward_without_token: bool,
    pub source: Named,
    pub credential: Credential,
}

/// The source that a request names.
#[derive(Clone, Debug)]
pub enum Named {
    ByToken,
    /// By token, with this write key as well; whether the key is in the place of a credential.
    ByTokenBeside(String, bool),
    WriteKey(String),
    Unreadable(DenyReason),
}

#[derive(Clone, Debug)]
pub enum Credential {
    Missing,
    Conflicting,
    Opaque,
    Faulty(Fault),
    Token(Token),
}

/// Why a token did not verify.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Claim,
    Type,
    IssuerUntrusted,
    KeyUnknown,
    KeysUnavailable,
    SignatureInvalid,
    ProofMissing,
}

#[derive(Clone, Debug)]
pub struct Token {
    pub issuer: String,
    pub signer: String,
    pub app: String,
    pub audiences: Vec<String>,
    pub scopes: Vec<String>,
    pub issued_at: u64,
    pub not_before: Option<u64>,
    pub expires_at: u64,
    pub token_id: String,
    pub client_key: Option<String>,
}

impl Request {
    /// What the real `decide` says.
    pub fn decide(&self, policy: &Policy) -> Answer {
        self.with_facts(|facts, now| decide(policy, facts, now).into())
    }

    /// What `look` makes of the facts and the time of the request.
    pub fn with_facts<T>(&self, look: impl FnOnce(&RequestFacts<'_>, UnixSeconds) -> T) -> T {
        let scope = Scope::parse(&self.scope).unwrap();
        let route = RouteFacts {
            scope: &scope,
            unknown_sources: if self.forward_unknown_sources {
                UnknownSources::Forward
            } else {
                UnknownSources::Deny
            },
            without_token: if self.forward_without_token {
                WithoutToken::Forward
            } else {
                WithoutToken::Deny
            },
        };
        let source = match &self.source {
            Named::ByToken => SourceFact::ByToken,
            Named::ByTokenBeside(key, is_credential) => SourceFact::ByTokenBeside {
                key: WriteKeyDigest::of(key.as_bytes()),
                is_credential: *is_credential,
            },
            Named::WriteKey(key) => SourceFact::WriteKey(WriteKeyDigest::of(key.as_bytes())),
            Named::Unreadable(reason) => SourceFact::Unreadable(*reason),
        };
        let (token, fault);
        let credential = match &self.credential {
            Credential::Missing => CredentialFact::Missing,
            Credential::Conflicting => CredentialFact::Conflicting,
            Credential::Opaque => CredentialFact::Opaque,
            Credential::Faulty(kind) => {
                fault = kind.token_fault();
                CredentialFact::Faulty(&fault)
            }
            Credential::Token(plain) => {
                token = plain.verified();
                CredentialFact::Verified(&token)
            }
        };
        let facts = RequestFacts {
            route,
            source,
            credential,
        };
        look(&facts, UnixSeconds(self.now))
    }

    /// The token, for a change to it.
    pub fn token_mut(&mut self) -> Option<&mut Token> {
        match &mut self.credential {
            Credential::Token(token) => Some(token),
            _ => None,
        }
    }
}

impl Fault {
    fn token_fault(self) -> TokenFault {
        let issuer = "https://auth.test".into();
        match self {
            Self::Claim => TokenFault::Claim("jti".into()),
            Self::Type => TokenFault::Type,
            Self::IssuerUntrusted => TokenFault::IssuerUntrusted,
            Self::KeyUnknown => TokenFault::KeyUnknown { issuer },
            Self::KeysUnavailable => TokenFault::KeysUnavailable { issuer },
            Self::SignatureInvalid => TokenFault::SignatureInvalid,
            Self::ProofMissing => TokenFault::ProofMissing,
        }
    }
}

impl Token {
    pub fn verified(&self) -> VerifiedToken {
        let issuer = TrustedIssuer {
            issuer: self.issuer.as_str().into(),
            audiences: Vec::new(),
            types: AcceptedTypes::Any,
            claims: ClaimNames::default(),
            leeway_s: 0,
            lifetime_max_s: None,
            keys: None,
        };
        let aud = match self.audiences.as_slice() {
            [one] => json!(one),
            several => json!(several),
        };
        let mut claims = json!({
            "iss": self.issuer, "sub": self.app, "client_id": self.app, "aud": aud,
            "iat": self.issued_at, "exp": self.expires_at, "jti": self.token_id,
            "scope": self.scopes.join(" "),
        });
        if let Some(not_before) = self.not_before {
            claims["nbf"] = json!(not_before);
        }
        if let Some(key) = &self.client_key {
            claims["client_key_id"] = json!(key);
        }
        let thumbprint = signer(&self.signer).public().thumbprint();
        VerifiedToken::for_test(&issuer, thumbprint, &claims.to_string()).unwrap()
    }
}
