//! Passwords: changes by their owners, and resets by the operator.
//!
//! Argon2id with 19 MiB, two passes, one lane. A check takes tens of milliseconds of CPU and 19 MiB, so a few run at
//! a time, outside the async threads. Their queue is fair by network, and known people have a queue of their own: a
//! flood delays only its sender.

use super::account::Accounts;
use super::hashing::Asker;
use super::hashing::Hashing;
use super::hashing::check_salt;
use super::hashing::validate_new;
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

/// The most workspaces that the error of a reset lists.
const LISTED_MAX: u32 = 20;

/// A password that the operator reset.
#[derive(Debug)]
pub struct Reset {
    /// Workspaces whose memberships passed to the account, since the operator vouched for its address.
    pub taken_over: Vec<WorkspaceId>,
    pub ended: Ended,
}

/// A changed password: the new session, and what was revoked.
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
    /// Sets a generated password for a member's account, and revokes its sessions and API tokens. Returns the
    /// password, which is shown once.
    ///
    /// # Errors
    /// See [`Passwords::reset_password`]; or the random source failed.
    pub async fn set_new_password(
        &self,
        actor: &Actor,
        person: &Member,
    ) -> Result<Zeroizing<String>, ControlError> {
        actor.require_system()?;
        let password = ids::alphanumerics(GENERATED_CHARS)?;
        self.reset_password(actor, &person.email, &password, &[]).await?;
        Ok(password)
    }

    /// Sets the password that the operator chose for the account of this address, and revokes its sessions and its
    /// API tokens in all workspaces.
    ///
    /// The operator thereby vouches for the address: the account is verified afterwards, and takes over the address's
    /// unverified memberships of `workspaces`. If there is no verified account, no workspace is named and the address
    /// has joined only one, that one is taken.
    ///
    /// # Errors
    /// [`ControlError::OperatorOnly`] for others, [`ControlError::NotFound`] for the person or a named membership,
    /// [`ControlError::Invalid`] for an invalid password, [`Conflict::SeveralMemberships`] if workspaces must be
    /// named.
    pub async fn reset_password(
        &self,
        actor: &Actor,
        email: &str,
        password: &str,
        workspaces: &[WorkspaceId],
    ) -> Result<Reset, ControlError> {
        actor.require_system()?;
        let email = email_address(email)?;
        let password = validate_new(password, &email)?;
        let held = self.store.read().await?.verified_account(&email).await?;
        let but = held.as_ref().map(|account| &account.id);
        let prefixes = self.store.password_prefixes(&email, but).await?;
        let turn = self.hashing.turn(Asker::Operator).await?;
        let hash = self.hashing.hash(turn, password, prefixes).await?;
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

    /// Changes a person's own password, with the old one. Revokes all their sessions, and all their API tokens in all
    /// workspaces unless they are to be kept; returns a new session.
    ///
    /// # Errors
    /// [`ControlError::SignInRefused`] if the old password is wrong, [`ControlError::Invalid`] for an invalid new
    /// one, [`ControlError::TooMany`] after too many attempts, [`ControlError::PasswordsOff`] where passwords are
    /// turned off.
    pub async fn change_password(
        &self,
        session: &SessionRecord,
        current: &str,
        new: &str,
        keep_api_tokens: bool,
        browser: &Browser,
    ) -> Result<PasswordChanged, ControlError> {
        self.sessions.require_passwords()?;
        let new = validate_new(new, &session.email)?;
        let whose = Candidates {
            only: Some(&session.account),
            preferred: None,
        };
        let kept = self
            .sessions
            .prove_password(&session.email, current, browser, Some(&session.id), whose)
            .await?
            .hash;
        // Counted before sessions are revoked, so that nobody is left without one.
        self.limits.session_opened(&session.account)?;
        let prefixes = self
            .store
            .password_prefixes(&session.email, Some(&session.account))
            .await?;
        let turn = self
            .hashing
            .turn(self.sessions.asker(&session.email, browser, true))
            .await?;
        let hash = self.hashing.hash(turn, new, prefixes).await?;
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

/// The joined, unverified memberships of an address that a reset by the operator vouches for.
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
        let members = tx.unverified_memberships(email, LISTED_MAX).await?;
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
        let found = tx.unverified_membership_in(workspace, email).await?;
        let found = found.ok_or(ControlError::NotFound("membership"))?;
        if members.iter().all(|member: &Member| member.id != found.id) {
            members.push(found);
        }
    }
    Ok(members)
}
