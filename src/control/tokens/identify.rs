//! Identifies a credential that was found somewhere: what it is, whose it is, and whether it still works.

use super::own_token::pasted;
use super::revoke::TokenRevocation;
use crate::control::accounts::api_tokens::{hash, is_api_token};
use crate::control::actor::Actor;
use crate::control::error::ControlError;
use crate::domain::ids::{AppId, KeyId, WorkspaceId, WriteKey};
use crate::domain::key::PublicKey;
use crate::domain::role::Action;
use crate::domain::time::UnixSeconds;
use crate::domain::token_id;
use crate::model::api_token::MemberApiToken;
use crate::model::source::Source;
use crate::snapshot::digest_text;
use crate::store::ReadTx;

/// Apps whose tokens an ID is compared with. Workspaces have fewer; with more, an ID may stay unknown.
const APPS_MAX: u32 = 100_000;

/// Apps that are read at once.
const APPS_AT_ONCE: u32 = 1_000;

/// The longest text that is identified, in bytes.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// What a pasted text is.
#[derive(Debug)]
pub enum Credential {
    /// An access token, or the ID of one.
    AccessToken {
        app: AppId,
        app_name: String,
        token_id: String,
        expires_at: UnixSeconds,
        state: State,
    },
    ApiToken {
        token: MemberApiToken,
        state: State,
    },
    /// A text in the form of an API token that is not an API token of this workspace, or no longer.
    UnknownApiToken,
    WriteKey(Source),
    /// The public key of an app.
    PublicKey {
        app: AppId,
        app_name: String,
        key: KeyId,
    },
    /// A public key of no app of this workspace.
    UnknownKey,
    /// A private key. It is not read any further.
    PrivateKey,
    Unknown,
}

/// Whether a token still works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Active,
    Expired,
    Revoked,
}

impl TokenRevocation {
    /// Identifies a pasted access token, token ID, API token, write key or public key of the workspace. Nothing is
    /// changed.
    ///
    /// # Errors
    /// [`ControlError::Forbidden`] for members who are not owners, [`ControlError::Invalid`] for an empty or too long
    /// text.
    pub async fn identify(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        text: &str,
    ) -> Result<Credential, ControlError> {
        actor.require(workspace, Action::EditWorkspace)?;
        let text = text.trim();
        if text.is_empty() {
            return Err(ControlError::invalid("credential", "paste what was found"));
        }
        if text.len() > TEXT_BYTES_MAX {
            return Err(ControlError::invalid("credential", "the text is too long"));
        }
        if text.contains("PRIVATE KEY-----") {
            return Ok(Credential::PrivateKey);
        }
        if text.contains("-----BEGIN") {
            return self.identify_key(workspace, text).await;
        }
        let text = text.trim_matches(['"', '\'', '`']);
        let text = match text.split_at_checked("authorization:".len()) {
            Some((name, value)) if name.eq_ignore_ascii_case("authorization:") => value,
            _ => text,
        };
        let text = pasted(text);
        if is_api_token(&text) {
            return self.identify_api_token(workspace, &text).await;
        }
        if let Some(token) = self
            .own_token(&text)
            .filter(|token| token.workspace == *workspace)
        {
            let is_active = self.introspection.active(&text, &token).await?.is_some();
            return self
                .access_token(workspace, &token.app, token.token_id, token.expires_at, is_active)
                .await;
        }
        let mut tx = self.store.read().await?;
        if let Ok(key) = WriteKey::parse(&text) {
            let found = tx
                .source_of_write_key(workspace, &digest_text(&key.digest()))
                .await?;
            if let Some(source) = found {
                return Ok(Credential::WriteKey(source));
            }
        }
        match app_of_token_id(&mut tx, workspace, &text).await? {
            Some((app, expires_at)) => {
                drop(tx);
                // The ID does not say when the token was issued, so a cutoff cannot be checked.
                self.access_token(workspace, &app, text.to_string(), expires_at, true)
                    .await
            }
            None => Ok(Credential::Unknown),
        }
    }

    async fn access_token(
        &self,
        workspace: &WorkspaceId,
        app: &AppId,
        token_id: String,
        expires_at: UnixSeconds,
        is_active: bool,
    ) -> Result<Credential, ControlError> {
        let now = self.changes.now();
        let mut tx = self.store.read().await?;
        let revoked = tx.is_revoked(self.identity.issuer.as_str(), &token_id).await?;
        let found = tx.app(workspace, app).await?;
        Ok(Credential::AccessToken {
            app: app.clone(),
            state: match (&found, revoked) {
                _ if expires_at <= now => State::Expired,
                // The tokens of a deleted app are rejected.
                (None, _) | (_, true) => State::Revoked,
                _ if is_active => State::Active,
                _ => State::Revoked,
            },
            app_name: found.map_or_else(|| app.to_string(), |app| app.name.to_string()),
            token_id,
            expires_at,
        })
    }

    async fn identify_api_token(
        &self,
        workspace: &WorkspaceId,
        text: &str,
    ) -> Result<Credential, ControlError> {
        let now = self.changes.now();
        let mut tx = self.store.read().await?;
        let Some(token) = tx.api_token_by_hash(workspace, &hash(text)).await? else {
            return Ok(Credential::UnknownApiToken);
        };
        let expired = token.details.expires_at.is_some_and(|at| at <= now);
        Ok(Credential::ApiToken {
            state: if expired { State::Expired } else { State::Active },
            token,
        })
    }

    async fn identify_key(&self, workspace: &WorkspaceId, pem: &str) -> Result<Credential, ControlError> {
        let key = PublicKey::from_pem(pem)
            .map_err(|error| ControlError::invalid("credential", error.to_string()))?;
        let mut tx = self.store.read().await?;
        let found = tx.app_of_key(workspace, &key.thumbprint().to_string()).await?;
        Ok(match found {
            Some((app, app_name, key)) => Credential::PublicKey { app, app_name, key },
            None => Credential::UnknownKey,
        })
    }
}

/// The app of the workspace that a token ID can belong to, and when that token expires.
async fn app_of_token_id(
    tx: &mut ReadTx,
    workspace: &WorkspaceId,
    token_id: &str,
) -> Result<Option<(AppId, UnixSeconds)>, ControlError> {
    let (mut after, mut read) = (String::new(), 0);
    while token_id::has_form(token_id) && read < APPS_MAX {
        let apps = tx.app_ids(workspace, &after, APPS_AT_ONCE).await?;
        let found = apps
            .iter()
            .find_map(|app| Some((app.clone(), token_id::expiry(app, token_id)?)));
        match (found, apps.last()) {
            (Some(found), _) => return Ok(Some(found)),
            (None, Some(last)) => last.as_str().clone_into(&mut after),
            (None, None) => return Ok(None),
        }
        read += APPS_AT_ONCE;
    }
    Ok(None)
}
