//! A file's text, read into its types with every problem of its structure.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::super::problem::{ConfigError, Problem};
use super::complaint;
use super::excerpt::excerpt;
use super::reader::{LeftOut, recover};
use super::tree::{Place, Tree};

/// The largest config file read, in bytes.
pub(crate) const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// The largest text that is explained value by value, in bytes. Of a larger one the first problem is named.
const EXPLAINED_BYTES_MAX: usize = 8 << 20;

/// A text, as far as its types can read it.
pub(crate) struct Document<T> {
    /// `None` where nothing can be read.
    pub(crate) value: Option<T>,
    pub(crate) problems: Vec<Problem>,
    /// What problems made the reader leave out.
    pub(crate) left_out: Vec<LeftOut>,
}

/// Reads the text of `path`.
pub(crate) fn document<T: DeserializeOwned>(path: &Path, text: &str, hint: &str) -> Document<T> {
    let error = match serde_saphyr::from_str(text) {
        Ok(value) => {
            return Document {
                value: Some(value),
                problems: Vec::new(),
                left_out: Vec::new(),
            };
        }
        Err(error) => error,
    };
    if let Some(tree) = tree(text) {
        let recovered = recover::<T>(&tree);
        if !recovered.found.is_empty() {
            let problems = recovered.found.into_iter();
            let problems = problems.map(|one| Problem::at(path, Some(one.place), one.message, one.hint));
            return Document {
                value: recovered.value,
                problems: problems.collect(),
                left_out: recovered.left_out,
            };
        }
    }
    Document {
        value: None,
        problems: vec![first_problem(path, &error, hint)],
        left_out: Vec::new(),
    }
}

fn tree(text: &str) -> Option<Tree> {
    (text.len() <= EXPLAINED_BYTES_MAX)
        .then(|| Tree::parse(text))
        .flatten()
}

fn first_problem(path: &Path, error: &serde_saphyr::Error, hint: &str) -> Problem {
    let place = error.location().map(|place| (place.line(), place.column()));
    let mut message = complaint::sentence(error);
    // The place stands in front of the sentence already.
    if let Some((line, column)) = place
        && let Some(bare) = message.strip_suffix(&format!(" at line {line}, column {column}"))
    {
        message = bare.to_owned();
    }
    Problem::at(path, place, message, hint.to_owned())
}

/// Where the value of each key of a config stands, such as `gateway.listeners[0].address`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places(BTreeMap<String, Place>);

impl Places {
    pub(crate) fn of(text: &str) -> Self {
        Self(tree(text).map(|tree| tree.places()).unwrap_or_default())
    }

    /// Line and column of a key's value, or of the nearest section above it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Place> {
        let mut key = key;
        loop {
            if let Some(place) = self.0.get(key) {
                return Some(*place);
            }
            key = key.get(..key.rfind(['.', '['])?)?;
        }
    }
}

/// Puts problems of one text into its order, and shows the line of each.
pub fn annotate(problems: &mut Vec<Problem>, text: &str) {
    problems.sort_by_key(|problem| problem.place);
    problems.dedup_by(|one, other| one.place == other.place && one.message == other.message);
    let Some(tree) = problems.first().and_then(|_| tree(text)) else {
        return;
    };
    for problem in problems.iter_mut().filter(|problem| problem.excerpt.is_none()) {
        problem.excerpt = problem
            .place
            .and_then(|place| excerpt(&tree, text, place, &problem.message));
    }
}

/// Reads a file that a person edits.
///
/// # Errors
/// [`ConfigError`] says why it cannot be read.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<String, ConfigError> {
    let problem = |message: String, hint: &str| ConfigError {
        problems: vec![Problem::at(path, None, message, hint.to_owned())],
    };
    match std::fs::metadata(path) {
        Ok(held) if held.len() > bytes_max => {
            return Err(problem(
                format!("the file is larger than {bytes_max} bytes"),
                "check that this is the right file",
            ));
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(problem(
                "file not found".to_owned(),
                "check the path; `portcullis quickstart` writes an example to start from",
            ));
        }
        Err(error) => {
            return Err(problem(
                format!("the file cannot be read: {error}"),
                "check its permissions",
            ));
        }
    }
    std::fs::read_to_string(path).map_err(|error| {
        problem(
            format!("the file cannot be read: {error}"),
            "it must be UTF-8 text that this user may read",
        )
    })
}
