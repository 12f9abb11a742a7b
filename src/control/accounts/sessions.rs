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

use super::account::Accounts;
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

use super::account::Ended;
use super::hashing::Asker;
use crate::control::actor::Actor;
use crate::control::audit_event::{AuditAction, Event};
use crate::control::error::ControlError;
use crate::control::rate_limits::Attempt;
use crate::domain::ids::{AccountId, WorkspaceId};
use crate::domain::time::UnixSeconds;
use crate::model::member::Member;
use crate::model::session::SessionRecord;
use crate::store::accounts::{Candidates, Fitting};

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

/// A browser that an account has signed in from, by the hash of its secret.
struct KnownBrowser {
    account: AccountId,
    hash: String,
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
    pub(crate) accounts: Arc<Accounts>,
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
        self.sign_in_to(None, email, password, browser).await
    }

    /// Signs a person in with their password. Of several accounts of the address that it fits, the one with a
    /// membership of `workspace` is meant.
    ///
    /// # Errors
    /// As [`Control::sign_in`].
    pub async fn sign_in_to(
        &self,
        workspace: Option<&WorkspaceId>,
        email: &str,
        password: &str,
        browser: &Browser,
    ) -> Result<SignedIn, ControlError> {
        let email: String = email.trim().to_lowercase().chars().take(EMAIL_CHARS).collect();
        let whose = Candidates {
            only: None,
            preferred: workspace,
        };
        let proved = self
            .prove_password(&email, password, browser, None, whose)
            .await?;
        self.limits.session_opened(&proved.account)?;
        self.open_session(
            &proved.account,
            email,
            Method::Password,
            browser,
            Some(&proved.hash),
        )
        .await
    }

    /// Checks a password of an address. Answers whose it is, and the hash that it fits. `session` is the id of a session of
    /// theirs that the request came with.
    ///
    /// One hash is computed, whether the address has no account, one, or many.
    pub(crate) async fn prove_password(
        &self,
        email: &str,
        password: &str,
        browser: &Browser,
        session: Option<&str>,
        whose: Candidates<'_>,
    ) -> Result<Fitting, ControlError> {
        let known = self.known(browser, email).await?;
        // A browser that one account knows says nothing for the others of its address.
        let known = known.filter(|known| whose.only.is_none_or(|only| *only == known.account));
        let asker = self.asker(email, browser, known.is_some() || session.is_some());
        let (attempts, whose) = self
            .count_attempt(email, browser, known.as_ref(), session, whose)
            .await?;
        let forms = self.store.password_forms(email, None).await?;
        let password = hashing::typed(password).unwrap_or_default();
        let turn = match self.hashing.turn(asker).await {
            Ok(turn) => turn,
            Err(error) => {
                attempts.into_iter().for_each(Attempt::not_made);
                return Err(error);
            }
        };
        let hashes = self
            .hashing
            .hash_in_forms(turn, password.clone(), forms.clone())
            .await?;
        let found = self.store.account_with_password(email, &hashes, whose).await?;
        let Some(found) = found else {
            tracing::info!(address = %browser.address, "a sign-in was refused");
            let account = self.store.account_for_trail(email).await?;
            self.refusals.note(account, browser.address, self.changes.now());
            return Err(ControlError::SignInRefused);
        };
        for attempt in attempts {
            attempt.succeeded();
        }
        if hashing::is_of_today(&found.hash) {
            return Ok(found);
        }
        let turn = self.hashing.turn(self.asker(email, browser, true)).await?;
        let upgraded = self.hashing.hash(turn, password, forms).await?;
        self.store
            .upgrade_password_hash(&found.account, &found.hash, &upgraded)
            .await?;
        Ok(Fitting {
            hash: upgraded,
            ..found
        })
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

    /// Counts an attempt to sign in. From a browser that an account of the address knows, that account can be
    /// signed in to whatever others have tried; the address's further accounts, if there are any, only where an
    /// attempt from any browser could.
    async fn count_attempt<'c>(
        &self,
        email: &str,
        browser: &Browser,
        known: Option<&'c KnownBrowser>,
        session: Option<&str>,
        whose: Candidates<'c>,
    ) -> Result<(Vec<Attempt<'_>>, Candidates<'c>), ControlError> {
        let Some(known) = known else {
            let attempt = self.limits.sign_in(email, browser.address, session);
            let attempt = attempt.map_err(ControlError::TooManyFailures)?;
            return Ok((vec![attempt], whose));
        };
        let own = self.limits.sign_in(email, browser.address, Some(&known.hash));
        let own = own.map_err(ControlError::TooManyFailures)?;
        let only_own = Candidates {
            only: Some(&known.account),
            ..whose
        };
        if whose.only.is_some() || !self.store.has_other_account(email, &known.account).await? {
            return Ok((vec![own], only_own));
        }
        Ok(match self.limits.sign_in(email, browser.address, None) {
            Ok(any) => (vec![own, any], whose),
            Err(_) => (vec![own], only_own),
        })
    }

    /// What the browser is known by to an account of this address, if it is.
    async fn known(&self, browser: &Browser, email: &str) -> Result<Option<KnownBrowser>, ControlError> {
        let Some(secret) = &browser.known_by else {
            return Ok(None);
        };
        let hash = secret.hash();
        let found = self.store.known_browser(&hash, self.changes.now()).await?;
        let of_address = found.filter(|(_, address)| address == email);
        Ok(of_address.map(|(account, _)| KnownBrowser { account, hash }))
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
        let known = self.known(browser, &email).await?;
        let is_known = known.is_some_and(|known| known.account == *account);
        let held = self.store.read().await?.account(account).await?;
        let session = SessionRecord {
            id: self.ids.text("ses", now),
            account: account.clone(),
            email,
            verified: held.is_some_and(|held| held.verified_at.is_some()),
            created_at: now,
            last_seen_at: now,
            expires_at: now.plus(self.session_lifetime_s),
            method: method.as_str().to_owned(),
            user_agent: plain(&browser.user_agent),
            address: browser.address.to_string(),
        };
        let event = account_event(AuditAction::SignedIn, &session).made(json!({"method": method.as_str()}));
        let event = self.changes.audit_row(&person(Some(browser.address)), event);
        if !self
            .store
            .insert_session(&secret.hash(), &session, proved_by, &event)
            .await?
        {
            return Err(ControlError::SignInRefused);
        }
        let browser = if is_known {
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
    pub async fn default_membership(&self, account: &AccountId) -> Result<Member, ControlError> {
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
        let event = account_event(AuditAction::SignedOut, session).removed(json!({"session": which}));
        let event = self.changes.audit_row(&person(from), event);
        // No id is one that nobody has, and a session that is not there takes nobody's turn to write.
        let has_ended = !id.is_empty()
            && self.sessions(session).await?.iter().any(|held| held.id == id)
            && self.store.delete_session(&session.account, id, &event).await?;
        if has_ended {
            Ok(())
        } else {
            Err(ControlError::NotFound("session"))
        }
    }

    /// Ends all of the person's sessions, forgets the browsers that they signed in from, and ends their API tokens in
    /// all workspaces where `with_api_tokens` says so.
    ///
    /// # Errors
    /// [`ControlError::Store`].
    pub async fn sign_out_everywhere(
        &self,
        session: &SessionRecord,
        with_api_tokens: bool,
        from: Option<IpAddr>,
    ) -> Result<Ended, ControlError> {
        let actor = person(from);
        let mut tx = self.changes.begin_audit().await?;
        let ended = self
            .accounts
            .end_credentials(
                tx.as_change(),
                &actor,
                &session.account,
                with_api_tokens,
                "sign_out_everywhere",
            )
            .await?;
        let said = json!({"session": "all", "sessions": ended.sessions, "api_tokens": ended.api_tokens});
        let event = self.changes.audit_row(
            &actor,
            account_event(AuditAction::SignedOut, session).removed(said),
        );
        tx.append_audit(&event).await?;
        tx.commit().await?;
        Ok(ended)
    }

    /// Removes sessions and what belongs to them once they have ended.
    pub(crate) async fn purge_sessions(&self) {
        loop {
            let passed = self.changes.watch.passed();
            match self.store.purge_sessions(passed, self.seen_after(passed)).await {
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

fn account_event(deed: AuditAction, session: &SessionRecord) -> Event {
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
