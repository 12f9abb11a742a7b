//! Refused sign-ins on their way into the audit trail: gathered in memory, so that a refusal costs no write and takes
//! the same time whoever it was for, and written a bounded number at a time, so that nobody fills the store by guessing.

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

/// Accounts held. Refusals of further ones count as nobody's.
const ACCOUNTS_MAX: usize = 1_000;

/// Events written in a burst, and then one each [`EVENT_EVERY`]: in the 90 days of a trail fewer than 130,000.
const EVENTS_AT_ONCE: u32 = 60;
const EVENT_EVERY: Duration = Duration::from_secs(60);

/// Refusals for one account, or for nobody's, since the last event of them.
#[derive(Clone, Copy)]
struct Refused {
    attempts: u64,
    first_at: UnixSeconds,
    last_from: IpAddr,
}

/// The refusals not yet in the trail.
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
    /// Counts a sign-in that was refused to whoever asked for this account, or for one that is not there. What they
    /// called it is not kept: people type passwords there.
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
        // A map of counts is whole whatever panicked beside it.
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

/// Writes refused sign-ins to the audit trail.
pub struct RefusedSignIns {
    pub(crate) limits: Arc<Limits>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) store: Arc<Store>,
    pub(crate) changes: Arc<Changes>,
}

impl RefusedSignIns {
    /// Counts a sign-on that proved somebody who has no account here, or nobody.
    pub(crate) fn sign_on_refused(&self, error: &SignOnError, from: IpAddr) {
        match error {
            SignOnError::Refused(_)
            | SignOnError::Unverified
            | SignOnError::NotInvited
            | SignOnError::OtherSubject
            | SignOnError::PasswordFirst => self.refusals.note(None, from, self.changes.now()),
            // Nobody got as far as to be refused.
            SignOnError::NotSetUp
            | SignOnError::State
            | SignOnError::Provider(_)
            | SignOnError::Control(_) => {}
        }
    }

    /// Writes down the sign-ins that were refused, as many events as are due; the others are counted on.
    pub async fn flush_refusals(&self) {
        for (account, refused) in self.refusals.take() {
            if self.refusals.events.take(&(), self.limits.elapsed()).is_err() {
                self.refusals.put(account, refused);
            } else if let Err(error) = self.write_refused(account.as_ref(), refused).await {
                self.changes
                    .background_failure(&error, "refused sign-ins could not be written down");
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
