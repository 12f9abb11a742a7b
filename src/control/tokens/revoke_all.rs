//! Revocation of all tokens of a key, an app or a workspace: everything issued before a cutoff.
//!
//! A token says the second of its issue, so the cutoff is the second after the revocation. A token issued later in the
//! same second carries that next second as `iat` (see [`crate::domain::issue`]), and is accepted. Where that happened
//! already, the cutoff is one second later still. The clocks of several control planes must agree on the second.
//!
//! Each further revocation in the same second moves the cutoff one second ahead, and with it the `iat` of new tokens.
//! Gateways allow for a few seconds. Beyond [`MaxCutoffLead`] the caller has to wait.

use serde_json::{Value, json};

use super::cutoff::{MaxCutoffLead, cutoff};
use super::revoke::TokenRevocation;
use crate::control::actor::Actor;
use crate::control::apps::app::details;
use crate::control::apps::audit::app_event;
use crate::control::apps::details::AppDetails;
use crate::control::audit_event::{AuditAction, Event};
use crate::control::changes::ChangeTx;
use crate::control::error::ControlError;
use crate::domain::ids::{AppId, KeyId, WorkspaceId};
use crate::domain::role::Action;
use crate::domain::time::UnixSeconds;
use crate::model::app::AppKey;
use crate::model::workspace::Workspace;
use crate::snapshot::{Change, WorkspaceRecord};

/// Whose tokens are revoked together.
#[derive(Clone, Copy, Debug)]
pub enum TokensOf<'a> {
    /// Every app of the workspace.
    Workspace,
    App(&'a AppId),
    /// Tokens that one key of the app authenticated.
    Key(&'a AppId, &'a KeyId),
}

impl TokensOf<'_> {
    const fn app(&self) -> Option<&AppId> {
        match self {
            Self::Workspace => None,
            Self::App(app) | Self::Key(app, _) => Some(app),
        }
    }

    const fn key(&self) -> Option<&KeyId> {
        match self {
            Self::Key(_, key) => Some(key),
            _ => None,
        }
    }

    const fn action(&self) -> Action {
        match self {
            Self::Workspace => Action::EditWorkspace,
            _ => Action::EditApp,
        }
    }

    const fn lead(&self) -> MaxCutoffLead {
        match self {
            Self::Workspace => MaxCutoffLead::Workspace,
            Self::App(_) => MaxCutoffLead::App,
            Self::Key(..) => MaxCutoffLead::Key,
        }
    }
}

/// What holds a cutoff, as read in the transaction that moves it.
enum Holder {
    Workspace(Workspace),
    App(Box<AppDetails>),
    /// With the place of the key among the app's.
    Key(Box<AppDetails>, usize),
}

/// Where the cutoffs stand.
struct Cutoffs {
    /// The holder's own.
    own: UnixSeconds,
    /// The latest that concerns any of the tokens.
    latest: UnixSeconds,
}

impl TokenRevocation {
    /// Revokes every token that was issued before the cutoff, or until now. Answers the cutoff in force.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] for a cutoff in the future, [`ControlError::TooMany`] where this was called several
    /// times in this second already, [`ControlError::NotFound`].
    pub async fn revoke_all(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        tokens: TokensOf<'_>,
        issued_before: Option<UnixSeconds>,
    ) -> Result<UnixSeconds, ControlError> {
        actor.require(workspace, tokens.action())?;
        // Tokens that a clock ahead of time issued are found by their counts.
        self.usage.flush_uses().await;
        let mut tx = self.changes.begin(actor).await?;
        let (holder, cutoffs) = holder(&mut tx, actor, workspace, tokens).await?;
        let now = self.changes.now();
        let issued_ahead = tx
            .issued_ahead(workspace, tokens.app(), tokens.key(), now)
            .await?;
        let moment =
            cutoff(now, issued_before, cutoffs.latest, issued_ahead, tokens.lead())?.max(cutoffs.own);
        if moment == cutoffs.own {
            drop(tx);
            // The earlier call may have returned before its change was in force.
            self.changes.newest_in_force().await?;
            return Ok(moment);
        }
        let (before, after) = (
            json!({"issued_before": cutoffs.own.0}),
            json!({"issued_before": moment.0}),
        );
        match holder {
            Holder::Workspace(found) => {
                tx.revoke_tokens_of_workspace(workspace, moment).await?;
                let record = WorkspaceRecord {
                    id: workspace.as_str().to_owned(),
                    not_issued_before: moment.0,
                };
                let action = AuditAction::WorkspaceTokensRevoked;
                let event =
                    Event::new(action, workspace, "workspace", workspace, &found.name).changed(before, after);
                self.changes
                    .commit(tx, &[Change::PutWorkspace(record)], event)
                    .await?;
            }
            Holder::App(mut found) => {
                found.app.not_issued_before = moment;
                tx.raise_latest_cutoff(workspace, moment).await?;
                let event = app_event(AuditAction::AppTokensRevoked, &found.app).changed(before, after);
                self.apps.put_app(tx, actor, &mut found, event).await?;
            }
            Holder::Key(mut found, at) => {
                let key = found
                    .keys
                    .get_mut(at)
                    .ok_or(ControlError::NotFound("public key"))?;
                key.not_issued_before = moment;
                tx.revoke_tokens_of_key(&key.id, moment).await?;
                tx.raise_latest_cutoff(workspace, moment).await?;
                let id = key.id.as_str().to_owned();
                let event = app_event(AuditAction::KeyTokensRevoked, &found.app)
                    .changed(with_key(before, None), with_key(after, Some(id)));
                self.apps.put_app(tx, actor, &mut found, event).await?;
            }
        }
        Ok(moment)
    }
}

async fn holder(
    tx: &mut ChangeTx,
    actor: &Actor,
    workspace: &WorkspaceId,
    tokens: TokensOf<'_>,
) -> Result<(Holder, Cutoffs), ControlError> {
    let of_workspace = tx.workspace_cutoff(workspace).await?;
    let Some(app) = tokens.app() else {
        let found = tx.workspace(workspace).await?;
        let found = found.ok_or(ControlError::NotFound("workspace"))?;
        let cutoffs = Cutoffs {
            own: of_workspace,
            latest: tx.latest_cutoff_in(workspace).await?.max(of_workspace),
        };
        return Ok((Holder::Workspace(found), cutoffs));
    };
    let found = Box::new(details(tx, actor, workspace, app).await?);
    let of_keys = found.keys.iter().map(|key| key.not_issued_before);
    let latest = of_keys
        .fold(found.app.not_issued_before, UnixSeconds::max)
        .max(of_workspace);
    let Some(key) = tokens.key() else {
        let own = found.app.not_issued_before;
        return Ok((Holder::App(found), Cutoffs { own, latest }));
    };
    let is_named = |held: &AppKey| held.id == *key;
    let at = found.keys.iter().position(is_named);
    let at = at.ok_or(ControlError::NotFound("public key"))?;
    let own = found.keys.get(at).map(|held| held.not_issued_before);
    let own = own.ok_or(ControlError::NotFound("public key"))?;
    Ok((Holder::Key(found, at), Cutoffs { own, latest }))
}

fn with_key(mut value: Value, key: Option<String>) -> Value {
    if let Some(members) = value.as_object_mut() {
        members.insert("key_id".to_owned(), key.into());
    }
    value
}
