//! Differences in words, by what they mean for requests.

use serde_json::{Value, json};

/// The differences found. Each is one sentence that names the thing that changes.
#[derive(Default)]
pub(super) struct Findings {
    allowed: Vec<String>,
    denied: Vec<String>,
    other: Vec<String>,
}

impl Findings {
    /// Requests that were denied, and are allowed.
    pub(super) fn allow(&mut self, what: impl Into<String>) {
        self.allowed.push(what.into());
    }

    /// Requests that were allowed, and are denied.
    pub(super) fn deny(&mut self, what: impl Into<String>) {
        self.denied.push(what.into());
    }

    /// What changes besides.
    pub(super) fn other(&mut self, what: impl Into<String>) {
        self.other.push(what.into());
    }

    /// Things that are only in the new list are allowed, those only in the old one are denied.
    pub(super) fn lists<T: PartialEq>(&mut self, old: &[T], new: &[T], words: impl Fn(&T) -> String) {
        for added in new.iter().filter(|one| !old.contains(one)) {
            self.allow(words(added));
        }
        for removed in old.iter().filter(|one| !new.contains(one)) {
            self.deny(words(removed));
        }
    }

    /// A bound that lets more pass when it is higher.
    pub(super) fn bound<T: PartialOrd + std::fmt::Debug>(&mut self, what: &str, old: &T, new: &T) {
        if new > old {
            self.allow(format!("{what} beyond {old:?}, up to {new:?}"));
        } else if new < old {
            self.deny(format!("{what} beyond {new:?}; up to {old:?} before"));
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "newly_allowed": self.allowed,
            "newly_denied": self.denied,
            "other": self.other,
        })
    }

    pub(super) fn to_text(&self) -> String {
        let parts = [
            ("Newly allowed", &self.allowed),
            ("Newly denied", &self.denied),
            ("Other changes", &self.other),
        ];
        let parts = parts
            .iter()
            .filter(|(_, found)| !found.is_empty())
            .map(|(title, found)| {
                let lines: String = found.iter().map(|what| format!("  {what}\n")).collect();
                format!("{title}:\n{lines}")
            });
        let parts: Vec<String> = parts.collect();
        match parts.is_empty() {
            true => "No difference.\n".to_owned(),
            false => parts.join("\n"),
        }
    }
}
