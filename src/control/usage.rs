//! When app keys and API tokens were last used, gathered in memory so that a token costs no write for it.

use super::changes::Changes;
use crate::store::Store;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

use crate::domain::ids::KeyId;
use crate::domain::time::UnixSeconds;
use crate::store::issued::IssuedKey;

/// Entries held of each sort between two flushes. More than that many keys in two seconds lose their note,
/// which is a convenience.
const ENTRIES_MAX: usize = 100_000;

/// What was used, and when last.
type Noted<K> = Vec<(K, UnixSeconds)>;

/// The uses not yet in the store.
#[derive(Default)]
pub struct Uses {
    app_keys: Mutex<HashMap<KeyId, UnixSeconds>>,
    api_tokens: Mutex<HashMap<String, UnixSeconds>>,
    issued: Mutex<HashMap<IssuedKey, u64>>,
}

impl Uses {
    pub fn note_app_key(&self, key: &KeyId, at: UnixSeconds) {
        note(&self.app_keys, key.clone(), at);
    }

    pub fn note_api_token(&self, id: &str, at: UnixSeconds) {
        note(&self.api_tokens, id.to_owned(), at);
    }

    /// Counts a token that was issued.
    pub fn record_issued(&self, key: IssuedKey) {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = issued.get_mut(&key) {
            *count += 1;
        } else if issued.len() < ENTRIES_MAX {
            issued.insert(key, 1);
        }
    }

    /// Takes the tokens that were counted.
    pub fn take_issued(&self) -> Vec<(IssuedKey, u64)> {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *issued).into_iter().collect()
    }

    /// Takes what was gathered.
    pub fn take(&self) -> (Noted<KeyId>, Noted<String>) {
        (drain(&self.app_keys), drain(&self.api_tokens))
    }
}

fn note<K: std::hash::Hash + Eq>(uses: &Mutex<HashMap<K, UnixSeconds>>, key: K, at: UnixSeconds) {
    // A map of notes is whole whatever panicked beside it.
    let mut uses = uses.lock().unwrap_or_else(PoisonError::into_inner);
    if uses.len() < ENTRIES_MAX {
        uses.insert(key, at);
    }
}

fn drain<K>(uses: &Mutex<HashMap<K, UnixSeconds>>) -> Noted<K> {
    let mut uses = uses.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::take(&mut *uses).into_iter().collect()
}

/// Writes down when keys and API tokens were last used.
pub struct Usage {
    pub(crate) store: Arc<Store>,
    pub(crate) uses: Arc<Uses>,
    pub(crate) changes: Arc<Changes>,
}

impl Usage {
    /// Writes down when keys and API tokens were last used.
    pub async fn flush_uses(&self) {
        let issued = self.uses.take_issued();
        if !issued.is_empty()
            && let Err(error) = self
                .store
                .record_issued(&issued, self.changes.watch.look(None).ended_before())
                .await
        {
            self.changes
                .background_failure(&error, "how many tokens were issued could not be written down");
        }
        let (app_keys, api_tokens) = self.uses.take();
        if app_keys.is_empty() && api_tokens.is_empty() {
            return;
        }
        if let Err(error) = self.store.record_uses(&app_keys, &api_tokens).await {
            self.changes
                .background_failure(&error, "when keys were last used could not be written down");
        }
    }
}
