//! Rejected sign-ins for the audit trail. They are collected in memory, so that a rejection costs no write and takes
//! the same time for every account, and are written at a bounded rate, so that guessing cannot fill the store.

use crate::control::changes::Changes;
use crate::control::rate_limits::Limits;
use crate::store::Store;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::oidc::SignOnError;
use crate::control::actor::Actor;
use crate::control::audit_event::{AuditAction, Event};
use crate::control::limiter::Limiter;
use crate::domain::ids::AccountId;
use crate::domain::time::UnixSeconds;
use crate::store::StoreError;

/// The most accounts held. Rejections of further ones are counted without an account.
const ACCOUNTS_MAX: usize = 1_000;

/// Events written in a burst; after that one each [`EVENT_EVERY`], fewer than 130,000 in the 90 days of a trail.
const EVENTS_AT_ONCE: u32 = 60;
const EVENT_EVERY: Duration = Duration::from_secs(60);

/// Rejections for one account, or without account, since their last event.
#[derive(Clone, Copy)]
struct Refused {
    attempts: u64,
    first_at: UnixSeconds,
    last_from: IpAddr,
}

/// Rejections that are not yet in the trail.
pub struct Refusals {
    held: Mutex<HashMap<Option<AccountId>, Refused>>,
    events: Limiter<()>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            held: Mutex::default(),
            events: Limiter::every(EVENT_EVERY, EVENTS_AT_ONCE),
        }
    }
}

impl Refusals {
    /// Counts a rejected sign-in for this account, or for an unknown one. The text that was entered is not kept:
    /// people type passwords there.
    pub fn note(&self, account: Option<AccountId>, from: IpAddr, now: UnixSeconds) {
        self.put(
            account,
            Refused {
                attempts: 1,
                first_at: now,
                last_from: from,
            },
        );
    }

    fn put(&self, account: Option<AccountId>, refused: Refused) {
        // A map of counts is consistent after a panic elsewhere.
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = held.len() >= ACCOUNTS_MAX && !held.contains_key(&account);
        let account = account.filter(|_| !is_full);
        held.entry(account)
            .and_modify(|before| {
                before.attempts = before.attempts.saturating_add(refused.attempts);
                before.first_at = before.first_at.min(refused.first_at);
                before.last_from = refused.last_from;
            })
            .or_insert(refused);
    }

    fn take(&self) -> Vec<(Option<AccountId>, Refused)> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *held).into_iter().collect()
    }
}

/// Writes rejected sign-ins to the audit trail.
pub struct RefusedSignIns {
    pub(crate) limits: Arc<Limits>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) store: Arc<Store>,
    pub(crate) changes: Arc<Changes>,
}

impl RefusedSignIns {
    /// Counts a sign-on whose identity has no account here.
    pub(crate) fn sign_on_refused(&self, error: &SignOnError, from: IpAddr) {
        match error {
            SignOnError::Refused(_)
            | SignOnError::Unverified
            | SignOnError::NotInvited
            | SignOnError::OtherSubject
            | SignOnError::PasswordFirst
            | SignOnError::JoinedWithPassword => self.refusals.note(None, from, self.changes.now()),
            // Nobody was rejected.
            SignOnError::NotSetUp
            | SignOnError::State
            | SignOnError::Provider(_)
            | SignOnError::Control(_) => {}
        }
    }

    /// Writes as many events as are due; the other rejections stay counted.
    pub async fn flush_refusals(&self) {
        for (account, refused) in self.refusals.take() {
            if self.refusals.events.take(&(), self.limits.elapsed()).is_err() {
                self.refusals.put(account, refused);
            } else if let Err(error) = self.write_refused(account.as_ref(), refused).await {
                self.changes
                    .background_failure(&error, "rejected sign-ins could not be stored");
                self.refusals.put(account, refused);
            }
        }
    }

    async fn write_refused(&self, account: Option<&AccountId>, refused: Refused) -> Result<(), StoreError> {
        let email = match account {
            Some(account) => self.store.read().await?.email_of(account).await?,
            None => None,
        };
        let id = account.map(AccountId::as_str).unwrap_or_default();
        let event = Event::of_server(
            AuditAction::SignInRefused,
            "account",
            &id,
            &email.unwrap_or_default(),
        );
        let actor = Actor {
            from: Some(refused.last_from),
            ..Actor::system("sign-in")
        };
        let said = json!({"attempts": refused.attempts, "first_at": refused.first_at.0});
        let row = self.changes.audit_row(&actor, event.made(said));
        let mut tx = self.changes.begin_audit().await?;
        tx.append_audit(&row).await?;
        tx.commit().await
    }
}
