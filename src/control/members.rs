//! Members and their API tokens, as far as the first owner and scripts need them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use zeroize::Zeroizing;

use super::actor::{Actor, Who};
use super::apps::name;
use super::audit::{Deed, Event, grants_value};
use super::error::{Conflict, ControlError};
use super::{Control, random};
use crate::domain::digest::sha256;
use crate::domain::ids::{AccountId, MemberId, WorkspaceId};
use crate::domain::role::{Action, Grants};
use crate::domain::time::UnixSeconds;
use crate::store::WriteTx;
use crate::store::members::{Account, ApiTokenRecord, Member};

/// What every API token begins with, so that scanners find leaked ones.
const API_TOKEN_PREFIX: &str = "pcl_";

/// Letters and digits after the prefix: 238 bits.
const API_TOKEN_CHARS: usize = 40;

/// Characters of a token that are kept readable.
const SHOWN_CHARS: usize = 8;

/// A new API token. It is shown once, by [`ApiToken::expose`], and kept as a hash.
pub struct ApiToken(Zeroizing<String>);

impl ApiToken {
    /// The token itself, for its owner.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken(..)")
    }
}

impl Control {
    /// Makes an owner of a workspace who need not be invited: what begins a workspace.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] for a text that is no e-mail address, [`Conflict::MemberExists`],
    /// [`ControlError::NotFound`] for the workspace, or [`ControlError::OperatorOnly`].
    pub async fn create_owner(
        &self,
        actor: &Actor,
        workspace: &WorkspaceId,
        email: &str,
    ) -> Result<Member, ControlError> {
        actor.must_be_system()?;
        let now = self.now();
        let email = email_address(email)?;
        let mut tx = self.store.write().await?;
        tx.workspace(workspace)
            .await?
            .ok_or(ControlError::NotFound("workspace"))?;
        let account = self.account(&mut tx, email).await?;
        if tx.has_member(workspace, &account.id).await? {
            return Err(Conflict::MemberExists.into());
        }
        let member = Member {
            id: self.ids.make("mem", MemberId::parse, now)?,
            workspace: workspace.clone(),
            account: account.id,
            email: account.email,
            grants: Grants::owner(),
            revision: 1,
            created_at: now,
            joined_at: Some(now),
        };
        tx.insert_member(&member).await?;
        let event = member_event(Deed::MemberAdded, &member)
            .made(json!({"email": member.email, "roles": grants_value(&member.grants)}));
        self.commit(tx, actor, &[], event).await?;
        Ok(member)
    }

    /// The person with this address, who may be new to this server.
    async fn account(&self, tx: &mut WriteTx, email: String) -> Result<Account, ControlError> {
        if let Some(account) = tx.account_with_email(&email).await? {
            return Ok(account);
        }
        let now = self.now();
        let account = Account {
            id: self.ids.make("acc", AccountId::parse, now)?,
            email,
            created_at: now,
        };
        tx.insert_account(&account).await?;
        Ok(account)
    }

    /// Makes an API token that speaks for a member: for whoever asks, or, where the server itself asks, for
    /// anybody.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] for a name that cannot be taken, [`ControlError::NotFound`] for the member.
    pub async fn create_api_token(
        &self,
        actor: &Actor,
        member: &MemberId,
        token_name: &str,
        expires_at: Option<UnixSeconds>,
    ) -> Result<ApiToken, ControlError> {
        match &actor.who {
            Who::Member(own) if own.id == *member => actor.must(&own.workspace, Action::ManageOwnTokens)?,
            Who::System(_) => {}
            Who::Member(_) | Who::App(_) => return Err(ControlError::NotFound("member")),
        }
        let now = self.now();
        let mut token = Zeroizing::new(API_TOKEN_PREFIX.to_owned());
        token.push_str(&random::alphanumerics(API_TOKEN_CHARS)?);
        let record = ApiTokenRecord {
            id: self.ids.text("tok", now),
            member: member.clone(),
            name: name(token_name, "name")?,
            hash: hash(&token),
            prefix: token.chars().take(SHOWN_CHARS).collect(),
            created_at: now,
            expires_at,
        };
        let mut tx = self.store.write().await?;
        let workspace = tx.workspace_of(member).await?;
        let workspace = workspace.ok_or(ControlError::NotFound("member"))?;
        tx.insert_api_token(&record).await?;
        let event = Event::new(
            Deed::ApiTokenCreated,
            &workspace,
            "api_token",
            &record.id,
            &record.name,
        );
        let event = event.made(json!({
            "name": record.name.as_str(),
            "member_id": member.as_str(),
            "expires_at": expires_at.map(|at| at.0),
        }));
        self.commit(tx, actor, &[], event).await?;
        Ok(ApiToken(token))
    }

    /// The member that an API token speaks for.
    ///
    /// # Errors
    /// [`ControlError::Unauthenticated`] for anything but a live token.
    pub async fn authenticate(&self, token: &str) -> Result<Member, ControlError> {
        let well_formed = token.len() == API_TOKEN_PREFIX.len() + API_TOKEN_CHARS
            && token.starts_with(API_TOKEN_PREFIX)
            && token
                .bytes()
                .skip(API_TOKEN_PREFIX.len())
                .all(|byte| byte.is_ascii_alphanumeric());
        if !well_formed {
            return Err(ControlError::Unauthenticated);
        }
        let now = self.now();
        let found = self.store.read().await?.api_token(&hash(token), now).await?;
        let (id, member) = found.ok_or(ControlError::Unauthenticated)?;
        self.uses.note_api_token(&id, now);
        Ok(member)
    }

    /// The person's membership of a workspace. Where there is none, the workspace does not exist for them.
    pub(super) async fn membership(
        &self,
        workspace: &WorkspaceId,
        account: &AccountId,
    ) -> Result<Member, ControlError> {
        let mut tx = self.store.read().await?;
        tx.membership(workspace, account)
            .await?
            .ok_or(ControlError::NotFound("workspace"))
    }
}

/// Something done to a membership.
fn member_event(deed: Deed, member: &Member) -> Event {
    Event::new(deed, &member.workspace, "member", &member.id, &member.email)
}

/// A token has 238 random bits: nothing is gained by a slow hash.
fn hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(token.as_bytes()))
}

fn email_address(text: &str) -> Result<String, ControlError> {
    let email = text.trim().to_lowercase();
    let plain = email.chars().all(|c| !c.is_whitespace() && !c.is_control());
    match email.split_once('@') {
        Some((local, domain))
            if plain && !local.is_empty() && !domain.is_empty() && email.chars().count() <= 254 =>
        {
            Ok(email)
        }
        _ => Err(ControlError::invalid("email", "this is not an e-mail address")),
    }
}
