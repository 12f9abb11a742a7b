//! Sign-on at a provider: out, back, and whose account it opens.
//!
//! What they may do, only a membership says: a sign-on opens an account that is there, and makes none.

use super::sessions::Sessions;
use crate::control::changes::Changes;
use crate::control::rate_limits::Limits;
use crate::store::Store;
use serde_json::json;
use std::sync::Arc;

use super::oidc::{Provider, SignOnError};
use super::pending_sign_on::Pending;
use super::secret::Secret;
use super::sessions::{Browser, Method, SignedIn};
use crate::control::actor::Actor;
use crate::control::audit_event::{Deed, Event};
use crate::control::error::ControlError;
use crate::control::workspaces::members::{member_event, member_in};
use crate::domain::id_token::Identity;
use crate::domain::ids::AccountId;
use crate::domain::time::UnixSeconds;
use crate::store::WriteTx;

/// How long a sign-on may take, in seconds.
pub const SIGN_ON_S: u64 = 600;

/// What the provider sent the browser back with.
#[derive(Debug, Default)]
pub struct Returned<'r> {
    pub state: Option<&'r str>,
    pub code: Option<&'r str>,
    pub issuer: Option<&'r str>,
    pub error: Option<&'r str>,
}

/// A sign-on that succeeded: the session, and the page to show.
pub struct SignedOn {
    pub signed_in: SignedIn,
    pub next: String,
}

/// Sign-on at a provider.
pub struct SignOn {
    pub(crate) limits: Arc<Limits>,
    pub(crate) provider: Option<Provider>,
    pub(crate) store: Arc<Store>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) changes: Arc<Changes>,
}

impl SignOn {
    /// Whether people can sign on at a provider.
    #[must_use]
    pub fn has_sign_on(&self) -> bool {
        self.provider.is_some()
    }

    /// Begins a sign-on: what the browser is to keep, and where it goes.
    ///
    /// # Errors
    /// [`SignOnError`].
    pub async fn begin_sign_on(
        &self,
        browser: &Browser,
        next: &str,
    ) -> Result<(Pending, String), SignOnError> {
        let provider = self.provider.as_ref().ok_or(SignOnError::NotSetUp)?;
        self.limits.sign_on(browser.address).map_err(ControlError::from)?;
        let now = self.changes.now();
        let metadata = provider.metadata(now).await?;
        let pending = Pending::new(next)?;
        self.store
            .insert_sign_on(&pending.state.hash(), now.plus(SIGN_ON_S))
            .await?;
        let url = provider.authorization_url(&metadata, &pending);
        Ok((pending, url))
    }

    /// Ends a sign-on with what the provider sent the browser back with. `signed_in` is whom the browser has a
    /// session of already.
    ///
    /// # Errors
    /// [`SignOnError`].
    pub async fn end_sign_on(
        &self,
        cookie: Option<&str>,
        returned: Returned<'_>,
        browser: &Browser,
        signed_in: Option<&AccountId>,
    ) -> Result<SignedOn, SignOnError> {
        let provider = self.provider.as_ref().ok_or(SignOnError::NotSetUp)?;
        let pending = cookie.and_then(Pending::from_cookie).ok_or(SignOnError::State)?;
        let state = returned.state.and_then(Secret::parse).ok_or(SignOnError::State)?;
        let now = self.changes.now();
        // Its own browser's, and not used before.
        if state.hash() != pending.state.hash() || !self.store.take_sign_on(&state.hash(), now).await? {
            return Err(SignOnError::State);
        }
        let metadata = provider.metadata(now).await?;
        // RFC 9207: the answer is of the provider that was asked.
        let is_theirs = match returned.issuer {
            Some(issuer) => issuer == provider.settings.issuer,
            None => !metadata.authorization_response_iss_parameter_supported,
        };
        if !is_theirs {
            return Err(SignOnError::Refused("the answer came from another provider"));
        }
        let code = match (returned.error, returned.code) {
            (Some("access_denied"), _) => return Err(SignOnError::Refused("access was denied")),
            (Some(_), _) | (None, None) => return Err(SignOnError::Refused("it answered with an error")),
            (None, Some(code)) => code,
        };
        let identity = provider.exchange(&metadata, code, &pending, now).await?;
        let (account, email) = self.account_of(provider, &identity, browser, signed_in).await?;
        self.limits.session_opened(&account).map_err(ControlError::from)?;
        let signed_in = self
            .sessions
            .open_session(&account, email, Method::Oidc, browser, None)
            .await
            .map_err(|error| match error {
                ControlError::SignInRefused => SignOnError::NotInvited,
                other => SignOnError::Control(other),
            })?;
        Ok(SignedOn {
            signed_in,
            next: pending.next,
        })
    }

    /// The account that an identity opens. The first time, it is the one with the address that the provider has
    /// verified, if somebody made that person a member; afterwards the subject decides, whatever the address.
    /// An account that has a password is opened to a provider only by who is signed in to it: whoever was invited
    /// with the address first and chose that password need not be the person.
    async fn account_of(
        &self,
        provider: &Provider,
        identity: &Identity,
        browser: &Browser,
        signed_in: Option<&AccountId>,
    ) -> Result<(AccountId, String), SignOnError> {
        let email = identity.email.as_deref().ok_or(SignOnError::Unverified)?;
        let email = email.trim().to_lowercase();
        let domains = &provider.settings.domains;
        let domain = email
            .rsplit_once('@')
            .map(|(_, domain)| domain)
            .unwrap_or_default();
        if !domains.is_empty() && !domains.iter().any(|allowed| allowed == domain) {
            return Err(SignOnError::NotInvited);
        }
        let (issuer, now) = (&provider.settings.issuer, self.changes.now());
        let mut tx = self.store.read().await?;
        let known = tx.account_of_identity(issuer, &identity.subject).await?;
        if let Some(account) = known {
            let address = tx.email_of(&account).await?.unwrap_or_default();
            // Those who signed on before may have been invited somewhere else since.
            if address != email || tx.invited_to(&account, now).await?.is_empty() {
                return Ok((account, address));
            }
        }
        drop(tx);
        let mut tx = self.changes.begin_unproved().await?;
        let account = tx
            .account_with_email(&email)
            .await?
            .ok_or(SignOnError::NotInvited)?;
        if !tx.is_member_anywhere(&account.id).await? {
            return Err(SignOnError::NotInvited);
        }
        let is_linked = match tx.account_of_identity(issuer, &identity.subject).await? {
            Some(held) if held == account.id => true,
            Some(_) => return Err(SignOnError::OtherSubject),
            None if tx.has_identity(issuer, &account.id).await? => return Err(SignOnError::OtherSubject),
            None => false,
        };
        if !is_linked {
            let proved = signed_in == Some(&account.id);
            if !proved && tx.password_hash(&account.id).await?.is_some() {
                return Err(SignOnError::PasswordFirst);
            }
            tx.insert_identity(issuer, &identity.subject, &account.id).await?;
        }
        let mut events = self.join_where_invited(&mut tx, &account.id, now).await?;
        if tx.any_membership(&account.id).await?.is_none() {
            return Err(SignOnError::NotInvited);
        }
        if !is_linked {
            let linked = Event::of_server(Deed::IdentityLinked, "account", &account.id, &account.email);
            events.push(linked);
        }
        let actor = Actor {
            from: Some(browser.address),
            ..Actor::system("sign-on")
        };
        if let Some(last) = events.pop() {
            for event in events {
                self.changes.append_audit(&mut tx, &actor, event).await?;
            }
            self.changes.commit(tx.proved(actor), &[], last).await?;
        }
        Ok((account.id, account.email))
    }

    /// Lets the memberships begin that the person was invited to. Answers what the trails of their workspaces say.
    async fn join_where_invited(
        &self,
        tx: &mut WriteTx,
        account: &AccountId,
        now: UnixSeconds,
    ) -> Result<Vec<Event>, SignOnError> {
        let mut events = Vec::new();
        for (workspace, id) in tx.invited_to(account, now).await? {
            let member = member_in(tx, &workspace, &id).await?;
            tx.join(&id, now).await?;
            let event = member_event(Deed::MemberJoined, &member).made(json!({ "email": member.email }));
            events.push(event);
        }
        Ok(events)
    }
}
