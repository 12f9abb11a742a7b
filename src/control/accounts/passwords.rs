//! Passwords of people: how they are kept, and how one is checked without telling who has one.
//!
//! Argon2id with 19 MiB, two passes, one lane. A check takes tens of milliseconds of CPU and those 19 MiB, so
//! checks run beside the async threads and a few at a time. The queue for them is fair by network, and people who
//! are known have one of their own: who floods it waits for their own requests.

use super::account::Accounts;
use super::hashing::Asker;
use super::hashing::Hashing;
use super::hashing::check_salt;
use super::hashing::chosen;
use super::sessions::Sessions;
use crate::control::changes::Changes;
use crate::control::rate_limits::Limits;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::account::Ended;
use super::sessions::{Browser, Method, SignedIn};
use crate::control::actor::Actor;
use crate::control::audit_event::{AuditAction, Event};
use crate::control::conflict::Conflict;
use crate::control::error::ControlError;
use crate::control::ids;
use crate::control::input::email_address;
use crate::domain::ids::WorkspaceId;
use crate::model::member::Member;
use crate::model::session::SessionRecord;
use crate::store::accounts::Candidates;
use crate::store::{Store, WriteTx};

/// Letters and digits of a generated password: 142 bits.
const GENERATED_CHARS: usize = 24;

/// Workspaces that a refusal of a reset lists.
const LISTED_MAX: u32 = 20;

/// A password that was reset by the operator.
#[derive(Debug)]
pub struct Reset {
    /// Workspaces whose memberships passed to the account, since the operator vouched for its address.
    pub taken_over: Vec<WorkspaceId>,
    pub ended: Ended,
}

/// A password that was changed: the session that follows, and what ended.
pub struct PasswordChanged {
    pub signed_in: SignedIn,
    pub ended: Ended,
}

/// Passwords: reset and change.
pub struct Passwords {
    pub(crate) hashing: Arc<Hashing>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) store: Arc<Store>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) changes: Arc<Changes>,
}

impl Passwords {
    /// Gives the person of a membership a new password, made here, and ends their sessions and API tokens. It is
    /// shown once, to whoever calls.
    ///
    /// # Errors
    /// As [`Control::reset_password`], or the random source failed.
    pub async fn set_new_password(
        &self,
        actor: &Actor,
        person: &Member,
    ) -> Result<Zeroizing<String>, ControlError> {
        actor.must_be_system()?;
        let password = ids::alphanumerics(GENERATED_CHARS)?;
        self.reset_password(actor, &person.email, &password, &[]).await?;
        Ok(password)
    }

    /// Gives the person with this address the password that the operator chose for them, and ends their sessions
    /// and their API tokens in all workspaces.
    ///
    /// With that the operator vouches for the address: its account is verified afterwards, and takes over what the
    /// address has joined, unverified, in `workspaces`. Where it has no verified account, none is named, and it has
    /// joined one workspace only, that one is meant.
    ///
    /// # Errors
    /// [`ControlError::OperatorOnly`] for anybody else, [`ControlError::NotFound`] for the person or a membership that
    /// is named, [`ControlError::Invalid`] for a password that cannot be taken, [`Conflict::SeveralMemberships`] where
    /// it is not clear which are meant.
    pub async fn reset_password(
        &self,
        actor: &Actor,
        email: &str,
        password: &str,
        workspaces: &[WorkspaceId],
    ) -> Result<Reset, ControlError> {
        actor.must_be_system()?;
        let email = email_address(email)?;
        let password = chosen(password, &email)?;
        let held = self.store.read().await?.verified_account(&email).await?;
        let but = held.as_ref().map(|account| &account.id);
        let forms = self.store.password_forms(&email, but).await?;
        let turn = self.hashing.turn(Asker::Operator).await?;
        let hash = self.hashing.hash(turn, password, forms).await?;
        let mut tx = self.changes.begin(actor).await?;
        let verified = tx.verified_account(&email).await?;
        let members = vouched_for(&mut tx, &email, verified.is_some(), workspaces).await?;
        let account = match verified {
            Some(account) => account,
            None => self.accounts.new_account(&mut tx, email, true).await?,
        };
        let mut ended = self
            .accounts
            .end_credentials(&mut tx, actor, &account.id, true, "password_reset")
            .await?;
        let mut taken_over = Vec::with_capacity(members.len());
        for member in members {
            let (event, with_it) = self
                .accounts
                .take_over(&mut tx, actor, &member, &account, "operator")
                .await?;
            self.changes.append_audit(&mut tx, actor, event).await?;
            ended.sessions += with_it.sessions;
            ended.api_tokens += with_it.api_tokens;
            taken_over.push(member.workspace);
        }
        check_salt(&mut tx, &account.id, &account.email, &hash).await?;
        if !tx.set_password_hash(&account.id, &hash).await? {
            return Err(ControlError::NotFound("person"));
        }
        let event = Event::of_server(AuditAction::PasswordReset, "account", &account.id, &account.email)
            .removed(ended.value());
        self.changes.commit(tx, &[], event).await?;
        Ok(Reset { taken_over, ended })
    }

    /// Replaces a person's own password, for whoever knows the old one. All their sessions end, and all their API
    /// tokens in all workspaces unless they are kept; a new session comes back.
    ///
    /// # Errors
    /// [`ControlError::SignInRefused`] where the old one is not theirs, [`ControlError::Invalid`] for a new one
    /// that nobody should have, [`ControlError::TooMany`] where it was tried too often.
    pub async fn change_password(
        &self,
        session: &SessionRecord,
        current: &str,
        new: &str,
        keep_api_tokens: bool,
        browser: &Browser,
    ) -> Result<PasswordChanged, ControlError> {
        let new = chosen(new, &session.email)?;
        let whose = Candidates {
            only: Some(&session.account),
            preferred: None,
        };
        let kept = self
            .sessions
            .prove_password(&session.email, current, browser, Some(&session.id), whose)
            .await?
            .hash;
        // Counted before the sessions end, so that nobody is left without one.
        self.limits.session_opened(&session.account)?;
        let forms = self
            .store
            .password_forms(&session.email, Some(&session.account))
            .await?;
        let turn = self
            .hashing
            .turn(self.sessions.asker(&session.email, browser, true))
            .await?;
        let hash = self.hashing.hash(turn, new, forms).await?;
        let mut tx = self.changes.begin_unproved().await?;
        check_salt(&mut tx, &session.account, &session.email, &hash).await?;
        if !tx.replace_password_hash(&session.account, &kept, &hash).await? {
            return Err(ControlError::SignInRefused);
        }
        let actor = Actor {
            from: Some(browser.address),
            ..Actor::system("password-change")
        };
        let ended = self
            .accounts
            .end_credentials(
                &mut tx,
                &actor,
                &session.account,
                !keep_api_tokens,
                "password_change",
            )
            .await?;
        let event = Event::of_server(
            AuditAction::PasswordChanged,
            "account",
            &session.account,
            &session.email,
        )
        .removed(ended.value());
        self.changes.commit(tx.proved(actor), &[], event).await?;
        let email = session.email.clone();
        let signed_in = self
            .sessions
            .open_session(&session.account, email, Method::Password, browser, Some(&hash))
            .await?;
        Ok(PasswordChanged { signed_in, ended })
    }
}

/// The memberships of an address, joined and not verified, that a reset by the operator vouches for.
async fn vouched_for(
    tx: &mut WriteTx,
    email: &str,
    is_verified: bool,
    workspaces: &[WorkspaceId],
) -> Result<Vec<Member>, ControlError> {
    if workspaces.is_empty() && is_verified {
        return Ok(Vec::new());
    }
    if workspaces.is_empty() {
        let members = tx.joined_unverified(email, LISTED_MAX).await?;
        return match members.len() {
            0 => Err(ControlError::NotFound("person")),
            1 => Ok(members),
            _ => {
                let ids: Vec<&str> = members.iter().map(|member| member.workspace.as_str()).collect();
                Err(Conflict::SeveralMemberships(ids.join(", ")).into())
            }
        };
    }
    let mut members = Vec::with_capacity(workspaces.len());
    for workspace in workspaces {
        let found = tx.joined_unverified_in(workspace, email).await?;
        let found = found.ok_or(ControlError::NotFound("membership"))?;
        if members.iter().all(|member: &Member| member.id != found.id) {
            members.push(found);
        }
    }
    Ok(members)
}
