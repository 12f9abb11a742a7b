//! The keys of one issuer, found by key id when a signature is verified and by thumbprint on every decision.

use std::sync::Arc;

use super::ids::KeyId;
use super::key::{Algorithm, Thumbprint, VerifyingKey};

/// An issuer's keys. Cloning shares them.
#[derive(Clone, Debug)]
pub struct IssuerKeys(Arc<Index>);

#[derive(Debug)]
struct Index {
    /// Sorted by the digest of the key id.
    keys: Box<[VerifyingKey]>,
    /// Of all keys, sorted: a decision searches here, so a thousand keys cost ten comparisons.
    thumbprints: Box<[Thumbprint]>,
}

impl IssuerKeys {
    /// The keys with this id that verify with this algorithm: nearly always one or none.
    pub fn candidates(&self, id: &KeyId, algorithm: Algorithm) -> impl Iterator<Item = &VerifyingKey> {
        self.with_id(id)
            .iter()
            .filter(move |key| key.algorithm() == algorithm)
    }

    /// Whether a key has this id, with any algorithm.
    #[must_use]
    pub fn has(&self, id: &KeyId) -> bool {
        !self.with_id(id).is_empty()
    }

    fn with_id(&self, id: &KeyId) -> &[VerifyingKey] {
        let wanted = id.digest().to_bytes();
        let keys = &self.0.keys;
        let start = keys.partition_point(|key| key.id().digest().to_bytes() < wanted);
        let rest = keys.get(start..).unwrap_or_default();
        let count = rest.iter().take_while(|key| key.id() == id).count();
        rest.get(..count).unwrap_or_default()
    }

    /// Whether the key with this thumbprint is one of them.
    #[must_use]
    pub fn trusts(&self, thumbprint: Thumbprint) -> bool {
        self.0.thumbprints.binary_search(&thumbprint).is_ok()
    }

    /// Every key; one that verifies with two algorithms comes twice.
    pub fn iter(&self) -> impl Iterator<Item = &VerifyingKey> {
        self.0.keys.iter()
    }

    /// How many there are; a key that verifies with two algorithms counts twice.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.keys.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.keys.is_empty()
    }
}

impl From<Vec<VerifyingKey>> for IssuerKeys {
    fn from(mut keys: Vec<VerifyingKey>) -> Self {
        // Stable: keys with one id are tried in the issuer's order.
        keys.sort_by_key(|key| key.id().digest().to_bytes());
        let mut thumbprints: Vec<Thumbprint> = keys.iter().map(VerifyingKey::thumbprint).collect();
        thumbprints.sort_unstable();
        thumbprints.dedup();
        Self(Arc::new(Index {
            keys: keys.into(),
            thumbprints: thumbprints.into(),
        }))
    }
}
