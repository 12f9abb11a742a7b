//! OAuth apps and their public keys.

use serde::Deserialize;

use super::Control;
use super::error::{Conflict, ControlError};
use crate::domain::ids::{AppId, KeyId, SourceId, WorkspaceId};
use crate::domain::key::{Algorithm, PublicKey};
use crate::domain::name::Name;
use crate::domain::scope::{Scope, ScopeSet};
use crate::domain::source_kind::SUPPORTED_SCOPES;
use crate::domain::time::{TokenLifetime, UnixSeconds};
use crate::snapshot::{AppRecord, Change};
use crate::store::directory::{App, AppKey, Page};
use crate::store::{ReadTx, WriteTx};

/// Keys that one app may have: the one in use, and the next one while clients move over.
pub const APP_KEYS_MAX: usize = 2;

/// Connected sources that are listed with an app.
const SOURCES_SHOWN: u32 = 1_000;

/// An app to be made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewApp {
    pub name: String,
    pub scopes: Vec<String>,
    #[serde(default = "shortest_lifetime")]
    pub token_lifetime: String,
    pub public_key: NewAppKey,
}

fn shortest_lifetime() -> String {
    TokenLifetime::OneDay.as_str().to_owned()
}

/// A public key to be added. It has no `Debug`: people paste private keys by mistake.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAppKey {
    pub name: String,
    pub pem: String,
    /// The one algorithm that assertions are signed with; the usual one of the key's kind unless given.
    #[serde(default)]
    pub algorithm: Option<String>,
}

/// What to change of an app. What is absent stays.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppChange {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    #[serde(default)]
    pub token_lifetime: Option<String>,
}

/// An app with its keys and the sources it is connected to.
#[derive(Clone, Debug)]
pub struct AppDetails {
    pub app: App,
    pub keys: Vec<AppKey>,
    pub sources: Vec<SourceId>,
}

impl Control {
    /// Makes an app with its first key.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] names the field that cannot be taken.
    pub async fn create_app(&self, workspace: &WorkspaceId, new: NewApp) -> Result<AppDetails, ControlError> {
        let now = self.now();
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
        let mut tx = self.store.write().await?;
        tx.workspace(workspace)
            .await?
            .ok_or(ControlError::NotFound("workspace"))?;
        tx.insert_app(&app).await?;
        tx.insert_app_key(&key).await?;
        self.commit(
            tx,
            &[Change::PutApp(self.app_record(&app, std::slice::from_ref(&key)))],
        )
        .await?;
        Ok(AppDetails {
            app,
            keys: vec![key],
            sources: Vec::new(),
        })
    }

    /// One app.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub async fn app(&self, workspace: &WorkspaceId, id: &AppId) -> Result<AppDetails, ControlError> {
        details(&mut self.store.read().await?, workspace, id).await
    }

    /// One page of the workspace's apps.
    ///
    /// # Errors
    /// [`ControlError::Store`].
    pub async fn apps(
        &self,
        workspace: &WorkspaceId,
        page: Page<'_>,
    ) -> Result<Vec<AppDetails>, ControlError> {
        let mut tx = self.store.read().await?;
        let mut found = Vec::new();
        for app in tx.apps(workspace, page).await? {
            found.push(with_keys_and_sources(&mut tx, app).await?);
        }
        Ok(found)
    }

    /// Changes an app's name, scopes or token lifetime. Tokens issued already keep their lifetime; a scope
    /// taken away is gone from them at once.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] or [`ControlError::NotFound`].
    pub async fn update_app(
        &self,
        workspace: &WorkspaceId,
        id: &AppId,
        change: AppChange,
    ) -> Result<AppDetails, ControlError> {
        let mut tx = self.store.write().await?;
        let mut found = details(&mut tx, workspace, id).await?;
        if let Some(text) = &change.name {
            found.app.name = name(text, "name")?;
        }
        if let Some(texts) = &change.scopes {
            found.app.scopes = scopes(texts)?;
        }
        if let Some(text) = &change.token_lifetime {
            found.app.token_lifetime = lifetime(text)?;
        }
        self.put_app(tx, &mut found).await?;
        Ok(found)
    }

    /// Deletes an app, its keys and so all its tokens, if `confirm_name` is its name and no source is
    /// connected to it.
    ///
    /// # Errors
    /// [`Conflict::AppConnected`] names the sources.
    pub async fn delete_app(
        &self,
        workspace: &WorkspaceId,
        id: &AppId,
        confirm_name: &str,
    ) -> Result<(), ControlError> {
        let mut tx = self.store.write().await?;
        let found = details(&mut tx, workspace, id).await?;
        if !found.sources.is_empty() {
            let sources = found.sources.iter().take(20).map(ToString::to_string).collect();
            return Err(Conflict::AppConnected(sources).into());
        }
        if found.app.name.as_str() != confirm_name {
            return Err(ControlError::invalid(
                "confirm_name",
                "this is not the name of the OAuth app",
            ));
        }
        tx.delete_app(id).await?;
        self.commit(
            tx,
            &[Change::RemoveApp {
                id: id.as_str().to_owned(),
            }],
        )
        .await
    }

    /// Adds a public key to an app, which has at most two.
    ///
    /// # Errors
    /// [`Conflict::TwoKeys`], [`Conflict::KeyRepeated`], or [`ControlError::Invalid`] for a key that cannot
    /// be taken.
    pub async fn add_app_key(
        &self,
        workspace: &WorkspaceId,
        id: &AppId,
        new: &NewAppKey,
    ) -> Result<AppKey, ControlError> {
        let key = self.app_key(id, new, "")?;
        let mut tx = self.store.write().await?;
        let mut found = details(&mut tx, workspace, id).await?;
        if found.keys.len() >= APP_KEYS_MAX {
            return Err(Conflict::TwoKeys.into());
        }
        if found.keys.iter().any(|held| held.thumbprint == key.thumbprint) {
            return Err(Conflict::KeyRepeated.into());
        }
        tx.insert_app_key(&key).await?;
        found.keys.push(key.clone());
        self.put_app(tx, &mut found).await?;
        Ok(key)
    }

    /// Deletes a public key of an app. The tokens that it proved end with it.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub async fn delete_app_key(
        &self,
        workspace: &WorkspaceId,
        id: &AppId,
        key: &KeyId,
    ) -> Result<(), ControlError> {
        let mut tx = self.store.write().await?;
        let mut found = details(&mut tx, workspace, id).await?;
        let before = found.keys.len();
        found.keys.retain(|held| held.id != *key);
        if found.keys.len() == before {
            return Err(ControlError::NotFound("public key"));
        }
        tx.delete_app_key(key).await?;
        self.put_app(tx, &mut found).await
    }

    async fn put_app(&self, mut tx: WriteTx, found: &mut AppDetails) -> Result<(), ControlError> {
        found.app.revision += 1;
        tx.update_app(&found.app).await?;
        self.commit(tx, &[Change::PutApp(self.app_record(&found.app, &found.keys))])
            .await
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
        let now = self.now();
        Ok(AppKey {
            id: self.ids.make("key", KeyId::parse, now)?,
            app: app.clone(),
            name: name(&new.name, &format!("{field}name"))?,
            pem: new.pem.trim().to_owned(),
            thumbprint: public.thumbprint().to_string(),
            algorithm,
            created_at: now,
            last_used_at: None,
        })
    }

    /// What gateways are told of an app.
    fn app_record(&self, app: &App, keys: &[AppKey]) -> AppRecord {
        self.policy_app(app, keys.iter().map(|key| key.id.as_str().to_owned()).collect())
    }

    /// What gateways are told of an app with these keys.
    pub(super) fn policy_app(&self, app: &App, keys: Vec<String>) -> AppRecord {
        AppRecord {
            id: app.id.as_str().to_owned(),
            workspace: app.workspace.as_str().to_owned(),
            issuer: self.issuer().to_owned(),
            scopes: app.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            keys: Some(keys),
            not_issued_before: app.not_issued_before.0,
        }
    }
}

async fn details(tx: &mut ReadTx, workspace: &WorkspaceId, id: &AppId) -> Result<AppDetails, ControlError> {
    let app = tx
        .app(workspace, id)
        .await?
        .ok_or(ControlError::NotFound("OAuth app"))?;
    with_keys_and_sources(tx, app).await
}

async fn with_keys_and_sources(tx: &mut ReadTx, app: App) -> Result<AppDetails, ControlError> {
    let keys = tx.app_keys(&app.id).await?;
    let sources = tx.sources_of(&app.id, SOURCES_SHOWN).await?;
    Ok(AppDetails { app, keys, sources })
}

/// A name that a person gave.
pub(super) fn name(text: &str, field: &str) -> Result<Name, ControlError> {
    Name::parse(text).map_err(|error| ControlError::invalid(field, format!("the name {error}")))
}

fn scopes(texts: &[String]) -> Result<ScopeSet, ControlError> {
    let supported = SUPPORTED_SCOPES.join(", ");
    if texts.is_empty() {
        return Err(ControlError::invalid(
            "scopes",
            format!("name at least one scope of {supported}"),
        ));
    }
    let one = |text: &String| {
        let scope = Scope::parse(text)
            .ok()
            .filter(|scope| SUPPORTED_SCOPES.contains(&scope.as_str()));
        scope.ok_or_else(|| ControlError::invalid("scopes", format!("the scopes here are {supported}")))
    };
    texts.iter().map(one).collect()
}

fn lifetime(text: &str) -> Result<TokenLifetime, ControlError> {
    TokenLifetime::parse(text).ok_or_else(|| {
        let names = TokenLifetime::ALL.map(TokenLifetime::as_str).join(", ");
        ControlError::invalid("token_lifetime", format!("a token lifetime is one of {names}"))
    })
}
