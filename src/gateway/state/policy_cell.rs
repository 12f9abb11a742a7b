//! The policy in force, swapped atomically.
//!
//! Readers take one pointer and keep it for the whole of their decision; a writer never makes them
//! wait. Writers (the feed, the key fetchers, the sweep of expired revocations) take turns behind a lock
//! that requests never touch.

use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};
use parking_lot::Mutex;

use crate::domain::issuer_keys::IssuerKeys;
use crate::domain::policy::{Policy, TrustedIssuer};
use crate::snapshot;

/// Holds the current policy, or none before the first one came.
pub struct PolicyCell {
    current: ArcSwapOption<Policy>,
    /// The outside issuers with the keys last had of each; a new snapshot is compiled with them.
    outside: Mutex<Vec<TrustedIssuer>>,
}

impl PolicyCell {
    /// A cell without a policy, for these outside issuers.
    #[must_use]
    pub fn new(outside: Vec<TrustedIssuer>) -> Self {
        Self {
            current: ArcSwapOption::empty(),
            outside: Mutex::new(outside),
        }
    }

    /// The policy in force now.
    #[must_use]
    pub fn load(&self) -> Guard<Option<Arc<Policy>>> {
        self.current.load()
    }

    /// Replaces the policy by what `next` makes of the one in force and of the outside issuers. Where it
    /// fails, the policy in force stays.
    ///
    /// # Errors
    /// Whatever `next` returns.
    pub fn replace<E>(
        &self,
        next: impl FnOnce(Option<&Policy>, &[TrustedIssuer]) -> Result<Policy, E>,
    ) -> Result<(), E> {
        let outside = self.outside.lock();
        let next = next(self.current.load().as_deref(), &outside)?;
        self.current.store(Some(Arc::new(next)));
        Ok(())
    }

    /// Changes the policy in force, if there is one.
    pub fn change(&self, next: impl FnOnce(&Policy) -> Policy) {
        let _turn = self.outside.lock();
        if let Some(policy) = self.current.load().as_deref() {
            self.current.store(Some(Arc::new(next(policy))));
        }
    }

    /// Gives an outside issuer these keys, in the policy in force and in every one that follows.
    pub fn set_issuer_keys(&self, issuer: &str, keys: &IssuerKeys) {
        let mut outside = self.outside.lock();
        for held in outside.iter_mut().filter(|held| &*held.issuer == issuer) {
            held.keys = Some(keys.clone());
        }
        if let Some(policy) = self.current.load().as_deref() {
            self.current
                .store(Some(Arc::new(snapshot::with_issuer_keys(policy, issuer, keys))));
        }
    }
}
