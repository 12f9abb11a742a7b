//! The revocations that an edge knows, so that it can return them to a control plane whose database lost them.

use std::collections::VecDeque;

use crate::fleet::protocol::DENIALS_MAX;
use crate::snapshot::{Change, RevocationRecord, Snapshot};

/// Revocations that are held; the oldest are dropped.
const HELD_MAX: usize = 10_000;

/// The latest revocations, oldest first.
#[derive(Default)]
pub(super) struct KnownDenials(VecDeque<RevocationRecord>);

impl KnownDenials {
    /// Takes those of a snapshot, in place of what is held.
    pub fn replace(&mut self, snapshot: &Snapshot) {
        self.0.clear();
        let from = snapshot.revocations.len().saturating_sub(HELD_MAX);
        self.0.extend(snapshot.revocations.iter().skip(from).cloned());
    }

    /// Adds those of changes.
    pub fn add(&mut self, changes: &[Change]) {
        for change in changes {
            if let Change::Revoke(record) = change {
                if self.0.len() >= HELD_MAX {
                    self.0.pop_front();
                }
                self.0.push_back(record.clone());
            }
        }
    }

    /// All of them, in parts that fit into a message.
    pub fn parts(&self) -> Vec<Vec<RevocationRecord>> {
        let all: Vec<RevocationRecord> = self.0.iter().cloned().collect();
        all.chunks(DENIALS_MAX)
            .map(<[RevocationRecord]>::to_vec)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latest_revocations_are_held_and_sent_in_parts() {
        let mut known = KnownDenials::default();
        let revoke = |at: usize| {
            Change::Revoke(RevocationRecord {
                issuer: "https://issuer.test".to_owned(),
                token_id: at.to_string(),
                expires_at: 1,
            })
        };
        for at in 0..HELD_MAX + 5 {
            known.add(&[revoke(at)]);
        }
        let parts = known.parts();
        assert!(parts.iter().all(|part| part.len() <= DENIALS_MAX));
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), HELD_MAX);
        assert_eq!(parts[0][0].token_id, "5");
    }
}
