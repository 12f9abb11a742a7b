//! API tokens: credentials of scripts. Each acts for one member and is shown once.

use crate::control::changes::Changes;
use crate::control::ids::Ids;
use crate::control::usage::Uses;
use crate::store::Store;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::control::actor::{Actor, Who};
use crate::control::audit_event::{AuditAction, Event};
use crate::control::conflict::Conflict;
use crate::control::error::ControlError;
use crate::control::ids;
use crate::control::input::name;
use crate::domain::digest::sha256;
use crate::domain::ids::{MemberId, WorkspaceId};
use crate::domain::role::Action;
use crate::domain::time::UnixSeconds;
use crate::model::api_token::{ApiTokenDetails, MemberApiToken};
use crate::model::credential::Credential;
use crate::model::member::Member;
use crate::model::page::Page;
use crate::store::api_tokens::ApiTokenRecord;

/// The prefix of every API token, so that scanners find leaked ones.
const API_TOKEN_PREFIX: &str = "pcl_";

/// Random letters and digits after the prefix: 202 bits.
const RANDOM_CHARS: usize = 34;

/// Letters and digits of the checksum at the end, by which a scanner recognises a token.
const CHECKSUM_CHARS: usize = 6;

/// Characters of a token that are stored readable.
const SHOWN_CHARS: usize = 8;

/// The most API tokens of one member.
const TOKENS_MAX: u64 = 100;

/// The longest lifetime of an API token, in seconds: a year and a day.
const LIFETIME_MAX_S: u64 = 366 * 86_400;

/// The default lifetime of an API token, in seconds: 90 days.
const LIFETIME_S: u64 = 90 * 86_400;

/// A new API token. [`ApiToken::expose`] shows it once; the store has its hash.
pub struct ApiToken {
    secret: Zeroizing<String>,
    pub details: ApiTokenDetails,
}

impl ApiToken {
    /// The token itself, for its owner.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.secret
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken(..)")
    }
}

/// API tokens of members.
pub struct ApiTokens {
    pub(crate) ids: Arc<Ids>,
    pub(crate) store: Arc<Store>,
    pub(crate) uses: Arc<Uses>,
    pub(crate) changes: Arc<Changes>,
}

impl ApiTokens {
    /// Creates an API token for the actor. It expires after 90 days unless `expires_at` says otherwise. An API token
    /// cannot create another one, so that a stolen token grants nothing after it expires.
    ///
    /// # Errors
    /// [`ControlError::SessionRequired`] for an API token,
    /// [`ControlError::Invalid`] for an invalid name, or an expiry in the past or more than 366 days away;
    /// [`Conflict::ApiTokens`] if there are 100 already.
    pub async fn create_own_api_token(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        token_name: &str,
        expires_at: Option<UnixSeconds>,
    ) -> Result<ApiToken, ControlError> {
        let member = own(actor, workspace)?;
        actor.require_session()?;
        let now = self.changes.now();
        let expires_at = expires_at.unwrap_or(now.plus(LIFETIME_S));
        if expires_at <= now || expires_at > now.plus(LIFETIME_MAX_S) {
            let problem = "choose an expiry in the future, at most 366 days from now";
            return Err(ControlError::invalid("expires_at", problem));
        }
        self.create_api_token(actor, &member.id, token_name, Some(expires_at))
            .await
    }

    /// Creates an API token that acts for a member: the actor, or any member if the actor is the server.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] for an invalid name, [`ControlError::NotFound`] for the member,
    /// [`Conflict::ApiTokens`].
    pub async fn create_api_token(
        &self,
        actor: &Actor,
        member: &MemberId,
        token_name: &str,
        expires_at: Option<UnixSeconds>,
    ) -> Result<ApiToken, ControlError> {
        match &actor.who {
            Who::Member(own) if own.id == *member => {
                actor.require(&own.workspace, Action::ManageOwnTokens)?;
                actor.require_session()?;
            }
            Who::System(_) => {}
            Who::Member(_) | Who::App(_) => return Err(ControlError::NotFound("member")),
        }
        let now = self.changes.now();
        let secret = new_token()?;
        let details = ApiTokenDetails {
            id: self.ids.text("tok", now),
            name: name(token_name, "name")?,
            prefix: secret.chars().take(SHOWN_CHARS).collect(),
            created_at: now,
            last_used_at: None,
            expires_at,
        };
        let record = ApiTokenRecord {
            member: member.clone(),
            hash: hash(&secret),
            details: details.clone(),
        };
        let mut tx = self.changes.begin(actor).await?;
        let workspace = tx.workspace_of(member).await?;
        let workspace = workspace.ok_or(ControlError::NotFound("member"))?;
        if tx.api_token_count(member).await? >= TOKENS_MAX {
            return Err(Conflict::ApiTokens.into());
        }
        tx.insert_api_token(&record).await?;
        let event =
            token_event(AuditAction::ApiTokenCreated, &workspace, &details).made(value(member, &details));
        self.changes.commit(tx, &[], event).await?;
        Ok(ApiToken { secret, details })
    }

    /// One page of the actor's API tokens.
    ///
    /// # Errors
    /// [`ControlError::Forbidden`] if the actor is no member.
    pub async fn api_tokens(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        page: Page<'_>,
    ) -> Result<Vec<ApiTokenDetails>, ControlError> {
        let member = own(actor, workspace)?;
        Ok(self.store.read().await?.api_tokens(&member.id, page).await?)
    }

    /// One page of the API tokens of all members of the workspace, for its owners.
    ///
    /// # Errors
    /// [`ControlError::Forbidden`].
    pub async fn api_tokens_of_workspace(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        page: Page<'_>,
    ) -> Result<Vec<MemberApiToken>, ControlError> {
        actor.require(workspace, Action::ManageMembers)?;
        let mut tx = self.store.read().await?;
        Ok(tx.api_tokens_of_workspace(workspace, page).await?)
    }

    /// One page of the API tokens of a member, for owners of the workspace.
    ///
    /// # Errors
    /// [`ControlError::Forbidden`] or [`ControlError::NotFound`].
    pub async fn api_tokens_of_member(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        member: &MemberId,
        page: Page<'_>,
    ) -> Result<Vec<ApiTokenDetails>, ControlError> {
        actor.require(workspace, Action::ManageMembers)?;
        let mut tx = self.store.read().await?;
        if tx.workspace_of(member).await?.as_ref() != Some(workspace) {
            return Err(ControlError::NotFound("member"));
        }
        Ok(tx.api_tokens(member, page).await?)
    }

    /// One API token: of the member, or for owners of any member of the workspace.
    ///
    /// # Errors
    /// [`ControlError::NotFound`], also for another member's token.
    pub async fn api_token(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        id: &str,
    ) -> Result<MemberApiToken, ControlError> {
        let member = own(actor, workspace)?;
        let found = self.store.read().await?.api_token_in(workspace, id).await?;
        let found = found.filter(|found| found.member == member.id || manages_members(actor, workspace));
        found.ok_or(ControlError::NotFound("API token"))
    }

    /// Revokes an API token: of the member, or for owners of any member of the workspace.
    ///
    /// # Errors
    /// [`ControlError::NotFound`], also for another member's token.
    pub async fn delete_api_token(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        id: &str,
    ) -> Result<(), ControlError> {
        let member = own(actor, workspace)?;
        let mut tx = self.changes.begin(actor).await?;
        let found = tx.api_token_in(workspace, id).await?;
        let found = found.filter(|found| found.member == member.id || manages_members(actor, workspace));
        let found = found.ok_or(ControlError::NotFound("API token"))?;
        tx.delete_api_token(id).await?;
        let event = token_event(AuditAction::ApiTokenDeleted, workspace, &found.details)
            .removed(value(&found.member, &found.details));
        self.changes.commit(tx, &[], event).await
    }

    /// The member that an API token acts for.
    ///
    /// # Errors
    /// [`ControlError::Unauthenticated`] for an invalid or expired token.
    pub async fn authenticate(&self, token: &str) -> Result<Member, ControlError> {
        Ok(self.authenticate_by(token).await?.0)
    }

    /// The same, with the credential.
    pub(crate) async fn authenticate_by(&self, token: &str) -> Result<(Member, Credential), ControlError> {
        // The checksum is not verified here: tokens of earlier builds have the same length and none.
        if !is_api_token(token) {
            return Err(ControlError::Unauthenticated);
        }
        let now = self.changes.now();
        let found = self.store.read().await?.api_token(&hash(token), now).await?;
        let (id, member) = found.ok_or(ControlError::Unauthenticated)?;
        self.uses.note_api_token(&id, now);
        Ok((member, Credential::ApiToken(id)))
    }

    /// Why [`Self::authenticate_by`] refused a token, for the log. The client may read less.
    pub(crate) async fn cause(&self, token: &str) -> &'static str {
        if !is_api_token(token) {
            return "api_token_malformed";
        }
        let ever = async {
            self.store
                .read()
                .await?
                .api_token(&hash(token), UnixSeconds(0))
                .await
        };
        match ever.await {
            Ok(Some(_)) => "api_token_expired",
            Ok(None) => "api_token_unknown",
            Err(_) => "store",
        }
    }
}

/// The actor as the member who manages their own tokens.
fn own<'a>(actor: &'a Actor, workspace: &WorkspaceId) -> Result<&'a Member, ControlError> {
    actor.require(workspace, Action::ManageOwnTokens)?;
    actor
        .as_member()
        .ok_or(ControlError::Forbidden(Action::ManageOwnTokens))
}

fn manages_members(actor: &Actor, workspace: &WorkspaceId) -> bool {
    actor.require(workspace, Action::ManageMembers).is_ok()
}

fn token_event(action: AuditAction, workspace: &WorkspaceId, token: &ApiTokenDetails) -> Event {
    Event::new(action, workspace, "api_token", &token.id, &token.name)
}

fn value(member: &MemberId, token: &ApiTokenDetails) -> Value {
    json!({
        "name": token.name.as_str(),
        "prefix": token.prefix,
        "member_id": member.as_str(),
        "expires_at": token.expires_at.map(|at| at.0),
    })
}

fn new_token() -> Result<Zeroizing<String>, ControlError> {
    let random = ids::alphanumerics(RANDOM_CHARS)?;
    let mut token = Zeroizing::new(String::with_capacity(
        API_TOKEN_PREFIX.len() + RANDOM_CHARS + CHECKSUM_CHARS,
    ));
    token.push_str(API_TOKEN_PREFIX);
    token.push_str(&random);
    token.push_str(&checksum(&random));
    Ok(token)
}

/// CRC-32 (as in zip and Ethernet) as six letters and digits, the most significant first.
fn checksum(text: &str) -> String {
    let mut crc = u32::MAX;
    for byte in text.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (0_u32.wrapping_sub(crc & 1)));
        }
    }
    ids::in_alphanumerics(u64::from(!crc), CHECKSUM_CHARS)
}

/// Whether a text has the form of an API token.
pub(crate) fn is_api_token(token: &str) -> bool {
    token.len() == API_TOKEN_PREFIX.len() + RANDOM_CHARS + CHECKSUM_CHARS
        && token.starts_with(API_TOKEN_PREFIX)
        && token
            .bytes()
            .skip(API_TOKEN_PREFIX.len())
            .all(|byte| byte.is_ascii_alphanumeric())
}

/// A token has 202 random bits, so a slow hash gains nothing.
pub(crate) fn hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_end_with_a_checksum_of_their_random_part() {
        // CRC-32 of "123456789" is cbf43926, a published check value.
        assert_eq!(checksum("123456789"), ids::in_alphanumerics(0xcbf4_3926, 6));
        let token = new_token().unwrap();
        let (random, sum) = token.strip_prefix("pcl_").unwrap().split_at(RANDOM_CHARS);
        assert_eq!(checksum(random), sum);
        assert_eq!(token.len(), 44);
    }
}
