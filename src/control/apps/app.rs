//! OAuth apps and their public keys.

use super::audit::{app_event, app_value, key_value};
use super::fields::{key_expiry, lifetime, scopes};
use crate::control::apps::details::AppDetails;
use crate::control::changes::{ChangeTx, Changes};
use crate::control::ids::Ids;
use crate::control::input::name;
use crate::domain::issue::IssuerIdentity;
use crate::store::Store;
use std::collections::HashMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::control::actor::Actor;
use crate::control::audit_event::{AuditAction, Event};
use crate::control::conflict::Conflict;
use crate::control::error::ControlError;
use crate::domain::ids::{AppId, KeyId, SourceId, WorkspaceId};
use crate::domain::key::{Algorithm, PublicKey};
use crate::domain::name::composed;
use crate::domain::role::{Action, View};
use crate::domain::source_kind::SourceKind;
use crate::domain::time::{TokenLifetime, UnixSeconds};
use crate::model::app::{App, AppKey};
use crate::model::page::Page;
use crate::snapshot::{AppRecord, Change};
use crate::store::ReadTx;
use crate::store::policy::PolicyApp;

/// The most keys of one app: the current one, and the next one during a rotation.
pub const APP_KEYS_MAX: usize = 2;

/// The most connected sources that are listed with an app.
const SOURCES_SHOWN: u32 = 1_000;

/// The most connected sources that the error of deleting an app names.
const CONNECTED_NAMED: usize = 20;

/// An app to create.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApp {
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    #[schemars(length(min = 1))]
    pub scopes: Vec<String>,
    #[serde(default = "shortest_lifetime")]
    #[schemars(extend("enum" = ["1d", "2d", "3d", "1w", "2w", "3w", "30d"]))]
    pub token_lifetime: String,
    pub public_key: NewAppKey,
}

fn shortest_lifetime() -> String {
    TokenLifetime::OneDay.as_str().to_owned()
}

// No `Debug`: people paste private keys by mistake.
/// A public key to add.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAppKey {
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// PEM, as `openssl rsa -in private.pem -pubout -outform PEM` writes it.
    pub pem: String,
    /// The algorithm that client assertions are signed with. Default: RS256, ES256 or EdDSA by the type of the key.
    #[serde(default)]
    pub algorithm: Option<String>,
    /// From when on the key proves no request, RFC 3339, at most ten years from now. Default: never. Tokens that the key
    /// proved before stay valid until they expire.
    #[serde(default)]
    pub expires_at: Option<String>,
}

/// A change of an app. Absent members stay as they are.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppChange {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    #[serde(default)]
    pub token_lifetime: Option<String>,
}

/// OAuth apps and their public keys.
pub struct Apps {
    pub(crate) identity: Arc<IssuerIdentity>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) store: Arc<Store>,
    pub(crate) changes: Arc<Changes>,
}

impl Apps {
    /// Creates an app with its first key.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] names the invalid field.
    pub async fn create(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        new: NewApp,
    ) -> Result<AppDetails, ControlError> {
        actor.require(workspace, Action::CreateApp)?;
        let now = self.changes.now();
        let app = App {
            id: self.ids.make("app", AppId::parse, now)?,
            workspace: workspace.clone(),
            name: name(&new.name, "name")?,
            scopes: scopes(&new.scopes)?,
            token_lifetime: lifetime(&new.token_lifetime)?,
            not_issued_before: UnixSeconds(0),
            revision: 1,
            created_at: now,
        };
        let key = self.app_key(&app.id, &new.public_key, "public_key.")?;
        let mut tx = self.changes.begin(actor).await?;
        tx.workspace(workspace)
            .await?
            .ok_or(ControlError::NotFound("workspace"))?;
        tx.insert_app(&app).await?;
        tx.insert_app_key(&key).await?;
        let made = AppDetails {
            app,
            keys: vec![key],
            sources: Vec::new(),
        };
        let event = app_event(AuditAction::AppCreated, &made.app).made(app_value(&made));
        let change = Change::PutApp(self.app_record(&made.app, &made.keys));
        self.changes.commit(tx, &[change], event).await?;
        Ok(made)
    }

    /// One app.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub async fn get(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        id: &AppId,
    ) -> Result<AppDetails, ControlError> {
        actor.require(workspace, Action::ViewApp)?;
        details(&mut self.store.read().await?, actor, workspace, id).await
    }

    /// One page of the workspace's apps.
    ///
    /// # Errors
    /// [`ControlError::Store`].
    pub async fn list(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        page: Page<'_>,
    ) -> Result<Vec<AppDetails>, ControlError> {
        actor.require(workspace, Action::ViewApp)?;
        let mut tx = self.store.read().await?;
        let apps = tx.apps(workspace, page).await?;
        let mut keys = tx.keys_of_apps(workspace, page).await?;
        let mut sources = connected_to(&mut tx, actor, workspace, page).await?;
        let found = apps.into_iter().map(|app| AppDetails {
            keys: keys.remove(&app.id).unwrap_or_default(),
            sources: visible(
                actor,
                workspace,
                sources.remove(app.id.as_str()).unwrap_or_default(),
            ),
            app,
        });
        Ok(found.collect())
    }

    /// Changes an app's name, scopes or token lifetime. Issued tokens keep their lifetime; a removed scope is removed
    /// from them at once.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] or [`ControlError::NotFound`].
    pub async fn update(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        id: &AppId,
        change: AppChange,
    ) -> Result<AppDetails, ControlError> {
        actor.require(workspace, Action::EditApp)?;
        let mut tx = self.changes.begin(actor).await?;
        let mut found = details(&mut tx, actor, workspace, id).await?;
        actor.check_if_match(found.app.revision)?;
        let before = app_value(&found);
        let held_scopes = found.app.scopes.clone();
        if let Some(text) = &change.name {
            found.app.name = name(text, "name")?;
        }
        if let Some(texts) = &change.scopes {
            found.app.scopes = scopes(texts)?;
        }
        if let Some(text) = &change.token_lifetime {
            found.app.token_lifetime = lifetime(text)?;
        }
        let after = app_value(&found);
        if after == before {
            return Ok(found);
        }
        if found.app.scopes != held_scopes {
            tx.change_app_rules(id, self.changes.now()).await?;
        }
        let event = app_event(AuditAction::AppChanged, &found.app).changed(before, after);
        self.put_app(tx, actor, &mut found, event).await?;
        Ok(found)
    }

    /// Deletes an app, its keys and thereby all its tokens, if `confirm_name` is its name and no source is connected
    /// to it.
    ///
    /// # Errors
    /// [`Conflict::AppConnected`] names the sources that the actor may view, and counts the others.
    pub async fn delete(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        id: &AppId,
        confirm_name: &str,
    ) -> Result<(), ControlError> {
        actor.require(workspace, Action::EditApp)?;
        let mut tx = self.changes.begin(actor).await?;
        let found = details(&mut tx, actor, workspace, id).await?;
        actor.check_if_match(found.app.revision)?;
        let connected = tx.count_sources_of(id).await?;
        if connected > 0 {
            return Err(Conflict::AppConnected(connected_words(connected, &found.sources)).into());
        }
        if found.app.name.as_str() != composed(confirm_name) {
            return Err(ControlError::invalid(
                "confirm_name",
                "enter the name of the OAuth app exactly",
            ));
        }
        tx.delete_app(id).await?;
        let event = app_event(AuditAction::AppDeleted, &found.app).removed(app_value(&found));
        let change = Change::RemoveApp {
            id: id.as_str().to_owned(),
        };
        self.changes.commit(tx, &[change], event).await
    }

    /// Adds a public key to an app, which has at most two.
    ///
    /// # Errors
    /// [`Conflict::TwoKeys`], [`Conflict::KeyRepeated`], or [`ControlError::Invalid`] for an invalid key.
    pub async fn add_key(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        id: &AppId,
        new: &NewAppKey,
    ) -> Result<AppKey, ControlError> {
        actor.require(workspace, Action::EditApp)?;
        let key = self.app_key(id, new, "")?;
        let mut tx = self.changes.begin(actor).await?;
        let mut found = details(&mut tx, actor, workspace, id).await?;
        actor.check_if_match(found.app.revision)?;
        if found.keys.len() >= APP_KEYS_MAX {
            return Err(Conflict::TwoKeys.into());
        }
        if found.keys.iter().any(|held| held.thumbprint == key.thumbprint) {
            return Err(Conflict::KeyRepeated.into());
        }
        tx.insert_app_key(&key).await?;
        tx.change_app_rules(id, self.changes.now()).await?;
        found.keys.push(key.clone());
        let event = app_event(AuditAction::AppKeyAdded, &found.app)
            .made(key_value(&key))
            .creating(&key.id);
        self.put_app(tx, actor, &mut found, event).await?;
        Ok(key)
    }

    /// Deletes a public key of an app, and thereby revokes the tokens that it proved. With `allow_last_key`, the app
    /// may be left without a key; it can then get no tokens.
    ///
    /// # Errors
    /// [`ControlError::NotFound`], or [`Conflict::LastKey`] without `allow_last_key`.
    pub async fn delete_key(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        id: &AppId,
        key: &KeyId,
        allow_last_key: bool,
    ) -> Result<(), ControlError> {
        actor.require(workspace, Action::EditApp)?;
        let mut tx = self.changes.begin(actor).await?;
        let mut found = details(&mut tx, actor, workspace, id).await?;
        actor.check_if_match(found.app.revision)?;
        let at = found.keys.iter().position(|held| held.id == *key);
        if at.is_some() && found.keys.len() == 1 && !allow_last_key {
            return Err(Conflict::LastKey.into());
        }
        let gone = found.keys.remove(at.ok_or(ControlError::NotFound("public key"))?);
        tx.delete_app_key(key).await?;
        tx.change_app_rules(id, self.changes.now()).await?;
        let event = app_event(AuditAction::AppKeyDeleted, &found.app).removed(key_value(&gone));
        self.put_app(tx, actor, &mut found, event).await
    }

    pub(crate) async fn put_app(
        &self,
        mut tx: ChangeTx,
        _actor: &Actor,
        found: &mut AppDetails,
        event: Event,
    ) -> Result<(), ControlError> {
        found.app.revision += 1;
        tx.update_app(&found.app).await?;
        let change = Change::PutApp(self.app_record(&found.app, &found.keys));
        self.changes.commit(tx, &[change], event).await
    }

    fn app_key(&self, app: &AppId, new: &NewAppKey, field: &str) -> Result<AppKey, ControlError> {
        let pem_field = format!("{field}pem");
        let public = PublicKey::from_pem(&new.pem)
            .map_err(|error| ControlError::invalid(pem_field, error.to_string()))?;
        let algorithm = match &new.algorithm {
            None => public.default_algorithm(),
            Some(text) => {
                Algorithm::parse(text).filter(|algorithm| public.fits(*algorithm)).ok_or_else(|| {
                    let problem = "this is not an algorithm for this kind of key; use RS256 or PS256 with RSA, \
                                   ES256 with P-256, EdDSA with Ed25519";
                    ControlError::invalid(format!("{field}algorithm"), problem)
                })?
            }
        };
        let now = self.changes.now();
        let expires_at = match &new.expires_at {
            Some(text) => Some(key_expiry(text, &format!("{field}expires_at"), now)?),
            None => None,
        };
        Ok(AppKey {
            id: self.ids.make("key", KeyId::parse, now)?,
            app: app.clone(),
            name: name(&new.name, &format!("{field}name"))?,
            // Only the key, without text around it.
            pem: public
                .to_pem()
                .map_err(|error| ControlError::invalid(format!("{field}pem"), error.to_string()))?,
            thumbprint: public.thumbprint().to_string(),
            algorithm,
            created_at: now,
            last_used_at: None,
            not_issued_before: UnixSeconds(0),
            expires_at,
        })
    }

    /// An app as it appears in a change or snapshot.
    pub(crate) fn app_record(&self, app: &App, keys: &[AppKey]) -> AppRecord {
        policy_app(PolicyApp::new(app, keys), &self.identity.issuer)
    }
}

/// An app of the snapshot query as it appears in a snapshot of this issuer.
pub(crate) fn policy_app(app: PolicyApp, issuer: &str) -> AppRecord {
    let ended = app.keys.iter().filter(|key| key.not_issued_before > 0);
    let keys_not_issued_before = ended.map(|key| (key.id.clone(), key.not_issued_before)).collect();
    AppRecord {
        id: app.id,
        workspace: app.workspace,
        issuer: issuer.to_owned(),
        scopes: app.scopes,
        keys: Some(app.keys.into_iter().map(|key| key.id).collect()),
        not_issued_before: app.not_issued_before,
        keys_not_issued_before,
    }
}

/// The connected sources in words: the ids of those that may be named, and the number of the others.
fn connected_words(connected: u64, visible: &[SourceId]) -> String {
    let named: Vec<&str> = visible
        .iter()
        .take(CONNECTED_NAMED)
        .map(SourceId::as_str)
        .collect();
    let others = connected.saturating_sub(u64::try_from(named.len()).unwrap_or(u64::MAX));
    match (named.join(", "), others) {
        (named, _) if named.is_empty() => format!("{connected} that you may not view"),
        (named, 0) => named,
        (named, others) => format!("{named} and {others} more"),
    }
}

pub(crate) async fn details(
    tx: &mut ReadTx,
    actor: &Actor,
    workspace: &WorkspaceId,
    id: &AppId,
) -> Result<AppDetails, ControlError> {
    let app = tx
        .app(workspace, id)
        .await?
        .ok_or(ControlError::NotFound("OAuth app"))?;
    with_keys_and_sources(tx, actor, app).await
}

/// The app with its keys, and its connected sources that the actor may view.
async fn with_keys_and_sources(tx: &mut ReadTx, actor: &Actor, app: App) -> Result<AppDetails, ControlError> {
    let keys = tx.app_keys(&app.id).await?;
    let sources = visible_sources(tx, actor, &app).await?;
    Ok(AppDetails { app, keys, sources })
}

/// The app's connected sources that the actor may view, up to a bound.
async fn visible_sources(tx: &mut ReadTx, actor: &Actor, app: &App) -> Result<Vec<SourceId>, ControlError> {
    let (sources, functions) = views_all(actor);
    let mut found = Vec::new();
    if sources || functions {
        found = tx
            .sources_of_kinds(&app.id, sources, functions, SOURCES_SHOWN)
            .await?;
    }
    if let Some(member) = actor.as_member().filter(|member| !member.grants.is_owner()) {
        found.extend(tx.listed_sources_of(&app.id, &member.id, SOURCES_SHOWN).await?);
    }
    Ok(visible(actor, &app.workspace, found))
}

/// Candidates for the connected sources of each app of a page, by the app's id: with repeats, and not yet filtered by
/// what the actor may view.
async fn connected_to(
    tx: &mut ReadTx,
    actor: &Actor,
    workspace: &WorkspaceId,
    page: Page<'_>,
) -> Result<HashMap<String, Vec<(SourceId, SourceKind)>>, ControlError> {
    let views_all = views_all(actor);
    let mut found = HashMap::new();
    if views_all.0 || views_all.1 {
        found = tx
            .sources_of_apps(workspace, page, views_all, SOURCES_SHOWN)
            .await?;
    }
    if let Some(member) = actor.as_member().filter(|member| !member.grants.is_owner()) {
        for (app, listed) in tx.listed_sources_of_apps(workspace, &member.id).await? {
            found.entry(app).or_default().extend(listed);
        }
    }
    Ok(found)
}

/// Whether the actor may view every source that is no function, and every function.
fn views_all(actor: &Actor) -> (bool, bool) {
    match actor.as_member() {
        // All kinds but functions have the same permission.
        Some(member) if !member.grants.is_owner() => (
            member.grants.view_of(SourceKind::HttpApi) == View::All,
            member.grants.view_of(SourceKind::SourceFunction) == View::All,
        ),
        _ => (true, true),
    }
}

/// The sources that the actor may view, each once, up to a bound.
fn visible(actor: &Actor, workspace: &WorkspaceId, mut found: Vec<(SourceId, SourceKind)>) -> Vec<SourceId> {
    found.retain(|(id, kind)| actor.can_view(workspace, id, *kind));
    let mut ids: Vec<SourceId> = found.into_iter().map(|(id, _)| id).collect();
    ids.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    ids.dedup();
    ids.truncate(usize::try_from(SOURCES_SHOWN).unwrap_or(usize::MAX));
    ids
}
