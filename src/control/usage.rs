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

    /// Puts counts back that could not be stored.
    fn restore_issued(&self, counts: Vec<(IssuedKey, Issued)>) {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, counted) in counts {
            if let Some(held) = issued.get_mut(&key) {
                held.count += counted.count;
                held.latest = held.latest.max(counted.latest);
            } else if issued.len() < ENTRIES_MAX {
                issued.insert(key, counted);
            }
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
            self.uses.restore_issued(issued);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::AppId;

    #[test]
    fn counts_that_were_not_stored_are_kept_and_merged() {
        let uses = Uses::default();
        let key = |text| KeyId::parse(text).unwrap();
        let counted = |hour: u64| {
            let (app, at) = (AppId::parse("app_1").unwrap(), UnixSeconds(hour * 3_600));
            IssuedKey::new(&app, &key("key_1"), &key("sig_1"), at, at)
        };
        uses.record_issued(counted(1), UnixSeconds(3_700));
        uses.record_issued(counted(2), UnixSeconds(7_200));
        let taken = uses.take_issued();
        assert!(uses.take_issued().is_empty());
        uses.record_issued(counted(1), UnixSeconds(3_650));
        uses.restore_issued(taken);
        let counts: HashMap<IssuedKey, Issued> = uses.take_issued().into_iter().collect();
        let of = |hour: u64| counts[&counted(hour)];
        assert_eq!((of(1).count, of(1).latest), (2, UnixSeconds(3_700)));
        assert_eq!((of(2).count, of(2).latest), (1, UnixSeconds(7_200)));
    }
}
