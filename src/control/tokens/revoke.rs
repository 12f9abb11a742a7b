//! Revocation of one token, given whole or by its id (`jti`). It becomes an entry of the revocation list, which expires
//! with the token. [`super::revoke_all`] revokes many at once.

use super::introspect::Introspection;
use super::own_token::{OwnToken, pasted};
use crate::control::apps::app::Apps;
use crate::control::changes::Changes;
use crate::control::signing_keys::key_ring::KeyRing;
use crate::control::sources::search::Search;
use crate::control::usage::Usage;
use crate::domain::issue::IssuerIdentity;
use crate::store::Store;
use arc_swap::ArcSwap;
use std::sync::Arc;

use serde_json::json;

use crate::control::actor::Actor;
use crate::control::apps::audit::app_event;
use crate::control::audit_event::AuditAction;
use crate::control::conflict::Conflict;
use crate::control::error::ControlError;
use crate::domain::access_token::TOKEN_ID_BYTES_MAX;
use crate::domain::ids::{AppId, KeyId, WorkspaceId};
use crate::domain::jws::CompactJws;
use crate::domain::role::Action;
use crate::domain::time::UnixSeconds;
use crate::domain::token_id;
use crate::model::app::App;
use crate::snapshot::{Change, OWN_LEEWAY_S, RevocationRecord};
use crate::store::revocation::{Proof, Revocation};

/// Live revocations that every app may have, however few tokens it was issued. The count of issued tokens is a few
/// seconds late.
const REVOKED_IDS_MIN: u64 = 1_000;

/// The result of a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The token is revoked, by this call or an earlier one.
    Now { expires_at: UnixSeconds },
    /// The token had expired; there was nothing to do.
    Expired { expires_at: UnixSeconds },
}

/// The entry as gateways receive it.
pub(crate) fn revoke_change(revocation: &Revocation) -> Change {
    Change::Revoke(RevocationRecord {
        issuer: revocation.issuer.clone(),
        token_id: revocation.token_id.clone(),
        expires_at: revocation.expires_at.0,
    })
}

/// Revokes tokens: one by one, or all of a key, an app or a workspace.
pub struct TokenRevocation {
    pub(crate) identity: Arc<IssuerIdentity>,
    pub(crate) keys: Arc<ArcSwap<KeyRing>>,
    pub(crate) store: Arc<Store>,
    pub(crate) apps: Arc<Apps>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) search: Arc<Search>,
    pub(crate) usage: Arc<Usage>,
    pub(crate) introspection: Arc<Introspection>,
}

impl TokenRevocation {
    /// Revokes one access token of an app, given the complete token.
    ///
    /// # Errors
    /// The same [`ControlError::Invalid`] for garbage, for a token of another issuer and for one of another app: the
    /// caller does not learn whether another app's token is genuine.
    pub async fn revoke_token(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        app: &AppId,
        token: &str,
    ) -> Result<Revoked, ControlError> {
        actor.require(workspace, Action::EditApp)?;
        let found = self.apps.get(actor, workspace, app).await?.app;
        let token = self.pasted_token(workspace, token)?;
        let token = token.filter(|token| token.app == *app);
        let token = token.ok_or_else(|| {
            let problem = "this is not an access token of this OAuth app; paste the complete token";
            ControlError::invalid("token", problem)
        })?;
        self.revoke(actor, &found, &token, "revoked by a member").await
    }

    /// Revokes one access token of any app of a workspace, given the complete token.
    ///
    /// # Errors
    /// As [`TokenRevocation::revoke_token`].
    pub async fn revoke_token_of_any_app(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        token: &str,
    ) -> Result<Revoked, ControlError> {
        actor.require(workspace, Action::EditApp)?;
        let unknown = || {
            let problem =
                "this is not an access token of an OAuth app of this workspace; paste the complete token";
            ControlError::invalid("token", problem)
        };
        let token = self.pasted_token(workspace, token)?.ok_or_else(unknown)?;
        let found = match self.search.app_without_keys(actor, workspace, &token.app).await {
            Err(ControlError::NotFound(_)) => return Err(unknown()),
            found => found?,
        };
        self.revoke(actor, &found, &token, "revoked by a member").await
    }

    /// The claims of a pasted token, if this server issued it for the workspace.
    fn pasted_token(&self, workspace: &WorkspaceId, token: &str) -> Result<Option<OwnToken>, ControlError> {
        let token = pasted(token);
        if token.is_empty() {
            return Err(ControlError::invalid("token", "paste the token to revoke"));
        }
        let token = self.own_token(&token);
        Ok(token.filter(|token| token.workspace == *workspace))
    }

    /// Revokes one access token of an app, given its id (`jti`).
    ///
    /// # Errors
    /// The same [`ControlError::Invalid`] for every id that cannot be that of a token of this app,
    /// [`Conflict::RevokedIds`] where the app has more revoked tokens than it was issued.
    pub async fn revoke_token_id(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        app: &AppId,
        token_id: &str,
    ) -> Result<Revoked, ControlError> {
        actor.require(workspace, Action::EditApp)?;
        let found = self.apps.get(actor, workspace, app).await?.app;
        let token_id = token_id.trim();
        let longest = crate::domain::time::TokenLifetime::ThirtyDays.seconds();
        let latest = self.changes.now().plus(longest + OWN_LEEWAY_S);
        let expires_at = token_id::expiry(app, token_id).filter(|expires_at| *expires_at <= latest);
        let expires_at = expires_at.ok_or_else(|| {
            let problem =
                "this is not the id of an access token of this OAuth app; it is the token's claim `jti`";
            ControlError::invalid("jti", problem)
        })?;
        self.check_revoked_ids(app, token_id).await?;
        let token = OwnToken {
            app: app.clone(),
            workspace: workspace.clone(),
            token_id: token_id.to_owned(),
            audience: String::new(),
            expires_at,
            proof: None,
        };
        self.revoke(actor, &found, &token, "revoked by a member").await
    }

    /// Rejects further ids of an app that has more revoked tokens than it was issued: a member who may edit the app
    /// can make up ids that its tokens could have. An id that is revoked already does not count.
    async fn check_revoked_ids(&self, app: &AppId, token_id: &str) -> Result<(), ControlError> {
        let (now, mut tx) = (self.changes.now(), self.store.read().await?);
        if !tx.has_revocations(app, REVOKED_IDS_MIN, now).await?
            || tx.is_revoked(self.identity.issuer.as_str(), token_id).await?
        {
            return Ok(());
        }
        let issued = tx.issued_tokens(app, now).await?;
        if tx.has_revocations(app, issued.max(REVOKED_IDS_MIN), now).await? {
            return Err(Conflict::RevokedIds.into());
        }
        Ok(())
    }

    /// Revokes a token of the app that authenticated, unless it has expired (RFC 7009 section 2).
    ///
    /// # Errors
    /// [`ControlError::Store`].
    pub(crate) async fn revoke_own(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        token: &OwnToken,
    ) -> Result<(), ControlError> {
        let Some(app) = self.store.read().await?.app(workspace, &token.app).await? else {
            return Ok(());
        };
        self.revoke(actor, &app, token, "revoked by the app").await?;
        Ok(())
    }

    /// Puts a token on the revocation list, unless it has expired.
    pub(crate) async fn revoke(
        &self,
        actor: &Actor,
        app: &App,
        token: &OwnToken,
        reason: &'static str,
    ) -> Result<Revoked, ControlError> {
        let now = self.changes.now();
        let expires_at = token.expires_at;
        // By the time that has certainly passed: a token that only looks expired is valid again once the clock is set
        // back.
        if token.over_at() <= self.changes.watch.passed() {
            return Ok(Revoked::Expired { expires_at });
        }
        let over_at = self.changes.watch.end_of_row(token.over_at());
        let revocation = token.revocation(self.identity.issuer.as_str(), now, over_at, reason);
        let mut tx = self.changes.begin(actor).await?;
        if !tx.insert_revocation(&revocation).await? {
            drop(tx);
            // The earlier call may have returned before its change was in force.
            self.changes.newest_in_force().await?;
            return Ok(Revoked::Now { expires_at });
        }
        let event = app_event(AuditAction::TokenRevoked, app)
            .made(json!({"jti": revocation.token_id, "expires_at": expires_at.0}));
        self.changes
            .commit(tx, &[revoke_change(&revocation)], event)
            .await?;
        Ok(Revoked::Now { expires_at })
    }

    /// The claims of a token, if one of this server's keys signed it.
    pub(crate) fn own_token(&self, token: &str) -> Option<OwnToken> {
        let jws = CompactJws::parse(token).ok()?;
        if !self.keys.load().signed(&jws) {
            return None;
        }
        let claims = jws.unverified_claims().ok()?;
        let token_id = claims.text("jti").ok()?;
        let plain = (1..=TOKEN_ID_BYTES_MAX).contains(&token_id.len());
        (plain && claims.text("iss") == Ok(self.identity.issuer.as_str())).then_some(())?;
        let proof = || {
            Some(Proof {
                key: KeyId::parse(claims.text("client_key_id").ok()?).ok()?,
                issued_at: UnixSeconds(claims.integer("iat").ok()?),
            })
        };
        Some(OwnToken {
            app: AppId::parse(claims.text("client_id").ok()?).ok()?,
            workspace: WorkspaceId::parse(claims.text("workspace_id").ok()?).ok()?,
            token_id: token_id.to_owned(),
            audience: claims.text("aud").unwrap_or_default().to_owned(),
            expires_at: UnixSeconds(claims.integer("exp").ok()?),
            proof: proof(),
        })
    }
}
