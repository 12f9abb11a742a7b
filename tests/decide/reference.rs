//! A second `decide`, slow and obvious: over plain lists, by names instead of digests, and without early
//! returns among the checks. It notes everything that speaks against a request, in the order of the
//! contract, and the first note is the reason.

use portcullis::domain::decision::{DenyReason, Mode};

use super::model::{Answer, Source, World};
use super::request::{Credential, Fault, Named, Request, Token};

pub fn decide(world: &World, request: &Request) -> Answer {
    if matches!(request.credential, Credential::Conflicting) {
        return Answer::Deny(DenyReason::CredentialsConflict);
    }
    let source = match &request.source {
        Named::Unreadable(reason) => return Answer::Deny(*reason),
        Named::ByToken => {
            let has_token_of_ours =
                matches!(request.credential, Credential::Token(_) | Credential::Faulty(_));
            if !has_token_of_ours && request.forward_without_token {
                return unenforced(None);
            }
            None
        }
        Named::ByTokenBeside(key, is_credential) => {
            let source = world.sources.get(key);
            if source.is_some() && *is_credential {
                return Answer::Deny(DenyReason::TokenMissing);
            }
            let has_token_of_ours =
                matches!(request.credential, Credential::Token(_) | Credential::Faulty(_));
            let is_forwarded = !has_token_of_ours && request.forward_without_token;
            match source {
                Some(source) if source.enforcement == "on" => Some(source),
                Some(source) if source.enforcement == "observe" && is_forwarded => Some(source),
                _ if is_forwarded => return unenforced(None),
                _ => None,
            }
        }
        Named::WriteKey(key) => match world.sources.get(key) {
            None if request.forward_unknown_sources => return unenforced(None),
            None => return Answer::Deny(DenyReason::SourceUnknown),
            Some(source) if source.enforcement == "off" => return unenforced(Some(source)),
            Some(source) => Some(source),
        },
    };
    let against = against(world, request, source);
    let observed = source.is_some_and(|source| source.enforcement == "observe");
    match against.first() {
        Some(reason) if !observed => Answer::Deny(*reason),
        would_deny => Answer::Permit {
            mode: if observed { Mode::Observed } else { Mode::Enforced },
            source: source.map(|source| source.id.clone()),
            app: match &request.credential {
                Credential::Token(token) if would_deny.is_none() => Some(token.app.clone()),
                _ => None,
            },
            would_deny: would_deny.copied(),
        },
    }
}

fn unenforced(source: Option<&Source>) -> Answer {
    Answer::Permit {
        mode: Mode::Unenforced,
        source: source.map(|source| source.id.clone()),
        app: None,
        would_deny: None,
    }
}

fn against(world: &World, request: &Request, source: Option<&Source>) -> Vec<DenyReason> {
    let mut against = Vec::new();
    let age = i128::from(request.now) - i128::from(world.confirmed_at);
    if age > i128::from(world.max_age_s) && world.when_stale == "deny" {
        against.push(DenyReason::PolicyStale);
    }
    match &request.credential {
        Credential::Missing => against.push(DenyReason::TokenMissing),
        Credential::Opaque => against.push(DenyReason::TokenMalformed),
        Credential::Conflicting => against.push(DenyReason::CredentialsConflict),
        Credential::Faulty(fault) => against.push(match fault {
            Fault::Claim => DenyReason::TokenMalformed,
            Fault::Type => DenyReason::TokenTypeWrong,
            Fault::IssuerUntrusted => DenyReason::TokenIssuerUntrusted,
            Fault::KeyUnknown => DenyReason::TokenKeyUnknown,
            Fault::KeysUnavailable => DenyReason::KeysUnavailable,
            Fault::SignatureInvalid => DenyReason::TokenSignatureInvalid,
            Fault::ProofMissing => DenyReason::ProofMissing,
        }),
        Credential::Token(token) => {
            against_issuer_and_time(world, token, request.now, &mut against);
            against_app(world, token, source, &request.scope, &mut against);
        }
    }
    against
}

fn against_issuer_and_time(world: &World, token: &Token, now: u64, against: &mut Vec<DenyReason>) {
    let Some(issuer) = world.issuers.get(&token.issuer) else {
        against.push(DenyReason::TokenIssuerUntrusted);
        return;
    };
    if !issuer.keys_fetched || !issuer.keys.contains(&token.signer) {
        against.push(DenyReason::TokenKeyUnknown);
    }
    if !token
        .audiences
        .iter()
        .any(|audience| issuer.audiences.contains(audience))
        || (issuer.bundled && token.audiences.len() > 1)
    {
        against.push(DenyReason::TokenAudienceMismatch);
    }
    // Time ends at 2^64 - 1: no sum goes past it, and nothing is accepted in its last second.
    if token.expires_at.saturating_add(issuer.leeway_s) <= now {
        against.push(DenyReason::TokenExpired);
    }
    let begins = [Some(token.issued_at), token.not_before];
    let too_early = |begin: &u64| *begin > now.saturating_add(issuer.leeway_s);
    if begins.iter().flatten().any(too_early) {
        against.push(DenyReason::TokenNotYetValid);
    }
}

fn against_app(
    world: &World,
    token: &Token,
    source: Option<&Source>,
    scope: &str,
    against: &mut Vec<DenyReason>,
) {
    let is_this = |revoked: &super::model::Revoked| {
        revoked.issuer == token.issuer && revoked.token_id == token.token_id
    };
    if world.revoked.iter().any(is_this) {
        against.push(DenyReason::TokenRevoked);
    }
    let Some(app) = world
        .apps
        .get(&token.app)
        .filter(|app| app.issuer == token.issuer)
    else {
        against.push(DenyReason::AppUnknown);
        return;
    };
    if token
        .client_key
        .as_ref()
        .is_some_and(|key| !app.keys.contains(key))
    {
        against.push(DenyReason::TokenRevoked);
    }
    let of_key = token
        .client_key
        .as_ref()
        .and_then(|key| app.keys_not_issued_before.get(key));
    let of_workspace = world.workspaces.get(&app.workspace);
    for moment in [Some(&app.not_issued_before), of_key, of_workspace]
        .into_iter()
        .flatten()
    {
        if token.issued_at < *moment {
            against.push(DenyReason::TokenRevoked);
        }
    }
    if source.is_some_and(|source| source.app.as_ref() != Some(&token.app)) {
        against.push(DenyReason::AppNotConnected);
    }
    let has = |scopes: &[String]| scopes.iter().any(|held| held == scope);
    if !has(&token.scopes) || !has(&app.scopes) {
        against.push(DenyReason::ScopeInsufficient);
    }
}
