//! The quickstart's env file: `KEY=value` lines that a shell can source.

use std::fmt::Write as _;
use std::path::Path;

use zeroize::Zeroizing;

use super::addresses::{Addresses, EDGE_URLS};
use super::config::write_secret;
use crate::cli::failure::Failure;

/// A file of `KEY=value` lines that a shell can source.
pub(crate) struct EnvFile {
    values: Vec<(String, Zeroizing<String>)>,
}

impl EnvFile {
    pub(super) fn of(values: Vec<(&str, String)>) -> Self {
        Self {
            values: values
                .into_iter()
                .map(|(name, value)| (name.to_owned(), Zeroizing::new(value)))
                .collect(),
        }
    }

    /// Reads such a file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::input(format_args!("{} cannot be read: {error}", path.display())))?;
        let text = Zeroizing::new(text);
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Ok(Self {
            values: pairs
                .map(|(name, value)| {
                    let bare = value
                        .strip_prefix('\'')
                        .and_then(|value| value.strip_suffix('\''))
                        .unwrap_or(value);
                    (name.to_owned(), Zeroizing::new(bare.to_owned()))
                })
                .collect(),
        })
    }

    pub(super) fn read_if_there(path: &Path) -> Result<Option<Self>, Failure> {
        if path.exists() {
            Self::read(path).map(Some)
        } else {
            Ok(None)
        }
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values
            .iter()
            .find(|(held, _)| held == name)
            .map(|(_, value)| value.as_str())
    }

    /// The same data, reached where the planes listen now.
    pub(super) fn moved_to(mut self, addresses: &Addresses, log: &Path) -> Self {
        self.values.retain(|(held, _)| held != EDGE_URLS);
        for (name, value) in addresses.values(log) {
            self.values.retain(|(held, _)| held != name);
            self.values.push((name.to_owned(), Zeroizing::new(value)));
        }
        self
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), Failure> {
        let mut text = Zeroizing::new(String::new());
        for (name, value) in &self.values {
            let _ = writeln!(text, "{name}={}", quoted(value).as_str());
        }
        write_secret(path, &text)
    }
}

/// A word as a shell reads it. Paths may hold spaces; single quotes are the one quoting without surprises.
pub(super) fn quoted(word: &str) -> Zeroizing<String> {
    let plain = word
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/@+=,".contains(&byte));
    let quote = if plain { "" } else { "'" };
    Zeroizing::new(format!("{quote}{word}{quote}"))
}
