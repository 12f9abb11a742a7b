//! When app keys and API tokens were last used, and how many tokens were issued: gathered in memory, so that a token costs
//! no write.

use super::changes::Changes;
use crate::store::Store;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

use crate::domain::ids::KeyId;
use crate::domain::time::UnixSeconds;
use crate::store::issued::{Issued, IssuedKey};

const ISSUED_NOT_STORED: &str = "counts of issued tokens not stored";
const USES_NOT_STORED: &str = "last uses of keys and API tokens not stored";

/// Entries of each kind between two flushes. Beyond it entries are lost, which makes a last use look older.
const ENTRIES_MAX: usize = 100_000;

/// When each was last used.
type LastUses<K> = Vec<(K, UnixSeconds)>;

/// The uses not yet in the store.
#[derive(Default)]
pub struct Uses {
    app_keys: Mutex<HashMap<KeyId, UnixSeconds>>,
    api_tokens: Mutex<HashMap<String, UnixSeconds>>,
    issued: Mutex<HashMap<IssuedKey, Issued>>,
}

impl Uses {
    pub fn note_app_key(&self, key: &KeyId, at: UnixSeconds) {
        note(&self.app_keys, key.clone(), at);
    }

    pub fn note_api_token(&self, id: &str, at: UnixSeconds) {
        note(&self.api_tokens, id.to_owned(), at);
    }

    /// Counts an issued token with this `iat`.
    pub fn record_issued(&self, key: IssuedKey, issued_at: UnixSeconds) {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = issued.get_mut(&key) {
            held.count += 1;
            held.latest = held.latest.max(issued_at);
        } else if issued.len() < ENTRIES_MAX {
            let first = Issued {
                count: 1,
                latest: issued_at,
            };
            issued.insert(key, first);
        }
    }

    /// Takes the counts.
    pub fn take_issued(&self) -> Vec<(IssuedKey, Issued)> {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *issued).into_iter().collect()
    }

    /// Takes the last uses.
    pub fn take(&self) -> (LastUses<KeyId>, LastUses<String>) {
        (drain(&self.app_keys), drain(&self.api_tokens))
    }
}

fn note<K: std::hash::Hash + Eq>(uses: &Mutex<HashMap<K, UnixSeconds>>, key: K, at: UnixSeconds) {
    // A panic elsewhere leaves the map whole.
    let mut uses = uses.lock().unwrap_or_else(PoisonError::into_inner);
    if uses.len() < ENTRIES_MAX {
        uses.insert(key, at);
    }
}

fn drain<K>(uses: &Mutex<HashMap<K, UnixSeconds>>) -> LastUses<K> {
    let mut uses = uses.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::take(&mut *uses).into_iter().collect()
}

/// Writes last uses and counts of issued tokens to the store.
pub struct Usage {
    pub(crate) store: Arc<Store>,
    pub(crate) uses: Arc<Uses>,
    pub(crate) changes: Arc<Changes>,
}

impl Usage {
    /// Writes last uses and counts of issued tokens to the store.
    pub async fn flush_uses(&self) {
        let issued = self.uses.take_issued();
        if !issued.is_empty()
            && let Err(error) = self
                .store
                .record_issued(&issued, self.changes.watch.look(None).ended_before())
                .await
        {
            self.changes.background_failure(&error, ISSUED_NOT_STORED);
        }
        let (app_keys, api_tokens) = self.uses.take();
        if app_keys.is_empty() && api_tokens.is_empty() {
            return;
        }
        if let Err(error) = self.store.record_uses(&app_keys, &api_tokens).await {
            self.changes.background_failure(&error, USES_NOT_STORED);
        }
    }
}
