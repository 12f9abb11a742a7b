//! The keys of a config file: what a reload changes, by key and never by value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

/// Keys that a reload applies. Others keep their values until a restart or an upgrade.
const LIVE: [&str; 7] = [
    "gateway.listeners",
    "gateway.apis",
    "gateway.upstreams",
    "gateway.limits",
    "gateway.trusted_proxies",
    "log.level",
    "shutdown",
];

/// Every key of a file, such as `gateway.limits.body_bytes`, with its value. The values may be secrets: they are
/// compared, never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Keys(BTreeMap<String, String>);

/// The keys that tell two configs apart, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyChanges {
    /// Those that a running process takes over.
    pub live: Vec<String>,
    /// Those that it cannot.
    pub fixed: Vec<String>,
}

impl Keys {
    pub(super) fn of(file: &Value) -> Self {
        let mut keys = Self::default();
        keys.add(String::new(), file);
        keys
    }

    fn add(&mut self, at: String, value: &Value) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (name, value) in members {
                    let dot = if at.is_empty() { "" } else { "." };
                    self.add(format!("{at}{dot}{name}"), value);
                }
            }
            Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
                for (number, item) in items.iter().enumerate() {
                    self.add(format!("{at}[{number}]"), item);
                }
            }
            leaf => {
                self.0.insert(at, leaf.to_string());
            }
        }
    }

    /// Adds to the values of keys that name files what the files hold, by its digest.
    pub(super) fn add_contents(&mut self, contents: &[(String, [u8; 32])]) {
        for (key, digest) in contents {
            if let Some(value) = self.0.get_mut(key) {
                value.push_str(&format!(" {digest:02x?}"));
            }
        }
    }

    /// What is different in `next`.
    #[must_use]
    pub fn changes_to(&self, next: &Self) -> KeyChanges {
        let all: BTreeSet<&String> = self.0.keys().chain(next.0.keys()).collect();
        let changed = all.into_iter().filter(|key| self.0.get(*key) != next.0.get(*key));
        let (live, fixed) = changed.cloned().partition(|key| is_live(key));
        KeyChanges { live, fixed }
    }

    /// These keys with what a running process takes over from `next`.
    #[must_use]
    pub fn with_live_of(&self, next: &Self) -> Self {
        let fixed = self.0.iter().filter(|(key, _)| !is_live(key));
        let live = next.0.iter().filter(|(key, _)| is_live(key));
        Self(
            fixed
                .chain(live)
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        )
    }
}

fn is_live(key: &str) -> bool {
    LIVE.iter().any(|live| {
        let below = key.strip_prefix(live);
        below.is_some_and(|below| below.is_empty() || below.starts_with(['.', '[']))
    })
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Keys {
        Keys::of(&serde_saphyr::from_str(text).unwrap())
    }

    #[test]
    fn changes_are_named_by_their_keys_and_kept_apart() {
        let before = keys(
            "gateway: {workers: 1, listeners: [{address: a}], limits: {headers: 1}}\n\
             control_plane: {store: \"postgres://user:secret@db/x\"}",
        );
        let after = keys(
            "gateway: {workers: 2, listeners: [{address: a}, {address: b}], limits: {headers: 2}}\n\
             control_plane: {store: \"postgres://user:other@db/x\"}\nshutdown: {idle_grace: 1s}",
        );
        let changes = before.changes_to(&after);
        assert_eq!(
            changes.live,
            [
                "gateway.limits.headers",
                "gateway.listeners[1].address",
                "shutdown.idle_grace"
            ]
        );
        assert_eq!(changes.fixed, ["control_plane.store", "gateway.workers"]);
        // Keys that need a restart are named again at the next reload.
        let running = before.with_live_of(&after);
        assert_eq!(
            running.changes_to(&after),
            KeyChanges {
                live: Vec::new(),
                fixed: changes.fixed
            }
        );
        assert!(!format!("{before:?}").contains("secret"));
    }
}
