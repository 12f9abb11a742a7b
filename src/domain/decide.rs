//! `decide`: the one function that says yes or no.
//!
//! The order of the checks is part of the contract: the first that fails gives the reason.
//!
//! 1. one credential at most
//! 2. the source is known (and if its enforcement is off, the write key alone permits); on a route that
//!    identifies by token, a known write key is no credential
//! 3. the policy is fresh
//! 4. the token is there and verified
//! 5. its issuer and its key are still trusted, its audience is ours
//! 6. it is within its time
//! 7. it is not revoked
//! 8. its app exists, is the issuer's, and is connected to the source (on a route that identifies by token: to
//!    the enforced source whose write key the request carries, too)
//! 9. the scope covers the route
//!
//! With enforcement on `observe` the checks from 3 on run alike, and the first failure becomes a permit
//! that carries its reason.

use std::sync::Arc;

use super::access_token::{TokenFault, VerifiedToken};
use super::checks::{Basis, Check, Observer};
use super::decision::{Decision, DenyReason, Mode, Permit};
use super::facts::{CredentialFact, RequestFacts, SourceFact, UnknownSources, WithoutToken};
use super::policy::{App, Enforcement, Policy, Source};
use super::time::UnixSeconds;

/// Decides one request. Pure: the same arguments give the same answer, nothing is read, written or
/// allocated, and nothing here can wait.
#[must_use]
pub fn decide(policy: &Policy, facts: &RequestFacts<'_>, now: UnixSeconds) -> Decision {
    decide_observed(policy, facts, now, &mut ())
}

/// Decides one request while `observer` watches: the same decision by the same code.
pub fn decide_observed<O: Observer>(
    policy: &Policy,
    facts: &RequestFacts<'_>,
    now: UnixSeconds,
    observer: &mut O,
) -> Decision {
    let on = Basis { policy, facts, now };
    observer.begin(&on);
    match (Deciding { on, observer }).decide() {
        Ok(permit) => Decision::Allow(permit),
        Err(reason) => Decision::Deny(reason),
    }
}

/// Fails with `reason` unless the condition holds.
const fn require(holds: bool, reason: DenyReason) -> Result<(), DenyReason> {
    match holds {
        true => Ok(()),
        false => Err(reason),
    }
}

/// One decision: what it rests on, and who watches.
struct Deciding<'p, 'd, 'o, O> {
    on: Basis<'p, 'd>,
    observer: &'o mut O,
}

impl<'p, O: Observer> Deciding<'p, '_, '_, O> {
    /// Reports the result of a check, and returns it.
    fn check<T>(&mut self, check: Check, result: Result<T, DenyReason>) -> Result<T, DenyReason> {
        self.observer.check(&self.on, check, result)
    }

    fn decide(mut self) -> Result<Permit, DenyReason> {
        let is_one = !matches!(self.on.facts.credential, CredentialFact::Conflicting);
        self.check(
            Check::Credential,
            require(is_one, DenyReason::CredentialsConflict),
        )?;
        let named = self.named_source();
        let named = self.check(Check::Source, named)?;
        match (self.on.facts.source, named) {
            (SourceFact::WriteKey(_), Some(source)) => self.for_source(source),
            (SourceFact::WriteKey(_), None) => Ok(unenforced(None)),
            (_, named) => self.by_token(named),
        }
    }

    /// The source whose write key the request carries, where it is known or need not be.
    fn named_source(&self) -> Result<Option<&'p Arc<Source>>, DenyReason> {
        match self.on.facts.source {
            SourceFact::Unreadable(reason) => Err(reason),
            SourceFact::ByToken => Ok(None),
            SourceFact::ByTokenBeside { key, is_credential } => match self.on.policy.source(&key) {
                // A write key proves nothing, so on this route it is no credential.
                Some(_) if is_credential => Err(DenyReason::TokenMissing),
                source => Ok(source),
            },
            SourceFact::WriteKey(key) => match self.on.policy.source(&key) {
                None if self.on.facts.route.unknown_sources == UnknownSources::Deny => {
                    Err(DenyReason::SourceUnknown)
                }
                source => Ok(source),
            },
        }
    }

    /// `named` is the source whose write key the request carries although the route does not need one.
    ///
    /// INVARIANT: an enforced source is enforced on every route. Its key without a token of the connected app is
    /// refused here as on the routes that identify sources.
    fn by_token(mut self, named: Option<&Arc<Source>>) -> Result<Permit, DenyReason> {
        let facts = self.on.facts;
        let enforced = named.filter(|source| source.enforcement == Enforcement::On);
        let none_of_ours = matches!(facts.credential, CredentialFact::Missing | CredentialFact::Opaque);
        if enforced.is_none() && none_of_ours && facts.route.without_token == WithoutToken::Forward {
            return Ok(match named {
                Some(source) if source.enforcement == Enforcement::Observe => Permit {
                    mode: Mode::Observed,
                    would_deny: self.authorize(Some(source)).err(),
                    ..unenforced(Some(source))
                },
                _ => unenforced(None),
            });
        }
        let app = self.authorize(enforced.map(AsRef::as_ref))?;
        Ok(Permit {
            mode: Mode::Enforced,
            source: enforced.cloned(),
            app: Some(Arc::clone(app)),
            would_deny: None,
        })
    }

    fn for_source(mut self, source: &Arc<Source>) -> Result<Permit, DenyReason> {
        let mode = match source.enforcement {
            Enforcement::Off => return Ok(unenforced(Some(source))),
            Enforcement::Observe => Mode::Observed,
            Enforcement::On => Mode::Enforced,
        };
        let (app, would_deny) = match self.authorize(Some(source)) {
            Ok(app) => (Some(Arc::clone(app)), None),
            Err(reason) if mode == Mode::Observed => (None, Some(reason)),
            Err(reason) => return Err(reason),
        };
        Ok(Permit {
            mode,
            source: Some(Arc::clone(source)),
            app,
            would_deny,
        })
    }

    /// Checks 3 to 9: the app that the token speaks for, or the first reason against it.
    fn authorize(&mut self, source: Option<&Source>) -> Result<&'p Arc<App>, DenyReason> {
        let (policy, facts) = (self.on.policy, self.on.facts);
        let is_fresh = !policy.is_stale(self.on.now);
        self.check(Check::PolicyAge, require(is_fresh, DenyReason::PolicyStale))?;
        let token = self.check(Check::Token, verified(&facts.credential))?;
        self.check_issuer_and_time(token)?;
        let is_live = !policy.is_revoked(&token.digest);
        self.check(Check::Revocation, require(is_live, DenyReason::TokenRevoked))?;
        let app = policy.app(&token.app).filter(|app| app.issuer == token.issuer);
        let app = self.check(Check::App, app.ok_or(DenyReason::AppUnknown))?;
        // Revoking all tokens of an app, of one of its keys or of a workspace is one cutoff, not an entry for each token.
        let has_ended = app.has_ended(token.client_key.as_ref(), token.issued_at)
            || policy.has_workspace_ended(&app.workspace, token.issued_at);
        self.check(Check::Cutoff, require(!has_ended, DenyReason::TokenRevoked))?;
        let is_connected = source.is_none_or(|source| source.connected_app.as_ref() == Some(&token.app));
        self.check(
            Check::Connection,
            require(is_connected, DenyReason::AppNotConnected),
        )?;
        let scope = facts.route.scope;
        let covers = token.scopes.as_ref().is_none_or(|scopes| scopes.covers(scope));
        let is_covered = covers && app.scopes.covers(scope);
        self.check(Check::Scope, require(is_covered, DenyReason::ScopeInsufficient))?;
        Ok(app)
    }

    fn check_issuer_and_time(&mut self, token: &VerifiedToken) -> Result<(), DenyReason> {
        let (policy, now) = (self.on.policy, self.on.now);
        let issuer = policy.issuer(&token.issuer);
        let issuer = self.check(Check::Issuer, issuer.ok_or(DenyReason::TokenIssuerUntrusted))?;
        let is_trusted = issuer.trusts(token.key);
        self.check(Check::Key, require(is_trusted, DenyReason::TokenKeyUnknown))?;
        let names_us = issuer.claims.audience.is_none()
            || token
                .audiences
                .iter()
                .any(|audience| issuer.audiences.contains(audience));
        // Our own issuer names one audience. A token for several could be taken from one and shown to another.
        let is_for_us = names_us && (token.has_one_audience || !policy.is_own(issuer));
        self.check(
            Check::Audience,
            require(is_for_us, DenyReason::TokenAudienceMismatch),
        )?;
        let in_time = is_in_time(token, issuer.leeway_s, now);
        self.check(Check::Time, in_time)
    }
}

fn is_in_time(token: &VerifiedToken, leeway_s: u64, now: UnixSeconds) -> Result<(), DenyReason> {
    // RFC 7519 section 4.1.4: not accepted on or after `exp`.
    if now >= token.expires_at.plus(leeway_s) {
        return Err(DenyReason::TokenExpired);
    }
    match now.plus(leeway_s) < token.begins_at() {
        true => Err(DenyReason::TokenNotYetValid),
        false => Ok(()),
    }
}

/// The verified token of a request, or the reason why there is none.
fn verified<'t>(credential: &CredentialFact<'t>) -> Result<&'t VerifiedToken, DenyReason> {
    match *credential {
        CredentialFact::Verified(token) => Ok(token),
        CredentialFact::Missing => Err(DenyReason::TokenMissing),
        CredentialFact::Opaque => Err(DenyReason::TokenMalformed),
        CredentialFact::Faulty(fault) => Err(reason_of(fault)),
        CredentialFact::Conflicting => Err(DenyReason::CredentialsConflict),
    }
}

fn unenforced(source: Option<&Arc<Source>>) -> Permit {
    Permit {
        mode: Mode::Unenforced,
        source: source.map(Arc::clone),
        app: None,
        would_deny: None,
    }
}

/// The reason of a token that did not verify.
#[must_use]
pub const fn reason_of(fault: &TokenFault) -> DenyReason {
    match fault {
        TokenFault::Malformed(_)
        | TokenFault::Claims(_)
        | TokenFault::Claim(_)
        | TokenFault::ClaimType(_)
        | TokenFault::ClaimMissing(_) => DenyReason::TokenMalformed,
        TokenFault::Type => DenyReason::TokenTypeWrong,
        TokenFault::IssuerUntrusted => DenyReason::TokenIssuerUntrusted,
        TokenFault::KeyUnknown { .. } => DenyReason::TokenKeyUnknown,
        TokenFault::KeysUnavailable { .. } => DenyReason::KeysUnavailable,
        TokenFault::SignatureInvalid => DenyReason::TokenSignatureInvalid,
        TokenFault::ProofMissing => DenyReason::ProofMissing,
    }
}
