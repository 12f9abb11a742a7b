//! Introspection (RFC 7662): an upstream asks whether a token is active, and for its claims.
//!
//! The response is the gateways' decision: the same evaluator, on a policy of this one app as the store holds it now. A
//! caller that may not see a token gets the response for a token that does not exist.

use crate::control::accounts::api_tokens::ApiTokens;
use crate::control::apps::app::Apps;
use crate::control::changes::Changes;

use crate::control::rate_limits::Limits;
use crate::control::signing_keys::key_ring::IssuerKeys;
use crate::domain::issue::IssuerIdentity;
use crate::store::Store;
use std::sync::Arc;

use serde::Serialize;

use super::error::TokenError;
use super::own_token::OwnToken;
use super::resources::Resources;
use crate::control::actor::Actor;
use crate::control::client_address::ClientAddress;
use crate::control::error::ControlError;
use crate::control::form::Form;
use crate::domain::access_token::VerifiedToken;
use crate::domain::decide::decide;
use crate::domain::decision::Decision;
use crate::domain::facts::{
    CredentialFact, RequestFacts, RouteFacts, SourceFact, UnknownSources, WithoutToken,
};
use crate::domain::ids::WorkspaceId;
use crate::domain::jws::CompactJws;
use crate::domain::policy::{Freshness, Policy, WhenStale};
use crate::domain::role::Action;
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::time::UnixSeconds;
use crate::model::member::Member;
use crate::snapshot;
use crate::snapshot::{FORMAT, IssuerRecord, RevocationRecord, Snapshot, WorkspaceRecord};

/// The response for an active token (RFC 7662 section 2.2).
#[derive(Serialize)]
pub(crate) struct Active {
    active: bool,
    /// The token's scopes that its app still has.
    scope: String,
    client_id: String,
    sub: String,
    aud: String,
    iss: String,
    exp: u64,
    iat: u64,
    jti: String,
    token_type: &'static str,
    workspace_id: String,
}

/// Token introspection (RFC 7662).
pub struct Introspection {
    pub(crate) identity: Arc<IssuerIdentity>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) store: Arc<Store>,
    pub(crate) api_tokens: Arc<ApiTokens>,
    pub(crate) apps: Arc<Apps>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) issuer_keys: Arc<IssuerKeys>,
    pub(crate) resources: Arc<Resources>,
}

impl Introspection {
    pub(crate) async fn introspecting_member(
        &self,
        from: ClientAddress,
        form: &Form,
        api_token: &str,
    ) -> Result<Caller, TokenError> {
        if form.get("client_assertion").is_some() {
            return Err(TokenError::Request(
                "send an API token or a client_assertion, not both".to_owned(),
            ));
        }
        match self.api_tokens.authenticate(api_token).await {
            Ok(member) => {
                self.limits.management_request(&member.account)?;
                Ok(Caller::Member(Box::new(member)))
            }
            Err(ControlError::Unauthenticated) => {
                self.limits.failed_authentication(from)?;
                Err(TokenError::Bearer)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn sees(caller: &Caller, workspace: &WorkspaceId) -> bool {
        match caller {
            Caller::App(own) => own == workspace,
            // An API token is for the workspace of its membership.
            Caller::Member(member) => Actor::member(Member::clone(member), None)
                .require(workspace, Action::ViewApp)
                .is_ok(),
        }
    }

    /// The token's claims, if the gateway that it is for accepts it now.
    pub(crate) async fn active(&self, token: &str, own: &OwnToken) -> Result<Option<Active>, ControlError> {
        let now = self.changes.now();
        if !self.resources.has(&own.audience) {
            return Ok(None);
        }
        let Some(policy) = self.policy_for(own, now).await? else {
            return Ok(None);
        };
        let Ok(verified) = VerifiedToken::verify(token, &policy) else {
            return Ok(None);
        };
        let scopes: Vec<&str> = verified
            .scopes()
            .into_iter()
            .flat_map(ScopeSet::iter)
            .filter(|scope| is_permitted(&policy, &verified, scope, now))
            .map(Scope::as_str)
            .collect();
        // Gateways have a leeway for clocks that are behind; here both times are of one clock.
        if scopes.is_empty() || own.expires_at <= now {
            return Ok(None);
        }
        Ok(active(
            token,
            own,
            self.identity.issuer.as_str(),
            scopes.join(" "),
        ))
    }

    /// A policy with only the token's app.
    async fn policy_for(&self, own: &OwnToken, now: UnixSeconds) -> Result<Option<Policy>, ControlError> {
        let mut tx = self.store.read().await?;
        let Some(app) = tx.app(&own.workspace, &own.app).await? else {
            return Ok(None);
        };
        let keys = tx.app_keys(&own.app).await?;
        let mut revocations = Vec::new();
        if tx
            .is_revoked(self.identity.issuer.as_str(), &own.token_id)
            .await?
        {
            revocations.push(RevocationRecord {
                issuer: self.identity.issuer.as_str().to_owned(),
                token_id: own.token_id.clone(),
                expires_at: own.over_at().0,
            });
        }
        let snapshot = Snapshot {
            format: FORMAT,
            version: tx.policy_version().await?,
            issued_at: now.0,
            issuer: Some(IssuerRecord {
                // The audience that the token was issued for, one of several.
                audience: own.audience.clone(),
                ..self.issuer_keys.issuer_in(&mut tx).await?
            }),
            apps: vec![self.apps.app_record(&app, &keys)],
            workspaces: vec![WorkspaceRecord {
                id: own.workspace.as_str().to_owned(),
                not_issued_before: tx.workspace_cutoff(&own.workspace).await?.0,
            }],
            sources: Vec::new(),
            revocations,
        };
        let freshness = Freshness {
            max_age_s: u64::MAX,
            when_stale: WhenStale::Allow,
        };
        let policy = snapshot::compile(&snapshot, &[], freshness);
        Ok(Some(
            policy.map_err(|_| crate::store::StoreError::Corrupted("apps"))?,
        ))
    }
}

fn is_permitted(policy: &Policy, token: &VerifiedToken, scope: &Scope, now: UnixSeconds) -> bool {
    let facts = RequestFacts {
        route: RouteFacts {
            scope,
            unknown_sources: UnknownSources::Deny,
            without_token: WithoutToken::Deny,
        },
        source: SourceFact::ByToken,
        credential: CredentialFact::Verified(token),
    };
    matches!(decide(policy, &facts, now), Decision::Allow(_))
}

pub(crate) fn active(token: &str, own: &OwnToken, issuer: &str, scope: String) -> Option<Active> {
    let jws = CompactJws::parse(token).ok()?;
    let claims = jws.unverified_claims().ok()?;
    Some(Active {
        active: true,
        scope,
        client_id: own.app.as_str().to_owned(),
        sub: claims.text("sub").ok()?.to_owned(),
        aud: claims.texts("aud").ok()?.join(" "),
        iss: issuer.to_owned(),
        exp: own.expires_at.0,
        iat: claims.integer("iat").ok()?,
        jti: own.token_id.clone(),
        token_type: "Bearer",
        workspace_id: own.workspace.as_str().to_owned(),
    })
}

/// The caller.
pub(crate) enum Caller {
    /// An app sees the tokens of its workspace.
    App(WorkspaceId),
    /// A member sees those of the workspaces in which they may see OAuth apps.
    Member(Box<Member>),
}
