//! Sessions, and sign-in with a password.
//!
//! These rules limit guessing without locking out others:
//!
//! - Every failed sign-in has the same response and takes the same time, whether the account does not exist, has no
//!   password, or has another one.
//! - Attempts are counted per account and address, per address, and per account for all addresses together. The first
//!   two limit one guesser; the third limits guessers with many addresses.
//! - A known browser has a secret of its own and with it a count of its own, so attempts of others do not lock it
//!   out. One address cannot exhaust an account's count.
//! - Hashes are computed in fair queues: one for known browsers and sessions, one for everybody else, each by
//!   network. A flood of attempts delays only its sender.

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
use crate::store::accounts::{Candidates, PasswordMatch};

/// How often a session's last use is stored, in seconds.
const SEEN_EVERY_S: u64 = 60;

/// How long a browser stays known after a sign-in, in seconds.
pub const BROWSER_KEPT_S: u64 = 180 * 86_400;

/// Characters of an email address that are read. No account's address has as many.
const EMAIL_CHARS: usize = 320;

/// Characters of a `User-Agent` that are stored.
const USER_AGENT_CHARS: usize = 200;

const SIGN_IN_REJECTED: &str = "sign-in rejected";
const SIGNED_IN: &str = "signed in";
const SESSIONS_NOT_PURGED: &str = "expired sessions could not be deleted; retrying";

/// The browser of a sign-in.
#[derive(Clone, Debug)]
pub struct Browser {
    pub address: IpAddr,
    pub user_agent: String,
    /// The secret that this server gave the browser at an earlier sign-in.
    pub known_by: Option<Secret>,
}

/// A known browser, by the hash of its secret.
struct KnownBrowser {
    account: AccountId,
    hash: String,
}

/// How a person authenticated.
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

/// A new session.
#[derive(Debug)]
pub struct SignedIn {
    pub secret: Secret,
    pub session: SessionRecord,
    /// The secret of a browser that is known from now on, if it was not before.
    pub browser: Option<Secret>,
}

/// Sessions, and sign-in with a password.
pub struct Sessions {
    pub(crate) hashing: Arc<Hashing>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) session_idle_s: u64,
    pub(crate) session_lifetime_s: u64,
    /// Whether passwords are accepted.
    pub(crate) has_passwords: bool,
    pub(crate) store: Arc<Store>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) changes: Arc<Changes>,
}

impl Sessions {
    /// Whether people may sign in with a password.
    #[must_use]
    pub const fn has_passwords(&self) -> bool {
        self.has_passwords
    }

    /// Refuses what needs a password where passwords are turned off.
    pub(crate) const fn require_passwords(&self) -> Result<(), ControlError> {
        match self.has_passwords {
            true => Ok(()),
            false => Err(ControlError::PasswordsOff),
        }
    }

    /// Signs a person in with their password.
    ///
    /// # Errors
    /// [`ControlError::SignInRefused`] for any wrong input, [`ControlError::TooMany`] after too many attempts,
    /// [`ControlError::PasswordsOff`] where passwords are turned off.
    pub async fn sign_in(
        &self,
        email: &str,
        password: &str,
        browser: &Browser,
    ) -> Result<SignedIn, ControlError> {
        self.sign_in_to(None, email, password, browser).await
    }

    /// Signs a person in with their password. If it matches several accounts of the address, the one with a
    /// membership in `workspace` is used.
    ///
    /// # Errors
    /// See [`Sessions::sign_in`].
    pub async fn sign_in_to(
        &self,
        workspace: Option<&WorkspaceId>,
        email: &str,
        password: &str,
        browser: &Browser,
    ) -> Result<SignedIn, ControlError> {
        self.require_passwords()?;
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

    /// Checks a password of an address. Returns the matching account and hash. `session` is the id of the account's
    /// session that the request came with, if any.
    ///
    /// It computes one hash, whether the address has no account, one, or many.
    pub(crate) async fn prove_password(
        &self,
        email: &str,
        password: &str,
        browser: &Browser,
        session: Option<&str>,
        whose: Candidates<'_>,
    ) -> Result<PasswordMatch, ControlError> {
        let known = self.known(browser, email).await?;
        // A browser known to one account is unknown to the other accounts of its address.
        let known = known.filter(|known| whose.only.is_none_or(|only| *only == known.account));
        let asker = self.asker(email, browser, known.is_some() || session.is_some());
        let (attempts, whose) = self
            .count_attempt(email, browser, known.as_ref(), session, whose)
            .await?;
        let prefixes = self.store.password_prefixes(email, None).await?;
        let password = hashing::normalize(password).unwrap_or_default();
        let turn = match self.hashing.turn(asker).await {
            Ok(turn) => turn,
            Err(error) => {
                attempts.into_iter().for_each(Attempt::not_made);
                return Err(error);
            }
        };
        let hashes = self
            .hashing
            .hash_with_prefixes(turn, password.clone(), prefixes.clone())
            .await?;
        let found = self.store.account_with_password(email, &hashes, whose).await?;
        let Some(found) = found else {
            tracing::info!(address = %browser.address, "{SIGN_IN_REJECTED}");
            let account = self.store.account_for_trail(email).await?;
            self.refusals.note(account, browser.address, self.changes.now());
            return Err(ControlError::SignInRefused);
        };
        for attempt in attempts {
            attempt.succeeded();
        }
        if hashing::has_current_parameters(&found.hash) {
            return Ok(found);
        }
        let turn = self.hashing.turn(self.asker(email, browser, true)).await?;
        let upgraded = self.hashing.hash(turn, password, prefixes).await?;
        self.store
            .upgrade_password_hash(&found.account, &found.hash, &upgraded)
            .await?;
        Ok(PasswordMatch {
            hash: upgraded,
            ..found
        })
    }

    /// The queue in which a password is hashed. `is_known` means that the request proved it, with a known browser or
    /// a session.
    pub(crate) fn asker<'a>(&self, email: &'a str, browser: &Browser, is_known: bool) -> Asker<'a> {
        let from = browser.address;
        if is_known && self.limits.has_known_place(email) {
            Asker::Known { email, from }
        } else {
            Asker::Stranger(from)
        }
    }

    /// Counts a sign-in attempt. From a known browser, its account can be signed in to regardless of others' attempts;
    /// the address's other accounts only as from any browser.
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

    /// The known browser of an account of this address.
    async fn known(&self, browser: &Browser, email: &str) -> Result<Option<KnownBrowser>, ControlError> {
        let Some(secret) = &browser.known_by else {
            return Ok(None);
        };
        let hash = secret.hash();
        let found = self.store.known_browser(&hash, self.changes.now()).await?;
        let of_address = found.filter(|(_, address)| address == email);
        Ok(of_address.map(|(account, _)| KnownBrowser { account, hash }))
    }

    /// Opens a session for an authenticated person. Its secret is new: nothing that the browser held before remains
    /// valid.
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
        tracing::info!(account.id = %account, method = method.as_str(), "{SIGNED_IN}");
        Ok(SignedIn {
            secret,
            session,
            browser,
        })
    }

    /// The session of a secret. Where passwords are turned off, a session that was opened with one is over.
    ///
    /// # Errors
    /// [`ControlError::Unauthenticated`] for an expired or unknown session.
    pub async fn authenticate_session(&self, secret: &Secret) -> Result<SessionRecord, ControlError> {
        let (now, hash) = (self.changes.now(), secret.hash());
        let found = self.store.session(&hash, now, self.seen_after(now)).await?;
        let session = found.ok_or(ControlError::Unauthenticated)?;
        if !self.has_passwords && session.method == Method::Password.as_str() {
            return Err(ControlError::Unauthenticated);
        }
        if now.since(session.last_seen_at) >= SEEN_EVERY_S {
            self.store.touch_session(&hash, now).await?;
        }
        Ok(session)
    }

    /// Sessions not used since this time have expired.
    fn seen_after(&self, now: UnixSeconds) -> UnixSeconds {
        now.minus(self.session_idle_s)
    }

    /// One of the memberships of a signed-in person, for requests that name no workspace.
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

    /// Deletes one of the person's sessions. It is looked up first: an unknown id takes no turn among the changes.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] if the person has no such session.
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
        // An empty id names no session.
        let has_ended = !id.is_empty()
            && self.sessions(session).await?.iter().any(|held| held.id == id)
            && self.store.delete_session(&session.account, id, &event).await?;
        if has_ended {
            Ok(())
        } else {
            Err(ControlError::NotFound("session"))
        }
    }

    /// Deletes all of the person's sessions and known browsers, and with `with_api_tokens` their API tokens in all
    /// workspaces.
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

    /// Deletes expired sessions, known browsers and sign-ons.
    pub(crate) async fn purge_sessions(&self) {
        loop {
            let passed = self.changes.watch.passed();
            match self.store.purge_sessions(passed, self.seen_after(passed)).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    self.changes.background_failure(&error, SESSIONS_NOT_PURGED);
                    return;
                }
            }
        }
    }
}

/// The actor of a sign-in or sign-out, before a workspace is known.
fn person(from: Option<IpAddr>) -> Actor {
    Actor {
        from,
        ..Actor::system("sign-in")
    }
}

fn account_event(action: AuditAction, session: &SessionRecord) -> Event {
    Event::of_server(action, "account", &session.account, &session.email)
}

/// A `User-Agent` for display: short, and on one line.
fn plain(user_agent: &str) -> String {
    user_agent
        .chars()
        .filter(|c| !c.is_control())
        .take(USER_AGENT_CHARS)
        .collect()
}
