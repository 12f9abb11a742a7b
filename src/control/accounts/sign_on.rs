//! Sign-on at a provider: redirect, callback, and which account it opens.
//!
//! A membership alone grants rights: a sign-on creates an account only for an invited address. What it proves, and
//! which memberships it takes over, is in [`accounts`](super::account).

use super::account::Accounts;
use super::invitations::Invitations;
use super::sessions::Sessions;
use crate::control::changes::Changes;
use crate::control::rate_limits::Limits;
use crate::store::Store;
use serde_json::json;
use std::sync::Arc;

use super::oidc::{Provider, SignOnError};
use super::pending_sign_on::PendingSignOn;
use super::secret::Secret;
use super::sessions::{Browser, Method, SignedIn};
use crate::control::actor::Actor;
use crate::control::audit_event::{AuditAction, Event};
use crate::control::error::ControlError;
use crate::control::input::email_address;
use crate::control::workspaces::members::member_in;
use crate::domain::id_token::Identity;
use crate::domain::ids::AccountId;
use crate::domain::time::UnixSeconds;
use crate::model::account::Account;
use crate::store::WriteTx;

/// The longest duration of a sign-on, in seconds.
pub const SIGN_ON_S: u64 = 600;

/// The parameters of the provider's redirect back to this server.
#[derive(Debug, Default)]
pub struct Callback<'r> {
    pub state: Option<&'r str>,
    pub code: Option<&'r str>,
    pub issuer: Option<&'r str>,
    pub error: Option<&'r str>,
}

/// A successful sign-on: the session, and the page to show.
pub struct SignedOn {
    pub signed_in: SignedIn,
    pub next: String,
}

/// Sign-on at a provider.
pub struct SignOn {
    pub(crate) limits: Arc<Limits>,
    pub(crate) provider: Option<Provider>,
    pub(crate) store: Arc<Store>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) invitations: Arc<Invitations>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) changes: Arc<Changes>,
}

impl SignOn {
    /// Whether sign-on at a provider is configured.
    #[must_use]
    pub fn has_sign_on(&self) -> bool {
        self.provider.is_some()
    }

    /// Begins a sign-on: what the browser keeps, and where it goes.
    ///
    /// # Errors
    /// [`SignOnError`].
    pub async fn begin_sign_on(
        &self,
        browser: &Browser,
        next: &str,
    ) -> Result<(PendingSignOn, String), SignOnError> {
        let provider = self.provider.as_ref().ok_or(SignOnError::NotSetUp)?;
        self.limits.sign_on(browser.address).map_err(ControlError::from)?;
        let now = self.changes.now();
        let metadata = provider.metadata().await?;
        let pending = PendingSignOn::new(next)?;
        self.store
            .insert_sign_on(&pending.state.hash(), now.plus(SIGN_ON_S))
            .await?;
        let url = provider.authorization_url(&metadata, &pending);
        Ok((pending, url))
    }

    /// Completes a sign-on with the provider's callback. `signed_in` is the session that the browser already has.
    ///
    /// # Errors
    /// [`SignOnError`].
    pub async fn complete_sign_on(
        &self,
        cookie: Option<&str>,
        returned: Callback<'_>,
        browser: &Browser,
        signed_in: Option<&AccountId>,
    ) -> Result<SignedOn, SignOnError> {
        let provider = self.provider.as_ref().ok_or(SignOnError::NotSetUp)?;
        let pending = cookie
            .and_then(PendingSignOn::from_cookie)
            .ok_or(SignOnError::State)?;
        let state = returned.state.and_then(Secret::parse).ok_or(SignOnError::State)?;
        let now = self.changes.now();
        // It must be this browser's sign-on, and not used before.
        if state.hash() != pending.state.hash() || !self.store.take_sign_on(&state.hash(), now).await? {
            return Err(SignOnError::State);
        }
        let metadata = provider.metadata().await?;
        // RFC 9207: the response must come from the provider that was asked.
        let is_theirs = match returned.issuer {
            Some(issuer) => issuer == provider.settings.issuer,
            None => !metadata.authorization_response_iss_parameter_supported,
        };
        if !is_theirs {
            return Err(SignOnError::Refused("the response came from another provider"));
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

    /// The account of an identity, and its address. On the first sign-on it is the verified account of the address
    /// that the provider has verified, or a new one if the address is invited anywhere. After that, the subject
    /// decides, not the address. A verified account with a password is linked only by a person who is signed in
    /// to it; where passwords are turned off, the provider alone says whose an address is.
    ///
    /// This proves the address: its open invitations are accepted, and the membership of an unverified account of the
    /// address is taken over if the browser is signed in to that account. Memberships that others have joined with
    /// the address are not.
    async fn account_of(
        &self,
        provider: &Provider,
        identity: &Identity,
        browser: &Browser,
        signed_in: Option<&AccountId>,
    ) -> Result<(AccountId, String), SignOnError> {
        let email = identity.email.as_deref().ok_or(SignOnError::Unverified)?;
        let email = provider_address(email).ok_or(SignOnError::Unverified)?;
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
            let is_own = signed_in.is_none_or(|signed_in| *signed_in == account);
            // They may have been invited to other workspaces since.
            if address != email || (is_own && tx.invited_to(&email, now).await?.is_empty()) {
                return Ok((account, address));
            }
        }
        drop(tx);
        let actor = Actor {
            from: Some(browser.address),
            ..Actor::system("sign-on")
        };
        let mut tx = self.changes.begin_unproved().await?;
        let proved = self.proved(&mut tx, issuer, identity, &email, signed_in).await?;
        let (account, mut events) = (proved.account, proved.events);
        events.extend(self.join_where_invited(&mut tx, &account, now).await?);
        if let Some(signed_in) = signed_in {
            let event = self.take_over_own(&mut tx, &actor, &account, signed_in).await?;
            events.extend(event);
        }
        if tx.any_membership(&account.id).await?.is_none() {
            let joined = tx.unverified_memberships(&email, 1).await?;
            return Err(if joined.is_empty() {
                SignOnError::NotInvited
            } else if self.sessions.has_passwords() {
                SignOnError::PasswordFirst
            } else {
                SignOnError::JoinedWithPassword
            });
        }
        if let Some(last) = events.pop() {
            for event in events {
                self.changes.append_audit(&mut tx, &actor, event).await?;
            }
            self.changes.commit(tx.proved(actor), &[], last).await?;
        }
        Ok((account.id, account.email))
    }

    /// The verified account of an address whose identity has just been proved, linked with the identity.
    async fn proved(
        &self,
        tx: &mut WriteTx,
        issuer: &str,
        identity: &Identity,
        email: &str,
        signed_in: Option<&AccountId>,
    ) -> Result<Proved, SignOnError> {
        let mut events = Vec::new();
        let held = tx.verified_account(email).await?;
        let linked = tx.account_of_identity(issuer, &identity.subject).await?;
        let account = match (held, linked) {
            (Some(held), Some(linked)) if held.id == linked => {
                return Ok(Proved {
                    account: held,
                    events,
                });
            }
            (_, Some(_)) => return Err(SignOnError::OtherSubject),
            (Some(held), None) => {
                if tx.has_identity(issuer, &held.id).await? {
                    return Err(SignOnError::OtherSubject);
                }
                if self.sessions.has_passwords()
                    && signed_in != Some(&held.id)
                    && tx.password_hash(&held.id).await?.is_some()
                {
                    return Err(SignOnError::PasswordFirst);
                }
                held
            }
            (None, None) => {
                let made = self.accounts.new_account(tx, email.to_owned(), true).await?;
                let event = Event::of_server(AuditAction::AddressVerified, "account", &made.id, &made.email);
                events.push(event.made(json!({"by": "sign-on"})));
                made
            }
        };
        tx.insert_identity(issuer, &identity.subject, &account.id).await?;
        let event = Event::of_server(
            AuditAction::IdentityLinked,
            "account",
            &account.id,
            &account.email,
        );
        events.push(event);
        Ok(Proved { account, events })
    }

    /// Takes over the membership of the unverified account of the same address that the browser is signed in to. Both
    /// were proved in one browser.
    async fn take_over_own(
        &self,
        tx: &mut WriteTx,
        actor: &Actor,
        account: &Account,
        signed_in: &AccountId,
    ) -> Result<Option<Event>, SignOnError> {
        let held = tx.account(signed_in).await?;
        let is_own = held.is_some_and(|held| held.verified_at.is_none() && held.email == account.email);
        let workspace = tx.any_membership(signed_in).await?.filter(|_| is_own);
        let Some(workspace) = workspace else {
            return Ok(None);
        };
        let Some(member) = tx.membership(&workspace, signed_in).await? else {
            return Ok(None);
        };
        let (event, _) = self
            .accounts
            .take_over(tx, actor, &member, account, "sign-on")
            .await?;
        Ok(Some(event))
    }

    /// Joins the verified account to the workspaces that the address was invited to. Returns the audit events.
    async fn join_where_invited(
        &self,
        tx: &mut WriteTx,
        account: &Account,
        now: UnixSeconds,
    ) -> Result<Vec<Event>, SignOnError> {
        let mut events = Vec::new();
        for (workspace, id) in tx.invited_to(&account.email, now).await? {
            let member = member_in(tx, &workspace, &id).await?;
            tx.move_member(&id, &account.id).await?;
            tx.delete_unverified(&member.account).await?;
            let (_, event) = self.invitations.joined(tx, member).await?;
            events.push(event);
        }
        Ok(events)
    }
}

/// The account of a proved address, and the audit events of the proof.
struct Proved {
    account: Account,
    events: Vec<Event>,
}

/// The address that a provider has verified, in its canonical form. `None` for an address that becomes another mailbox's
/// in that form: U+212A KELVIN SIGN is a letter of its own to a mail server, and `k` in lower case.
fn provider_address(text: &str) -> Option<String> {
    let folds_to_ascii =
        |letter: char| !letter.is_ascii() && letter.to_lowercase().any(|lower| lower.is_ascii());
    if text.chars().any(folds_to_ascii) {
        return None;
    }
    email_address(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provider_address_never_folds_into_another_mailbox() {
        for (verified, canonical) in [
            ("alike@example.com", Some("alike@example.com")),
            (" Alike@Example.COM ", Some("alike@example.com")),
            ("\u{c9}ve@example.com", Some("\u{e9}ve@example.com")),
            ("e\u{301}ve@example.com", Some("\u{e9}ve@example.com")),
            ("ali\u{212a}e@example.com", None),
            ("alike@\u{212a}.example.com", None),
            ("al\u{130}ke@example.com", None),
            ("alike", None),
            ("al ike@example.com", None),
            ("alike\u{202e}@example.com", None),
        ] {
            assert_eq!(provider_address(verified).as_deref(), canonical, "{verified:?}");
        }
    }
}
