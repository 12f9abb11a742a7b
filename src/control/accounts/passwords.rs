//! Passwords of people: how they are kept, and how one is checked without telling who has one.
//!
//! Argon2id with 19 MiB, two passes, one lane. A check takes tens of milliseconds of CPU and those 19 MiB, so
//! checks run beside the async threads and a few at a time. The queue for them is fair by network, and people who
//! are known have one of their own: who floods it waits for their own requests.

use super::hashing::Hashing;
use super::hashing::chosen;
use super::sessions::Sessions;
use crate::control::accounts::hashing::Asker;
use crate::control::changes::Changes;
use crate::control::rate_limits::Limits;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::sessions::{Browser, Method, SignedIn};
use crate::control::actor::Actor;
use crate::control::audit_event::{Deed, Event};
use crate::control::error::ControlError;
use crate::control::ids;
use crate::control::input::email_address;
use crate::model::member::Member;
use crate::model::session::SessionRecord;

/// Letters and digits of a generated password: 142 bits.
const GENERATED_CHARS: usize = 24;

/// Passwords: reset and change.
pub struct Passwords {
    pub(crate) hashing: Arc<Hashing>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) changes: Arc<Changes>,
}

impl Passwords {
    /// Gives a person a new password, made here, and ends their sessions. It is shown once, to whoever calls.
    ///
    /// # Errors
    /// [`ControlError::OperatorOnly`] for anybody else, [`ControlError::NotFound`] for a person who is not
    /// there, or the random source or the store failed.
    pub async fn set_new_password(
        &self,
        actor: &Actor,
        person: &Member,
    ) -> Result<Zeroizing<String>, ControlError> {
        actor.must_be_system()?;
        let password = ids::alphanumerics(GENERATED_CHARS)?;
        self.reset_password(actor, &person.email, &password).await?;
        Ok(password)
    }

    /// Gives the person with this address the password that the operator chose for them, and ends their
    /// sessions.
    ///
    /// # Errors
    /// [`ControlError::OperatorOnly`] for anybody else, [`ControlError::NotFound`] for the person,
    /// [`ControlError::Invalid`] for a password that cannot be taken.
    pub async fn reset_password(
        &self,
        actor: &Actor,
        email: &str,
        password: &str,
    ) -> Result<(), ControlError> {
        actor.must_be_system()?;
        let email = email_address(email)?;
        let password = chosen(password, &email)?;
        let turn = self.hashing.turn(Asker::Operator).await?;
        let hash = self.hashing.hash(turn, password).await?;
        let mut tx = self.changes.begin(actor).await?;
        let person = tx.account_with_email(&email).await?;
        let person = person.ok_or(ControlError::NotFound("person"))?;
        if !tx.set_password_hash(&person.id, &hash).await? {
            return Err(ControlError::NotFound("person"));
        }
        tx.end_sessions(&person.id).await?;
        let event = Event::of_server(Deed::PasswordReset, "account", &person.id, &person.email);
        self.changes.commit(tx, &[], event).await
    }
}

impl Passwords {
    /// Replaces a person's own password, for whoever knows the old one. All their sessions end; a new one
    /// comes back.
    ///
    /// # Errors
    /// [`ControlError::SignInRefused`] where the old one is not theirs, [`ControlError::Invalid`] for a new one
    /// that nobody should have, [`ControlError::TooMany`] where it was tried too often.
    pub async fn change_password(
        &self,
        session: &SessionRecord,
        current: &str,
        new: &str,
        browser: &Browser,
    ) -> Result<SignedIn, ControlError> {
        let new = chosen(new, &session.email)?;
        let kept = self
            .sessions
            .prove_password(&session.email, current, browser, Some(&session.id))
            .await?;
        // Counted before the sessions end, so that nobody is left without one.
        self.limits.session_opened(&session.account)?;
        let turn = self
            .hashing
            .turn(self.sessions.asker(&session.email, browser, true))
            .await?;
        let hash = self.hashing.hash(turn, new).await?;
        let mut tx = self.changes.begin_unproved().await?;
        if !tx.replace_password_hash(&session.account, &kept, &hash).await? {
            return Err(ControlError::SignInRefused);
        }
        tx.end_sessions(&session.account).await?;
        let event = Event::of_server(Deed::PasswordChanged, "account", &session.account, &session.email);
        let actor = Actor {
            from: Some(browser.address),
            ..Actor::system("password-change")
        };
        self.changes.commit(tx.proved(actor), &[], event).await?;
        let email = session.email.clone();
        self.sessions
            .open_session(&session.account, email, Method::Password, browser, Some(&hash))
            .await
    }
}
