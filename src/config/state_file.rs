//! The file of `portcullis export` and `apply`: what a workspace holds.

use std::path::Path;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::check::Check;
use super::file::SecretText;
use super::problem::ConfigError;
use super::yaml::document::document;

const HINT: &str = "`portcullis export` writes such a file; docs/state.md describes it";

/// What a workspace holds, as a file says it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateFile {
    #[serde(default)]
    pub apps: Vec<StateApp>,
    #[serde(default)]
    pub sources: Vec<StateSource>,
    #[serde(default)]
    pub members: Vec<StateMember>,
}

/// An OAuth app with its public keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateApp {
    /// Names an app that exists; one without an id is found by its name.
    pub id: Option<String>,
    pub name: String,
    pub scopes: Vec<String>,
    pub token_lifetime: Option<String>,
    #[serde(default)]
    pub keys: Vec<StateKey>,
}

/// A public key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateKey {
    pub name: String,
    pub algorithm: Option<String>,
    /// RFC 3339, for a key that is added. A key that is there keeps its own.
    pub expires_at: Option<String>,
    pub pem: String,
}

/// A source, its connection and its enforcement.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateSource {
    pub id: Option<String>,
    pub name: String,
    pub kind: String,
    /// The id or the name of its app.
    pub app: Option<String>,
    pub enforcement: Option<String>,
    /// For a source to create, whose clients have a write key already.
    write_key: Option<Spanned<SecretText>>,
    /// The same with `${NAME}` replaced.
    #[serde(skip)]
    pub key: Option<SecretText>,
}

/// A member with their roles.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateMember {
    pub email: String,
    pub roles: Vec<StateRole>,
}

/// A role; `resources` are ids or names of sources, or `all`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateRole {
    pub role: String,
    pub resources: Option<StateResources>,
}

/// What a role is for.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum StateResources {
    Word(String),
    Listed(Vec<String>),
}

/// Reads the text of a state file. `path` is where it stands.
///
/// # Errors
/// [`ConfigError`] with every problem of its structure.
pub fn state_file(path: &Path, text: &str) -> Result<StateFile, ConfigError> {
    let document = document::<StateFile>(path, text, HINT);
    let mut check = Check::after(path, document.problems, document.left_out);
    let mut state = document.value;
    for source in state.iter_mut().flat_map(|state| &mut state.sources) {
        if let Some(raw) = &source.write_key {
            source.key = check
                .replaced(raw.value.expose(), raw.referenced)
                .map(SecretText::new);
        }
    }
    check.finish(state, text).map(|(state, _)| state)
}
