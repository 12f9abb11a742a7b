//! Revocation: of one token by itself or by its id, and of all tokens of a key, an app or a workspace.
//!
//! A single token becomes an entry, which ends when the token does. All tokens of something become one moment:
//! what was issued before it is over. Tokens say the second they were issued in, so the moment is the second
//! after the revocation; a token issued later in that same second says that it was issued then (see
//! [`crate::domain::issue`]), and lives. Where that has happened already, the moment is one second later still. The
//! clocks of several control planes must agree on the second.
//!
//! So each further revocation of the same second puts the moment one second farther ahead, and with it what new
//! tokens say of their issue. Gateways allow for a few seconds. Past [`MaxCutoffLead`], whoever asks has to wait.

use super::own_token::{OwnToken, pasted};
use crate::control::apps::app::Apps;
use crate::control::changes::{ChangeTx, Changes};
use crate::control::signing_keys::key_ring::KeyRing;
use crate::control::sources::search::Search;
use crate::control::usage::Usage;
use crate::domain::issue::IssuerIdentity;
use crate::store::Store;
use arc_swap::ArcSwap;
use std::sync::Arc;

use serde_json::json;

use super::cutoff::{MaxCutoffLead, end_of_tokens};
use crate::control::actor::Actor;
use crate::control::apps::app::details;
use crate::control::apps::audit::app_event;
use crate::control::apps::details::AppDetails;
use crate::control::audit_event::{AuditAction, Event};
use crate::control::conflict::Conflict;
use crate::control::error::ControlError;
use crate::domain::access_token::TOKEN_ID_BYTES_MAX;
use crate::domain::ids::{AppId, KeyId, WorkspaceId};
use crate::domain::jws::CompactJws;
use crate::domain::role::Action;
use crate::domain::time::UnixSeconds;
use crate::domain::token_id;
use crate::model::app::App;
use crate::snapshot::{Change, OWN_LEEWAY_S, RevocationRecord, WorkspaceRecord};
use crate::store::revocation::{Proof, Revocation};

/// Live revocations that every app may have, however few tokens it was issued. How many it was issued is known only
/// a few seconds later.
const REVOKED_IDS_MIN: u64 = 1_000;

/// What has become of a token that was to be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// It is not accepted any more, by this call or an earlier one.
    Now { expires_at: UnixSeconds },
    /// It had expired by itself; there was nothing to do.
    Expired { expires_at: UnixSeconds },
}

/// The latest moment at which tokens of an app, or of one of its keys, were ended.
fn latest_cutoff(found: &AppDetails) -> UnixSeconds {
    let of_keys = found.keys.iter().map(|key| key.not_issued_before);
    of_keys.fold(found.app.not_issued_before, UnixSeconds::max)
}

/// What gateways are told of an entry.
pub(crate) fn revoke_change(revocation: &Revocation) -> Change {
    Change::Revoke(RevocationRecord {
        issuer: revocation.issuer.clone(),
        token_id: revocation.token_id.clone(),
        expires_at: revocation.expires_at.0,
    })
}

/// Revokes tokens: one, or all of a key, an app or a workspace.
pub struct TokenRevocation {
    pub(crate) identity: Arc<IssuerIdentity>,
    pub(crate) keys: Arc<ArcSwap<KeyRing>>,
    pub(crate) store: Arc<Store>,
    pub(crate) apps: Arc<Apps>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) search: Arc<Search>,
    pub(crate) usage: Arc<Usage>,
}

impl TokenRevocation {
    /// Revokes one access token of an app, given the complete token.
    ///
    /// # Errors
    /// One and the same [`ControlError::Invalid`] for garbage, for a token that we did not sign and for one of
    /// another app: nobody learns from it whether somebody else's token is genuine.
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
        self.end_token(actor, &found, &token, "revoked by a member").await
    }

    /// Revokes one access token of any app of a workspace, given the complete token.
    ///
    /// # Errors
    /// As [`Control::revoke_token`].
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
        self.end_token(actor, &found, &token, "revoked by a member").await
    }

    /// What a pasted token says about itself, if it is one of ours for the workspace.
    fn pasted_token(&self, workspace: &WorkspaceId, token: &str) -> Result<Option<OwnToken>, ControlError> {
        let token = pasted(token);
        if token.is_empty() {
            return Err(ControlError::invalid("token", "paste the token that is to end"));
        }
        let token = self.own_token(&token);
        Ok(token.filter(|token| token.workspace == *workspace))
    }

    /// Revokes one access token of an app, given its id (`jti`).
    ///
    /// # Errors
    /// One and the same [`ControlError::Invalid`] for every id that cannot be that of a token of this app,
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
        self.must_take_id(app, token_id).await?;
        let token = OwnToken {
            app: app.clone(),
            workspace: workspace.clone(),
            token_id: token_id.to_owned(),
            audience: String::new(),
            expires_at,
            proof: None,
        };
        self.end_token(actor, &found, &token, "revoked by a member").await
    }

    /// Ends every token of an app that was issued before the moment, or until now.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] for a moment that is still to come, [`ControlError::TooMany`] where it was asked
    /// for several times in this second already, [`ControlError::NotFound`].
    pub async fn revoke_app_tokens(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        app: &AppId,
        issued_before: Option<UnixSeconds>,
    ) -> Result<UnixSeconds, ControlError> {
        actor.require(workspace, Action::EditApp)?;
        self.usage.flush_uses().await;
        let mut tx = self.changes.begin(actor).await?;
        let mut found = details(&mut tx, actor, workspace, app).await?;
        let latest = tx.workspace_cutoff(workspace).await?.max(latest_cutoff(&found));
        let issued_ahead = tx
            .issued_ahead(workspace, Some(app), None, self.changes.now())
            .await?;
        let moment = end_of_tokens(
            self.changes.now(),
            issued_before,
            latest,
            issued_ahead,
            MaxCutoffLead::App,
        )?
        .max(found.app.not_issued_before);
        let before = std::mem::replace(&mut found.app.not_issued_before, moment);
        if moment == before {
            return self.ended_before(tx, moment).await;
        }
        tx.raise_latest_cutoff(workspace, moment).await?;
        let event = app_event(AuditAction::AppTokensRevoked, &found.app).changed(
            json!({"issued_before": before.0}),
            json!({"issued_before": moment.0}),
        );
        self.apps.put_app(tx, actor, &mut found, event).await?;
        Ok(moment)
    }

    /// Ends every token that a key of an app proved before the moment, or until now. The key stays.
    ///
    /// # Errors
    /// As [`Control::revoke_app_tokens`].
    pub async fn revoke_key_tokens(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        app: &AppId,
        key: &KeyId,
        issued_before: Option<UnixSeconds>,
    ) -> Result<UnixSeconds, ControlError> {
        actor.require(workspace, Action::EditApp)?;
        self.usage.flush_uses().await;
        let mut tx = self.changes.begin(actor).await?;
        let mut found = details(&mut tx, actor, workspace, app).await?;
        let latest = tx.workspace_cutoff(workspace).await?.max(latest_cutoff(&found));
        let held = found.keys.iter_mut().find(|held| held.id == *key);
        let held = held.ok_or(ControlError::NotFound("public key"))?;
        let issued_ahead = tx
            .issued_ahead(workspace, Some(app), Some(key), self.changes.now())
            .await?;
        let moment = end_of_tokens(
            self.changes.now(),
            issued_before,
            latest,
            issued_ahead,
            MaxCutoffLead::Key,
        )?
        .max(held.not_issued_before);
        let before = std::mem::replace(&mut held.not_issued_before, moment);
        if moment == before {
            return self.ended_before(tx, moment).await;
        }
        tx.revoke_tokens_of_key(key, moment).await?;
        tx.raise_latest_cutoff(workspace, moment).await?;
        let event = app_event(AuditAction::KeyTokensRevoked, &found.app).changed(
            json!({"key_id": null, "issued_before": before.0}),
            json!({"key_id": key.as_str(), "issued_before": moment.0}),
        );
        self.apps.put_app(tx, actor, &mut found, event).await?;
        Ok(moment)
    }

    /// Ends every token of every app of a workspace that was issued before the moment, or until now.
    ///
    /// # Errors
    /// As [`Control::revoke_app_tokens`].
    pub async fn revoke_workspace_tokens(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        issued_before: Option<UnixSeconds>,
    ) -> Result<UnixSeconds, ControlError> {
        actor.require(workspace, Action::EditWorkspace)?;
        self.usage.flush_uses().await;
        let mut tx = self.changes.begin(actor).await?;
        let found = tx
            .workspace(workspace)
            .await?
            .ok_or(ControlError::NotFound("workspace"))?;
        let before = tx.workspace_cutoff(workspace).await?;
        let latest = tx.latest_cutoff_in(workspace).await?.max(before);
        let issued_ahead = tx.issued_ahead(workspace, None, None, self.changes.now()).await?;
        let moment = end_of_tokens(
            self.changes.now(),
            issued_before,
            latest,
            issued_ahead,
            MaxCutoffLead::Workspace,
        )?
        .max(before);
        if moment == before {
            return self.ended_before(tx, moment).await;
        }
        tx.revoke_tokens_of_workspace(workspace, moment).await?;
        let record = WorkspaceRecord {
            id: workspace.as_str().to_owned(),
            not_issued_before: moment.0,
        };
        let event = Event::new(
            AuditAction::WorkspaceTokensRevoked,
            workspace,
            "workspace",
            workspace,
            &found.name,
        )
        .changed(
            json!({"issued_before": before.0}),
            json!({"issued_before": moment.0}),
        );
        self.changes
            .commit(tx, &[Change::PutWorkspace(record)], event)
            .await?;
        Ok(moment)
    }

    /// Answers for tokens that an earlier call has ended already: nothing is written.
    async fn ended_before(&self, tx: ChangeTx, moment: UnixSeconds) -> Result<UnixSeconds, ControlError> {
        drop(tx);
        // The earlier call may have been told that its change was not in force yet.
        self.changes.newest_in_force().await?;
        Ok(moment)
    }

    /// Refuses further ids of an app that has more revoked tokens than it was issued: anybody who may edit the app
    /// can make up ids that its tokens could have. A token that is revoked already is no further one.
    async fn must_take_id(&self, app: &AppId, token_id: &str) -> Result<(), ControlError> {
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

    /// Revokes a token of the app that proved itself, unless it has expired (RFC 7009 section 2).
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
        self.end_token(actor, &app, token, "revoked by the app").await?;
        Ok(())
    }

    /// Puts a token on the list, unless it has expired.
    pub(crate) async fn end_token(
        &self,
        actor: &Actor,
        app: &App,
        token: &OwnToken,
        reason: &'static str,
    ) -> Result<Revoked, ControlError> {
        let now = self.changes.now();
        let expires_at = token.expires_at;
        // By time that has certainly passed: a token that only looks expired lives again when the clock is set back.
        if token.over_at() <= self.changes.watch.passed() {
            return Ok(Revoked::Expired { expires_at });
        }
        let over_at = self.changes.watch.end_of_row(token.over_at());
        let revocation = token.revocation(self.identity.issuer.as_str(), now, over_at, reason);
        let mut tx = self.changes.begin(actor).await?;
        if !tx.insert_revocation(&revocation).await? {
            drop(tx);
            // An earlier call may have been told that its change was not in force yet.
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

    /// What a token says about itself, if one of our keys signed it.
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
