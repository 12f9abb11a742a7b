//! A persistent map keyed by digests: the index behind every decision.
//!
//! A trie of 32-way nodes over leaves of up to 64 entries. The keys are uniform, so five bits a level
//! balance it by themselves, and inside a leaf, which is sorted, the next bits say where an entry must
//! be. At a million entries a lookup crosses three small nodes and reads one or two lines of one leaf.
//! A change copies one leaf and the nodes above it and shares all the rest; readers of the old map see
//! the old map.
//!
//! Why our own: the ready-made persistent maps either carry a licence that we do not take, or put each
//! entry behind a pointer of its own (benches/decide.rs measures what that costs).

use std::sync::Arc;

use super::digest::ShortDigest;

const BITS: u32 = 5;
const FANOUT: usize = 1 << BITS;

/// Above this many entries a leaf becomes a node. 64 keeps a leaf of a million-entry map at about half
/// of it, far from splitting.
const LEAF_MAX: usize = 64;

/// The deepest level that has five bits of its own in 128.
const DEPTH_MAX: u32 = 128 / BITS - 1;

/// A persistent map. Cloning it costs one counter.
#[derive(Clone, Debug)]
pub struct DigestMap<V> {
    root: Node<V>,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node<V> {
    /// Sorted by key.
    Leaf(Arc<[Entry<V>]>),
    Inner(Arc<[Node<V>; FANOUT]>),
}

#[derive(Clone, Debug)]
struct Entry<V> {
    key: ShortDigest,
    value: V,
}

impl<V: Clone> Default for DigestMap<V> {
    fn default() -> Self {
        Self {
            root: Node::Leaf(Arc::from([])),
            len: 0,
        }
    }
}

impl<V: Clone> DigestMap<V> {
    /// The value under `key`.
    #[must_use]
    pub fn get(&self, key: &ShortDigest) -> Option<&V> {
        let bits = key.bits();
        let mut node = &self.root;
        let mut level = 0;
        loop {
            match node {
                Node::Inner(children) => {
                    node = children.get(slot(bits, level))?;
                    level += 1;
                }
                Node::Leaf(entries) => return find(entries, key, bits, level),
            }
        }
    }

    /// Whether there is a value under `key`.
    #[must_use]
    pub fn contains(&self, key: &ShortDigest) -> bool {
        self.get(key).is_some()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts `value` under `key`; the value that was there before comes back.
    pub fn insert(&mut self, key: ShortDigest, value: V) -> Option<V> {
        let before = insert_at(&mut self.root, Entry { key, value }, 0);
        self.len += usize::from(before.is_none());
        before
    }

    /// Takes out what is under `key`.
    pub fn remove(&mut self, key: &ShortDigest) -> Option<V> {
        let before = remove_at(&mut self.root, key, 0);
        self.len -= usize::from(before.is_some());
        before
    }

    /// A map of these entries; of two under one key the later stays. Made whole, which copies nothing twice.
    pub fn collect(entries: impl IntoIterator<Item = (ShortDigest, V)>) -> Self {
        let mut entries: Vec<_> = entries
            .into_iter()
            .map(|(key, value)| Entry { key, value })
            .collect();
        // Entries under one key stay in their order.
        entries.sort_by_key(|entry| entry.key);
        entries.dedup_by(|later, kept| {
            let same = later.key == kept.key;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        Self {
            len: entries.len(),
            root: whole(entries, 0),
        }
    }
}

/// Which child of a node at `level` a key belongs to: five bits from the top.
const fn slot(bits: u128, level: u32) -> usize {
    (bits >> (128 - BITS * (level + 1))) as usize & (FANOUT - 1)
}

/// Looks for `key` from where it would stand if the keys of the leaf were spread evenly.
fn find<'m, V>(entries: &'m [Entry<V>], key: &ShortDigest, bits: u128, level: u32) -> Option<&'m V> {
    // The 16 bits that follow the path, scaled to the leaf's length.
    let rest = (bits << (BITS * level)) >> 112;
    let guess = (rest as usize * entries.len()) >> 16;
    let (before, after) = entries.split_at_checked(guess)?;
    if after.first().is_some_and(|entry| entry.key <= *key) {
        let entry = after.iter().find(|entry| entry.key >= *key)?;
        return (entry.key == *key).then_some(&entry.value);
    }
    let entry = before.iter().rev().find(|entry| entry.key <= *key)?;
    (entry.key == *key).then_some(&entry.value)
}

fn insert_at<V: Clone>(node: &mut Node<V>, entry: Entry<V>, level: u32) -> Option<V> {
    let entries = match node {
        Node::Inner(children) => {
            let child = Arc::make_mut(children).get_mut(slot(entry.key.bits(), level))?;
            return insert_at(child, entry, level + 1);
        }
        Node::Leaf(entries) => entries,
    };
    match entries.binary_search_by(|held| held.key.cmp(&entry.key)) {
        Ok(at) => {
            let mut copy = entries.to_vec();
            let before = copy
                .get_mut(at)
                .map(|held| std::mem::replace(&mut held.value, entry.value));
            *entries = Arc::from(copy);
            before
        }
        Err(at) => {
            let mut copy = Vec::with_capacity(entries.len() + 1);
            copy.extend(entries.iter().take(at).cloned());
            copy.push(entry);
            copy.extend(entries.iter().skip(at).cloned());
            *node = if copy.len() > LEAF_MAX && level < DEPTH_MAX {
                split(copy, level)
            } else {
                Node::Leaf(Arc::from(copy))
            };
            None
        }
    }
}

/// The node over these entries, which are sorted and have the path to `level` in common.
fn whole<V>(mut entries: Vec<Entry<V>>, level: u32) -> Node<V> {
    if entries.len() <= LEAF_MAX || level >= DEPTH_MAX {
        return Node::Leaf(Arc::from(entries));
    }
    let mut children: [Node<V>; FANOUT] = std::array::from_fn(|_| Node::Leaf(Arc::from(Vec::new())));
    for (at, child) in children.iter_mut().enumerate().rev() {
        let first = entries.partition_point(|entry| slot(entry.key.bits(), level) < at);
        *child = whole(entries.split_off(first), level + 1);
    }
    Node::Inner(Arc::new(children))
}

fn split<V: Clone>(entries: Vec<Entry<V>>, level: u32) -> Node<V> {
    let mut parts: [Vec<Entry<V>>; FANOUT] = std::array::from_fn(|_| Vec::new());
    for entry in entries {
        if let Some(part) = parts.get_mut(slot(entry.key.bits(), level)) {
            part.push(entry);
        }
    }
    Node::Inner(Arc::new(parts.map(|part| Node::Leaf(Arc::from(part)))))
}

fn remove_at<V: Clone>(node: &mut Node<V>, key: &ShortDigest, level: u32) -> Option<V> {
    match node {
        Node::Inner(children) => {
            let child = Arc::make_mut(children).get_mut(slot(key.bits(), level))?;
            remove_at(child, key, level + 1)
        }
        Node::Leaf(entries) => {
            let at = entries.binary_search_by(|held| held.key.cmp(key)).ok()?;
            let mut copy = entries.to_vec();
            let removed = copy.remove(at);
            *entries = Arc::from(copy);
            Some(removed.value)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn key(n: u64) -> ShortDigest {
        ShortDigest::of("test", &[&n.to_le_bytes()])
    }

    #[test]
    fn agrees_with_a_plain_map_through_inserts_and_removals() {
        let mut map = DigestMap::default();
        let mut plain = BTreeMap::new();
        // A walk that revisits keys: every third step removes.
        let mut n = 1_u64;
        for step in 0..60_000_u64 {
            n = n
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let key = key((n >> 40) % 9_000);
            if step % 3 == 0 {
                assert_eq!(map.remove(&key), plain.remove(&key));
            } else {
                assert_eq!(map.insert(key, step), plain.insert(key, step));
            }
            assert_eq!(map.len(), plain.len());
        }
        for n in 0..9_000 {
            assert_eq!(map.get(&key(n)), plain.get(&key(n)), "{n}");
        }
    }

    #[test]
    fn a_change_leaves_the_older_map_as_it_was() {
        let old = DigestMap::collect((0..5_000).map(|n| (key(n), n)));
        let mut new = old.clone();
        for n in 0..5_000 {
            new.insert(key(n), n + 1);
        }
        new.remove(&key(3));
        assert!((0..5_000).all(|n| old.get(&key(n)) == Some(&n)));
        assert_eq!(new.get(&key(3)), None);
        assert_eq!(new.len(), 4_999);
    }

    #[test]
    fn a_map_made_whole_is_the_one_that_inserts_make() {
        // 70 keys fill more than one leaf, the others several levels; each tenth comes twice.
        for keys in [0, 1, 64, 65, 70, 5_000] {
            let entries = || (0..keys).chain((0..keys).step_by(10)).enumerate();
            let entries = || entries().map(|(at, n)| (key(n), at));
            let whole = DigestMap::collect(entries());
            let mut inserted = DigestMap::default();
            for (key, at) in entries() {
                inserted.insert(key, at);
            }
            assert_eq!(whole.len(), inserted.len());
            assert_eq!(format!("{:?}", whole.root), format!("{:?}", inserted.root));
        }
    }

    #[test]
    fn keys_that_share_all_but_their_last_bits_still_fit() {
        let near = |n: u8| {
            ShortDigest::from_bytes({
                let mut bytes = [0xAB; 16];
                bytes[15] = n;
                bytes
            })
        };
        let map = DigestMap::collect((0..=255).map(|n| (near(n), n)));
        assert!((0..=255).all(|n| map.get(&near(n)) == Some(&n)));
        assert_eq!(map.get(&ShortDigest::from_bytes([0xAC; 16])), None);
    }
}
