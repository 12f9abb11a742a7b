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
use super::decision::{Decision, DenyReason, Mode, Permit};
use super::facts::{CredentialFact, RequestFacts, SourceFact, UnknownSources, WithoutToken};
use super::policy::{App, Enforcement, Policy, Source};
use super::time::UnixSeconds;

/// Decides one request. Pure: the same arguments give the same answer, nothing is read, written or
/// allocated, and nothing here can wait.
#[must_use]
pub fn decide(policy: &Policy, facts: &RequestFacts<'_>, now: UnixSeconds) -> Decision {
    if matches!(facts.credential, CredentialFact::Conflicting) {
        return Decision::Deny(DenyReason::CredentialsConflict);
    }
    match facts.source {
        SourceFact::Unreadable(reason) => Decision::Deny(reason),
        SourceFact::ByToken => decide_by_token(policy, facts, None, now),
        SourceFact::ByTokenBeside { key, is_credential } => match policy.source(&key) {
            // A write key proves nothing, so on this route it is no credential.
            Some(_) if is_credential => Decision::Deny(DenyReason::TokenMissing),
            source => decide_by_token(policy, facts, source, now),
        },
        SourceFact::WriteKey(key) => match policy.source(&key) {
            Some(source) => decide_for_source(policy, facts, source, now),
            None => match facts.route.unknown_sources {
                UnknownSources::Deny => Decision::Deny(DenyReason::SourceUnknown),
                UnknownSources::Forward => Decision::Allow(unenforced(None)),
            },
        },
    }
}

/// `named` is the source whose write key the request carries although the route does not need one.
///
/// INVARIANT: an enforced source is enforced on every route. Its key without a token of the connected app is
/// refused here as on the routes that identify sources.
fn decide_by_token(
    policy: &Policy,
    facts: &RequestFacts<'_>,
    named: Option<&Arc<Source>>,
    now: UnixSeconds,
) -> Decision {
    let enforced = named.filter(|source| source.enforcement == Enforcement::On);
    let none_of_ours = matches!(facts.credential, CredentialFact::Missing | CredentialFact::Opaque);
    if enforced.is_none() && none_of_ours && facts.route.without_token == WithoutToken::Forward {
        return Decision::Allow(match named {
            Some(source) if source.enforcement == Enforcement::Observe => Permit {
                mode: Mode::Observed,
                would_deny: authorize(policy, facts, Some(source), now).err(),
                ..unenforced(Some(source))
            },
            _ => unenforced(None),
        });
    }
    match authorize(policy, facts, enforced.map(AsRef::as_ref), now) {
        Ok(app) => Decision::Allow(Permit {
            mode: Mode::Enforced,
            source: None,
            app: Some(Arc::clone(app)),
            would_deny: None,
        }),
        Err(reason) => Decision::Deny(reason),
    }
}

fn decide_for_source(
    policy: &Policy,
    facts: &RequestFacts<'_>,
    source: &Arc<Source>,
    now: UnixSeconds,
) -> Decision {
    let mode = match source.enforcement {
        Enforcement::Off => return Decision::Allow(unenforced(Some(source))),
        Enforcement::Observe => Mode::Observed,
        Enforcement::On => Mode::Enforced,
    };
    let (app, would_deny) = match authorize(policy, facts, Some(source), now) {
        Ok(app) => (Some(Arc::clone(app)), None),
        Err(reason) if mode == Mode::Observed => (None, Some(reason)),
        Err(reason) => return Decision::Deny(reason),
    };
    Decision::Allow(Permit {
        mode,
        source: Some(Arc::clone(source)),
        app,
        would_deny,
    })
}

fn unenforced(source: Option<&Arc<Source>>) -> Permit {
    Permit {
        mode: Mode::Unenforced,
        source: source.map(Arc::clone),
        app: None,
        would_deny: None,
    }
}

/// Checks 3 to 9: the app that the token speaks for, or the first reason against it.
fn authorize<'p>(
    policy: &'p Policy,
    facts: &RequestFacts<'_>,
    source: Option<&Source>,
    now: UnixSeconds,
) -> Result<&'p Arc<App>, DenyReason> {
    if policy.is_stale(now) {
        return Err(DenyReason::PolicyStale);
    }
    let token = match facts.credential {
        CredentialFact::Verified(token) => token,
        CredentialFact::Missing => return Err(DenyReason::TokenMissing),
        CredentialFact::Opaque => return Err(DenyReason::TokenMalformed),
        CredentialFact::Faulty(fault) => return Err(reason_of(fault)),
        CredentialFact::Conflicting => return Err(DenyReason::CredentialsConflict),
    };
    check_issuer_and_time(policy, token, now)?;
    if policy.is_revoked(&token.digest) {
        return Err(DenyReason::TokenRevoked);
    }
    let app = policy.app(&token.app).ok_or(DenyReason::AppUnknown)?;
    if app.issuer != token.issuer {
        return Err(DenyReason::AppUnknown);
    }
    // Revoking all tokens of an app, of one of its keys or of a workspace is one cutoff, not an entry for each token.
    if app.has_ended(token.client_key.as_ref(), token.issued_at)
        || policy.has_workspace_ended(&app.workspace, token.issued_at)
    {
        return Err(DenyReason::TokenRevoked);
    }
    if source.is_some_and(|source| source.connected_app.as_ref() != Some(&token.app)) {
        return Err(DenyReason::AppNotConnected);
    }
    let scope = facts.route.scope;
    let covers = token.scopes.as_ref().is_none_or(|scopes| scopes.covers(scope));
    if !covers || !app.scopes.covers(scope) {
        return Err(DenyReason::ScopeInsufficient);
    }
    Ok(app)
}

fn check_issuer_and_time(policy: &Policy, token: &VerifiedToken, now: UnixSeconds) -> Result<(), DenyReason> {
    let issuer = policy
        .issuer(&token.issuer)
        .ok_or(DenyReason::TokenIssuerUntrusted)?;
    if !issuer.trusts(token.key) {
        return Err(DenyReason::TokenKeyUnknown);
    }
    let names_us = issuer.claims.audience.is_none()
        || token
            .audiences
            .iter()
            .any(|audience| issuer.audiences.contains(audience));
    // Our own issuer names one audience. A token for several could be taken from one and shown to another.
    if !names_us || (!token.has_one_audience && policy.is_own(issuer)) {
        return Err(DenyReason::TokenAudienceMismatch);
    }
    // RFC 7519 section 4.1.4: not accepted on or after `exp`.
    if now >= token.expires_at.plus(issuer.leeway_s) {
        return Err(DenyReason::TokenExpired);
    }
    let begins = token
        .not_before
        .map_or(token.issued_at, |not_before| not_before.max(token.issued_at));
    if now.plus(issuer.leeway_s) < begins {
        return Err(DenyReason::TokenNotYetValid);
    }
    Ok(())
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
