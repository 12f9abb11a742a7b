//! What each check of a decision compares, in words. It holds no secret: a write key is only looked up.

use std::sync::Arc;

use crate::domain::access_token::{TokenFault, VerifiedToken};
use crate::domain::checks::{Basis, Check};
use crate::domain::facts::{CredentialFact, SourceFact, UnknownSources};
use crate::domain::ids::Audience;
use crate::domain::policy::{App, Enforcement, Policy, Source, TrustedIssuer, WhenStale};
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::time::UnixSeconds;

/// A credential, without its text.
enum Shown {
    Missing,
    Conflicting,
    Opaque,
    Verified,
    /// Why it did not verify.
    Faulty(String),
}

/// The facts of a decision, kept for its explanation.
pub(super) struct Inputs {
    pub(super) policy: Policy,
    pub(super) source: Option<Arc<Source>>,
    pub(super) token: Option<VerifiedToken>,
    pub(super) lacks_keys_of: Option<String>,
    fact: SourceFact,
    credential: Shown,
    scope: Scope,
    unknown_sources: UnknownSources,
    now: UnixSeconds,
}

impl Inputs {
    pub(super) fn of(on: &Basis<'_, '_>) -> Self {
        let Basis { policy, facts, now } = *on;
        let key = match &facts.source {
            SourceFact::WriteKey(key) | SourceFact::ByTokenBeside { key, .. } => Some(key),
            SourceFact::ByToken | SourceFact::Unreadable(_) => None,
        };
        let (mut token, mut lacks_keys_of) = (None, None);
        let credential = match facts.credential {
            CredentialFact::Missing => Shown::Missing,
            CredentialFact::Conflicting => Shown::Conflicting,
            CredentialFact::Opaque => Shown::Opaque,
            CredentialFact::Verified(verified) => {
                token = Some(verified.clone());
                Shown::Verified
            }
            CredentialFact::Faulty(fault) => {
                if let TokenFault::KeysUnavailable { issuer } = fault {
                    lacks_keys_of = Some(issuer.to_string());
                }
                Shown::Faulty(fault.to_string())
            }
        };
        Self {
            source: key.and_then(|key| policy.source(key)).cloned(),
            policy: policy.clone(),
            token,
            lacks_keys_of,
            fact: facts.source,
            credential,
            scope: facts.route.scope.clone(),
            unknown_sources: facts.route.unknown_sources,
            now,
        }
    }

    /// What a check compares.
    pub(super) fn detail(&self, check: Check) -> String {
        match check {
            Check::Credential => self.credential_detail().to_owned(),
            Check::Source => self.source_detail(),
            Check::PolicyAge => self.policy_age_detail(),
            Check::Token => self.token_detail(),
            Check::Revocation => format!(
                "the list of revoked tokens has {} entries",
                self.policy.revocations()
            ),
            _ => match &self.token {
                Some(token) => self.detail_of(token, check),
                None => String::new(),
            },
        }
    }

    /// Why checks were not made although none failed.
    pub(super) fn why_not_needed(&self) -> &'static str {
        match (&self.source, &self.fact) {
            (Some(source), SourceFact::WriteKey(_)) if source.enforcement == Enforcement::Off => {
                "not needed: enforcement of the source is off"
            }
            (None, SourceFact::WriteKey(_)) => {
                "not needed: the API forwards unknown sources (`unknown_sources: forward`)"
            }
            _ => "not needed: the API forwards requests without a token (`without_token: forward`)",
        }
    }

    const fn credential_detail(&self) -> &'static str {
        match self.credential {
            Shown::Missing => "the request carries no access token",
            Shown::Conflicting => "the request carries more than one credential",
            Shown::Opaque => "the request carries one credential, which is no JWT",
            Shown::Verified | Shown::Faulty(_) => "the request carries one bearer token",
        }
    }

    fn source_detail(&self) -> String {
        match (&self.fact, &self.source) {
            (SourceFact::Unreadable(reason), _) => reason.description().to_owned(),
            (SourceFact::ByToken, _) => "the API identifies the caller by its token alone".to_owned(),
            (SourceFact::ByTokenBeside { is_credential: true, .. }, Some(source)) => format!(
                "the credential is the write key of source `{}`, and the API needs an access token",
                source.id
            ),
            (_, Some(source)) => {
                let connected = match &source.connected_app {
                    Some(app) => format!("connected to app `{app}`"),
                    None => "connected to no app".to_owned(),
                };
                format!(
                    "source `{}` of workspace `{}`, enforcement {}, {connected}",
                    source.id,
                    source.workspace,
                    source.enforcement.as_str()
                )
            }
            (SourceFact::WriteKey(_), None) => match self.unknown_sources {
                UnknownSources::Deny => "no source has this write key".to_owned(),
                UnknownSources::Forward => {
                    "no source has this write key, and the API forwards unknown sources".to_owned()
                }
            },
            (SourceFact::ByTokenBeside { .. }, None) => {
                "the API identifies the caller by its token; the write key that the request also carries is unknown"
                    .to_owned()
            }
        }
    }

    fn policy_age_detail(&self) -> String {
        let freshness = self.policy.freshness;
        let when_stale = match freshness.when_stale {
            WhenStale::Deny => "deny",
            WhenStale::Allow => "allow",
        };
        format!(
            "policy version {}, confirmed {} s ago; max_age {} s, when_stale {when_stale}",
            self.policy.version(),
            self.now.since(self.policy.confirmed_at()),
            freshness.max_age_s
        )
    }

    fn token_detail(&self) -> String {
        match (&self.token, &self.credential) {
            (Some(token), _) => format!(
                "the signature is valid for issuer `{}`; app `{}`",
                token.issuer, token.app
            ),
            (None, Shown::Faulty(sentence)) => sentence.clone(),
            (None, Shown::Opaque) => "the credential is no JWT access token".to_owned(),
            (None, _) => "no access token".to_owned(),
        }
    }

    fn detail_of(&self, token: &VerifiedToken, check: Check) -> String {
        let issuer = self.policy.issuer(&token.issuer);
        let app = self.policy.app(&token.app);
        match check {
            Check::Issuer => match issuer {
                Some(_) => format!("issuer `{}` is trusted", token.issuer),
                None => format!("issuer `{}` is not trusted", token.issuer),
            },
            Check::Key => match issuer.is_some_and(|issuer| issuer.trusts(token.key)) {
                true => "the issuer publishes the key that signed the token".to_owned(),
                false => "the issuer no longer publishes the key that signed the token".to_owned(),
            },
            Check::Audience => audience_detail(token, issuer),
            Check::Time => format!(
                "valid from {} until {}; now {}; leeway {} s",
                shown_time(token.begins_at()),
                shown_time(token.expires_at),
                shown_time(self.now),
                issuer.map_or(0, |issuer| issuer.leeway_s)
            ),
            Check::App => app_detail(token, app.map(AsRef::as_ref)),
            Check::Cutoff => self.cutoff_detail(token, app.map(AsRef::as_ref)),
            Check::Connection => self.connection_detail(token),
            Check::Scope => self.scope_detail(token, app.map(|app| &app.scopes)),
            Check::Credential | Check::Source | Check::PolicyAge | Check::Token | Check::Revocation => {
                String::new()
            }
        }
    }

    fn cutoff_detail(&self, token: &VerifiedToken, app: Option<&App>) -> String {
        let issued = shown_time(token.issued_at);
        let Some(app) = app else { return issued };
        let key = token.client_key.as_ref();
        let is_gone = |key| app.keys.as_ref().is_some_and(|held| !held.contains(key));
        if let Some(key) = key.filter(|key| is_gone(key)) {
            return format!("the app's key `{key}` that requested the token was removed");
        }
        let mut cutoffs = Vec::new();
        if app.not_issued_before > UnixSeconds(0) {
            cutoffs.push(format!("of the app {}", shown_time(app.not_issued_before)));
        }
        let of_keys = app.keys_not_issued_before.iter();
        let of_key = of_keys.filter(|(held, _)| Some(held) == key);
        cutoffs.extend(of_key.map(|(held, at)| format!("of its key `{held}` {}", shown_time(*at))));
        if self.policy.has_workspace_ended(&app.workspace, token.issued_at) {
            cutoffs.push(format!(
                "of workspace `{}`, whose tokens issued until then were revoked",
                app.workspace
            ));
        }
        match cutoffs.is_empty() {
            true => format!("issued {issued}; no cutoff is set"),
            false => format!("issued {issued}; cutoff {}", cutoffs.join(", ")),
        }
    }

    fn connection_detail(&self, token: &VerifiedToken) -> String {
        let Some(source) = &self.source else {
            return "the API identifies the caller by its token; no source is involved".to_owned();
        };
        match &source.connected_app {
            Some(app) if *app == token.app => format!("app `{app}` is connected to source `{}`", source.id),
            Some(app) => format!(
                "source `{}` is connected to app `{app}`, and the token is of app `{}`",
                source.id, token.app
            ),
            None => format!("source `{}` is connected to no app", source.id),
        }
    }

    fn scope_detail(&self, token: &VerifiedToken, app: Option<&ScopeSet>) -> String {
        let words = |scopes: &ScopeSet| {
            let words: Vec<&str> = scopes.iter().map(Scope::as_str).collect();
            format!("`{}`", words.join(" "))
        };
        let of_token = token.scopes().map_or("what its app has".to_owned(), words);
        let of_app = app.map_or("none".to_owned(), words);
        format!(
            "the API needs `{}`; the token has {of_token}, its app has {of_app}",
            self.scope.as_str()
        )
    }

    /// Whether there is a token that did not verify, so that its claims are unverified.
    pub(super) const fn has_faulty_token(&self) -> bool {
        matches!(self.credential, Shown::Faulty(_))
    }
}

fn audience_detail(token: &VerifiedToken, issuer: Option<&TrustedIssuer>) -> String {
    let list = |audiences: &[Audience]| {
        let texts: Vec<&str> = audiences.iter().map(Audience::as_str).collect();
        match texts.is_empty() {
            true => "none".to_owned(),
            false => format!("`{}`", texts.join("`, `")),
        }
    };
    let accepted = issuer.map_or("none".to_owned(), |issuer| list(&issuer.audiences));
    let of_token = list(&token.audiences);
    match issuer {
        Some(issuer) if issuer.claims.audience.is_none() => {
            "tokens of this issuer name no audience".to_owned()
        }
        _ => format!("the token is for {of_token}; the gateway accepts {accepted}"),
    }
}

fn app_detail(token: &VerifiedToken, app: Option<&App>) -> String {
    match app {
        None => format!("app `{}` is not in the policy", token.app),
        Some(app) if app.issuer != token.issuer => format!(
            "app `{}` belongs to issuer `{}`, and the token is of issuer `{}`",
            app.id, app.issuer, token.issuer
        ),
        Some(app) => format!("app `{}` of workspace `{}`", app.id, app.workspace),
    }
}

/// A moment as RFC 3339, or as a number where it is beyond that.
fn shown_time(at: UnixSeconds) -> String {
    let moment = i64::try_from(at.0).ok();
    let moment = moment.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    moment.map_or_else(|| at.to_string(), |moment| moment.to_string())
}
