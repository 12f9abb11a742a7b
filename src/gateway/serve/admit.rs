//! Whether a request may go on: its body, its source, its token and the decision.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::admitted_request::AdmittedRequest;
use super::known_facts::{Denied, KnownFacts};
use super::request::{Gateway, counted};
use crate::clock::instant;
use crate::config::Api;
use crate::domain::access_token::{TokenFault, VerifiedToken};
use crate::domain::checks::Observer;
use crate::domain::decide::{decide_observed, reason_of};
use crate::domain::decision::{Decision, DenyReason, Permit};
use crate::domain::facts::{CredentialFact, RequestFacts, RouteFacts, SourceFact, WithoutToken};
use crate::gateway::read::client_facts::ClientFacts;
use crate::gateway::read::credential::Credential;
use crate::gateway::read::foreign::is_foreign;
use crate::gateway::read::refusal::Refusal;
use crate::gateway::read::source::Named;
use crate::gateway::read::{body, body_keys, credential, head, source};
use crate::gateway::wire::session::Session;
use crate::report::Verdict;

/// The detail of a denial for a write key on an API that identifies by token.
const KEY_IS_NO_TOKEN: &str = "a write key is no credential of this API; send events to the host and path of the API that takes them, or send an access token";

impl Gateway {
    /// Holds the body, finds the source, verifies the token and decides.
    ///
    /// `observer` watches each decision. The last one counts.
    pub(crate) async fn admit<O: Observer>(
        &self,
        session: &mut Session,
        client: &ClientFacts,
        api: &Api,
        observer: &mut O,
    ) -> Result<AdmittedRequest, Denied> {
        let credential = credential::credential(&session.req_header().headers);
        // What the head alone decides is denied before the body is awaited.
        if matches!(credential, Credential::Conflicting) || head::has_token_in_query(session.req_header()) {
            return Err(DenyReason::CredentialsConflict.into());
        }
        let early = match source::needs_body(api) {
            true => None,
            false => {
                let named = Named::by_head(&self.apis, api, session.req_header(), &credential);
                let judged = self
                    .judge(session, client, api, &named, &credential, observer)
                    .await?;
                Some((named, judged))
            }
        };
        let known = || {
            early
                .as_ref()
                .map(|(_, judged)| judged.known())
                .unwrap_or_default()
        };
        let held = body::hold(session, &self.limits, &self.held, client.address).await;
        let body = held.map_err(|refusal| Denied::knowing(refusal, known()))?;
        let headers = &session.req_header().headers;
        let in_form = body_keys::has_token_in_form(headers, &body, &self.limits).await;
        if in_form.map_err(|refusal| Denied::knowing(refusal, known()))? {
            return Err(Denied::knowing(DenyReason::CredentialsConflict, known()));
        }
        let judged = match early {
            Some((_, judged)) if body.bytes().is_empty() => judged,
            // INVARIANT: the decision that forwards is made after the last byte of the body, on the policy of that
            // moment: a revocation that takes effect while a body arrives counts.
            Some((mut named, _)) => {
                named.add_body(headers, &body, &self.limits).await;
                self.judge(session, client, api, &named, &credential, observer)
                    .await?
            }
            None => {
                let request = session.req_header();
                let named = Named::by_body(&self.apis, api, request, &credential, &body, &self.limits).await;
                self.judge(session, client, api, &named, &credential, observer)
                    .await?
            }
        };
        let token = judged.token.as_deref();
        Ok(AdmittedRequest {
            forward_authorization: api.forward_token || self.is_not_ours(&credential, token),
            known: judged.known(),
            permit: judged.permit,
            policy_version: judged.policy_version,
            token: judged.token,
            body,
        })
    }

    /// Whether the credential is none of a trusted issuer: such a one goes upstream, which may know it.
    fn is_not_ours(&self, credential: &Credential, verified: Option<&VerifiedToken>) -> bool {
        let (Credential::Token(text) | Credential::OtherScheme { value: text, .. }) = credential else {
            return true;
        };
        let policy = self.policy.load();
        verified.is_none() && policy.as_deref().is_some_and(|policy| is_foreign(text, policy))
    }

    async fn judge<O: Observer>(
        &self,
        session: &Session,
        client: &ClientFacts,
        api: &Api,
        named: &Named,
        credential: &Credential,
        observer: &mut O,
    ) -> Result<Judged, Denied> {
        let began = instant();
        let looked = self.look_up_or_fetch(credential).await;
        let policy = self.policy.load();
        let Some(policy) = policy.as_deref() else {
            return Err(DenyReason::PolicyUnavailable.into());
        };
        let fact = credential_fact(credential, looked.as_ref(), api);
        let route = RouteFacts {
            scope: &api.scope,
            unknown_sources: api.unknown_sources,
            without_token: api.without_token,
        };
        let facts = RequestFacts {
            route,
            source: named.fact(policy),
            credential: fact,
        };
        let (decision, source) = (
            decide_observed(policy, &facts, self.clock.now(), observer),
            facts.source,
        );
        let took = began.elapsed();
        self.metrics.decided(took);
        match decision {
            Decision::Allow(permit) => Ok(Judged {
                permit,
                policy_version: policy.version(),
                token: looked.and_then(Result::ok),
                took,
            }),
            Decision::Deny(reason) => {
                let named_source = match &source {
                    SourceFact::WriteKey(key) | SourceFact::ByTokenBeside { key, .. } => policy.source(key),
                    _ => None,
                };
                if let Some(source) = named_source
                    && !reason.is_failure()
                {
                    let (version, counted) = (policy.version(), counted(session, client));
                    self.tally
                        .refused(source, version, Verdict::Deny, reason, counted);
                }
                let fault = looked.as_ref().and_then(|looked| looked.as_ref().err());
                let detail = explain(reason, &source, fault, credential);
                let refusal = Refusal {
                    reason,
                    detail: detail.or_else(|| named.explain(reason, api, credential)),
                };
                let issuer = fault.and_then(TokenFault::issuer).cloned();
                let token = looked.and_then(Result::ok);
                Err(Denied::knowing(
                    refusal,
                    KnownFacts {
                        source: named_source.cloned(),
                        token,
                        unverified_issuer: issuer,
                        decide: Some(took),
                        ..KnownFacts::default()
                    },
                ))
            }
        }
    }

    /// What becomes of a token. Keys of its issuer that are unknown here are fetched.
    async fn look_up_or_fetch(
        &self,
        credential: &Credential,
    ) -> Option<Result<Arc<VerifiedToken>, TokenFault>> {
        let Credential::Token(text) = credential else {
            return None;
        };
        let looked = self.look_up(text)?;
        if let Err(TokenFault::KeyUnknown { issuer } | TokenFault::KeysUnavailable { issuer }) = &looked
            && let Some(fetcher) = self.fetchers.iter().find(|fetcher| fetcher.issuer() == &**issuer)
        {
            fetcher.ask().await;
            return self.look_up(text);
        }
        Some(looked)
    }

    fn look_up(&self, text: &str) -> Option<Result<Arc<VerifiedToken>, TokenFault>> {
        let policy = self.policy.load();
        let (now, bytes_max) = (self.clock.now(), self.limits.token_bytes);
        let looked = self.tokens.look_up(text, policy.as_deref()?, now, bytes_max);
        self.metrics.cache(looked.hit);
        Some(looked.token)
    }
}

/// What `decide` learns of a credential. `looked` is what became of its token.
fn credential_fact<'t>(
    credential: &Credential,
    looked: Option<&'t Result<Arc<VerifiedToken>, TokenFault>>,
    api: &Api,
) -> CredentialFact<'t> {
    match (credential, looked) {
        (Credential::Token(_), Some(Ok(token))) => CredentialFact::Verified(token),
        (Credential::Token(_), Some(Err(fault))) => CredentialFact::Faulty(fault),
        (Credential::Opaque, _) => CredentialFact::Opaque,
        (Credential::Conflicting, _) => CredentialFact::Conflicting,
        // A credential of another scheme is not for this gateway. An API that forwards such
        // leaves the answer to its upstream.
        (Credential::Unreadable(_) | Credential::OtherScheme { .. }, _)
            if api.without_token == WithoutToken::Deny =>
        {
            CredentialFact::Opaque
        }
        _ => CredentialFact::Missing,
    }
}

/// What a decision allowed, and what it rests on.
struct Judged {
    permit: Permit,
    policy_version: u64,
    token: Option<Arc<VerifiedToken>>,
    /// How long verifying and deciding took.
    took: Duration,
}

impl Judged {
    fn known(&self) -> KnownFacts {
        KnownFacts {
            decide: Some(self.took),
            ..KnownFacts::of_permit(&self.permit, self.token.as_ref())
        }
    }
}

/// What to tell the client about a denial that has its reason in the credential.
fn explain(
    reason: DenyReason,
    source: &SourceFact,
    fault: Option<&TokenFault>,
    credential: &Credential,
) -> Option<Cow<'static, str>> {
    match (reason, credential) {
        (DenyReason::TokenMissing, _) if matches!(source, SourceFact::ByTokenBeside { .. }) => {
            Some(KEY_IS_NO_TOKEN.into())
        }
        (DenyReason::TokenMalformed, Credential::OtherScheme { scheme, .. }) => Some(
            format!(
                "the scheme {scheme} is not supported here; send the access token as Authorization: Bearer"
            )
            .into(),
        ),
        (DenyReason::TokenMalformed, Credential::Unreadable(mistake)) => Some(mistake.sentence().into()),
        // The sentence of a fault belongs to the reason that it is, and to no other.
        _ => fault
            .filter(|fault| reason_of(fault) == reason)
            .map(|fault| fault.to_string().into()),
    }
}
