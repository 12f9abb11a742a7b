//! Sign-in with a password, and the sessions that it and the provider's sign-on open.
//!
//! What a guesser is up against, and what nobody can do to others with it:
//!
//! - Every answer to a sign-in that fails is the same and takes the same time, whether the account exists, has a
//!   password, or has another one.
//! - Attempts are counted per account and address, per address, and per account for all addresses together. The
//!   first two hold up whoever guesses; the third holds up guessers who have many addresses.
//! - A browser that the person has signed in from has a secret of its own, and with it a count of its own, so
//!   that nobody is locked out by what others try. One address alone cannot exhaust an account's count.
//! - Hashes are computed in turn: for known browsers and sessions apart from everybody else, and in either lane for
//!   each network in turn. A flood of attempts makes those wait who send it.

use super::hashing;
use super::hashing::Hashing;
use super::refused_sign_ins::Refusals;
use super::secret::Secret;
use crate::control::changes::Changes;
use crate::control::ids::Ids;
use crate::control::rate_limits::Limits;
use crate::store::Store;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::json;

use super::hashing::Asker;
use crate::control::actor::Actor;
use crate::control::audit_event::{Deed, Event};
use crate::control::error::ControlError;
use crate::domain::ids::AccountId;
use crate::domain::time::UnixSeconds;
use crate::model::member::Member;
use crate::model::session::SessionRecord;

/// How often a session's last use is written down, in seconds.
const SEEN_EVERY_S: u64 = 60;

/// How long a browser is remembered after a sign-in, in seconds.
pub const BROWSER_KEPT_S: u64 = 180 * 86_400;

/// Characters of an e-mail address that are looked at. None that is here has so many.
const EMAIL_CHARS: usize = 320;

/// Characters of a `User-Agent` that are kept.
const USER_AGENT_CHARS: usize = 200;

/// Where somebody signs in from.
#[derive(Clone, Debug)]
pub struct Browser {
    pub address: IpAddr,
    pub user_agent: String,
    /// The secret that this server gave the browser at an earlier sign-in.
    pub known_by: Option<Secret>,
}

/// How somebody proved who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Password,
    Oidc,
}

impl Method {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Oidc => "oidc",
        }
    }
}

/// A session that was just opened.
#[derive(Debug)]
pub struct SignedIn {
    pub secret: Secret,
    pub session: SessionRecord,
    /// What the browser is to be known by from now on, where it was not known before.
    pub browser: Option<Secret>,
}

/// Sign-in with a password, and sessions.
pub struct Sessions {
    pub(crate) hashing: Arc<Hashing>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) session_idle_s: u64,
    pub(crate) session_lifetime_s: u64,
    pub(crate) store: Arc<Store>,
    pub(crate) changes: Arc<Changes>,
}

impl Sessions {
    /// Signs a person in with their password.
    ///
    /// # Errors
    /// [`ControlError::SignInRefused`] whatever is wrong, [`ControlError::TooMany`] where it was tried too often.
    pub async fn sign_in(
        &self,
        email: &str,
        password: &str,
        browser: &Browser,
    ) -> Result<SignedIn, ControlError> {
        let email: String = email.trim().to_lowercase().chars().take(EMAIL_CHARS).collect();
        let proved_by = self.prove_password(&email, password, browser, None).await?;
        let credentials = self.store.credentials(&email).await?;
        let account = credentials.ok_or(ControlError::SignInRefused)?.account;
        self.limits.session_opened(&account)?;
        self.open_session(&account, email, Method::Password, browser, Some(&proved_by))
            .await
    }

    /// Checks a person's password. Answers the hash that it fits. `session` is the id of a session of theirs that the
    /// request came with.
    pub(crate) async fn prove_password(
        &self,
        email: &str,
        password: &str,
        browser: &Browser,
        session: Option<&str>,
    ) -> Result<String, ControlError> {
        let known = self.known(browser, email).await?;
        let known = known.as_deref().or(session);
        let attempt = self.limits.sign_in(email, browser.address, known);
        let attempt = attempt.map_err(ControlError::TooManyFailures)?;
        let credentials = self.store.credentials(email).await?;
        let kept = credentials.as_ref().and_then(|held| held.password_hash.clone());
        let password = hashing::typed(password).unwrap_or_default();
        let asker = self.asker(email, browser, known.is_some());
        let turn = match self.hashing.turn(asker).await {
            Ok(turn) => turn,
            Err(error) => {
                attempt.not_made();
                return Err(error);
            }
        };
        let checked = self.hashing.check(turn, password, kept.clone()).await?;
        let (Some(credentials), Some(kept), true) = (&credentials, kept, checked.fits) else {
            tracing::info!(address = %browser.address, "a sign-in was refused");
            let account = credentials.map(|held| held.account);
            self.refusals.note(account, browser.address, self.changes.now());
            return Err(ControlError::SignInRefused);
        };
        attempt.succeeded();
        let Some(upgraded) = checked.upgraded else {
            return Ok(kept);
        };
        self.store
            .upgrade_password_hash(&credentials.account, &kept, &upgraded)
            .await?;
        Ok(upgraded)
    }

    /// Whose turn it is to have a password hashed. `is_known` says that the request proved it: by a browser that this
    /// person has signed in from, or a session of theirs.
    pub(crate) fn asker<'a>(&self, email: &'a str, browser: &Browser, is_known: bool) -> Asker<'a> {
        let from = browser.address;
        if is_known && self.limits.has_known_place(email) {
            Asker::Known { email, from }
        } else {
            Asker::Stranger(from)
        }
    }

    /// The hash of the secret that the browser is known by to this person, if it is.
    async fn known(&self, browser: &Browser, email: &str) -> Result<Option<String>, ControlError> {
        let Some(secret) = &browser.known_by else {
            return Ok(None);
        };
        let hash = secret.hash();
        let known = self
            .store
            .is_known_browser(&hash, email, self.changes.now())
            .await?;
        Ok(known.then_some(hash))
    }

    /// Opens a session for a person who proved who they are. Its secret is new: nothing that the browser held
    /// before is worth anything afterwards.
    pub(crate) async fn open_session(
        &self,
        account: &AccountId,
        email: String,
        method: Method,
        browser: &Browser,
        proved_by: Option<&str>,
    ) -> Result<SignedIn, ControlError> {
        let now = self.changes.now();
        let secret = Secret::new()?;
        let session = SessionRecord {
            id: self.ids.text("ses", now),
            account: account.clone(),
            email,
            created_at: now,
            last_seen_at: now,
            expires_at: now.plus(self.session_lifetime_s),
            method: method.as_str().to_owned(),
            user_agent: plain(&browser.user_agent),
            address: browser.address.to_string(),
        };
        let known = self.known(browser, &session.email).await?;
        let event = account_event(Deed::SignedIn, &session).made(json!({"method": method.as_str()}));
        let event = self.changes.audit_row(&person(Some(browser.address)), event);
        if !self
            .store
            .insert_session(&secret.hash(), &session, proved_by, &event)
            .await?
        {
            return Err(ControlError::SignInRefused);
        }
        let browser = if known.is_some() {
            None
        } else {
            let secret = Secret::new()?;
            self.store
                .insert_known_browser(&secret.hash(), account, now.plus(BROWSER_KEPT_S))
                .await?;
            Some(secret)
        };
        tracing::info!(account.id = %account, method = method.as_str(), "signed in");
        Ok(SignedIn {
            secret,
            session,
            browser,
        })
    }

    /// The session that a secret belongs to.
    ///
    /// # Errors
    /// [`ControlError::Unauthenticated`] for one that has ended or never was.
    pub async fn authenticate_session(&self, secret: &Secret) -> Result<SessionRecord, ControlError> {
        let (now, hash) = (self.changes.now(), secret.hash());
        let found = self.store.session(&hash, now, self.seen_after(now)).await?;
        let session = found.ok_or(ControlError::Unauthenticated)?;
        if now.since(session.last_seen_at) >= SEEN_EVERY_S {
            self.store.touch_session(&hash, now).await?;
        }
        Ok(session)
    }

    /// A session that was not used since this moment has ended.
    fn seen_after(&self, now: UnixSeconds) -> UnixSeconds {
        now.minus(self.session_idle_s)
    }

    /// One of the memberships of a signed-in person: whom they speak as where no workspace is named.
    pub async fn home(&self, account: &AccountId) -> Result<Member, ControlError> {
        let mut tx = self.store.read().await?;
        let workspace = tx.any_membership(account).await?;
        let workspace = workspace.ok_or(ControlError::Unauthenticated)?;
        let member = tx.membership(&workspace, account).await?;
        member.ok_or(ControlError::Unauthenticated)
    }

    /// The person's sessions, newest first.
    ///
    /// # Errors
    /// [`ControlError::Store`].
    pub async fn sessions(&self, session: &SessionRecord) -> Result<Vec<SessionRecord>, ControlError> {
        let now = self.changes.now();
        let seen_after = self.seen_after(now);
        Ok(self.store.sessions_of(&session.account, now, seen_after).await?)
    }

    /// Ends one of the person's sessions, their own or another one. Looked up first: an id that names none costs no
    /// turn among the changes.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] where the person has no such session.
    pub async fn sign_out(
        &self,
        session: &SessionRecord,
        id: &str,
        from: Option<IpAddr>,
    ) -> Result<(), ControlError> {
        let which = if id == session.id {
            "this one"
        } else {
            "another one"
        };
        let event = account_event(Deed::SignedOut, session).removed(json!({"session": which}));
        let event = self.changes.audit_row(&person(from), event);
        let has_ended = self.sessions(session).await?.iter().any(|held| held.id == id)
            && self
                .store
                .delete_sessions(&session.account, Some(id), &event)
                .await?;
        if has_ended {
            Ok(())
        } else {
            Err(ControlError::NotFound("session"))
        }
    }

    /// Ends all of the person's sessions.
    ///
    /// # Errors
    /// [`ControlError::Store`].
    pub async fn sign_out_everywhere(
        &self,
        session: &SessionRecord,
        from: Option<IpAddr>,
    ) -> Result<(), ControlError> {
        let event = account_event(Deed::SignedOut, session).removed(json!({"session": "all"}));
        let event = self.changes.audit_row(&person(from), event);
        self.store.delete_sessions(&session.account, None, &event).await?;
        Ok(())
    }

    /// Removes sessions and what belongs to them once they have ended.
    pub(crate) async fn purge_sessions(&self) {
        loop {
            let now = self.changes.now();
            match self.store.purge_sessions(now, self.seen_after(now)).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%error, "ended sessions could not be removed");
                    return;
                }
            }
        }
    }
}

/// Whoever signs in or out, before it is clear in which workspace they act.
fn person(from: Option<IpAddr>) -> Actor {
    Actor {
        from,
        ..Actor::system("sign-in")
    }
}

fn account_event(deed: Deed, session: &SessionRecord) -> Event {
    Event::of_server(deed, "account", &session.account, &session.email)
}

/// A `User-Agent` that can be shown in a list: short, and on one line.
fn plain(user_agent: &str) -> String {
    user_agent
        .chars()
        .filter(|c| !c.is_control())
        .take(USER_AGENT_CHARS)
        .collect()
}
