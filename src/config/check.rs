//! Reading of a config file with every problem collected.

use super::file;
use super::file::File;
use super::keys::Keys;
use super::types::Shutdown;

use super::authorities::Authorities;
use super::problem::ConfigError;
use super::problem::Problem;
use super::shown::shown;
use super::types::Config;
use super::types::Observability;
use super::yaml_error;
use crate::domain::decimal::digits;
use crate::domain::digest::sha256;
use crate::domain::policy::Freshness;
use crate::domain::policy::WhenStale;
use crate::pem_file;
use serde_saphyr::Location;
use serde_saphyr::Spanned;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

/// The largest config file read, in bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads a file that a person edits, with a sentence for each way that can fail.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<String, ConfigError> {
    let problem = |message: String, hint: &str| ConfigError {
        problems: vec![Problem {
            file: path.to_owned(),
            place: None,
            message,
            hint: Some(hint.to_owned()),
        }],
    };
    match std::fs::metadata(path) {
        Ok(held) if held.len() > bytes_max => {
            return Err(problem(
                format!("is larger than {bytes_max} bytes"),
                "is this the right file?",
            ));
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(problem(
                "there is no such file".to_owned(),
                "config/portcullis.yaml is an annotated example to start from",
            ));
        }
        Err(error) => {
            return Err(problem(
                format!("cannot be read: {error}"),
                "check its permissions",
            ));
        }
    }
    std::fs::read_to_string(path).map_err(|error| {
        problem(
            format!("cannot be read: {error}"),
            "it must be a UTF-8 text that this user may read",
        )
    })
}

/// Parses YAML; the reader's complaint becomes a problem with its place.
pub(crate) fn parse<'t, T: serde::Deserialize<'t>>(
    path: &Path,
    text: &'t str,
    hint: &str,
) -> Result<T, ConfigError> {
    serde_saphyr::from_str(text).map_err(|error| {
        let place = error.location().map(|place| (place.line(), place.column()));
        let mut message = yaml_error::sentence(&error);
        // The place stands in front of the sentence already.
        if let Some((line, column)) = place
            && let Some(bare) = message.strip_suffix(&format!(" at line {line}, column {column}"))
        {
            message = bare.to_owned();
        }
        ConfigError {
            problems: vec![Problem {
                file: path.to_owned(),
                place,
                message,
                hint: Some(hint.to_owned()),
            }],
        }
    })
}

/// Collects problems while a file is turned into a config.
pub(crate) struct Check<'p> {
    pub(crate) path: &'p Path,
    problems: Vec<Problem>,
    /// Keys whose value names a file, and the digest of what the file holds.
    pub(super) contents: Vec<(String, [u8; 32])>,
}

impl<'p> Check<'p> {
    pub(crate) fn new(path: &'p Path) -> Self {
        Self {
            path,
            problems: Vec::new(),
            contents: Vec::new(),
        }
    }

    /// Notes what a file holds that the value of `key` names, so that a change of the file is one of the key.
    pub(crate) fn note_content(&mut self, key: &str, content: &[u8]) {
        self.contents.push((key.to_owned(), sha256(content)));
    }

    pub(crate) fn problem(&mut self, at: Location, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Problem {
            file: self.path.to_owned(),
            place: Some((at.line(), at.column())),
            message: message.into(),
            hint: Some(hint.into()),
        });
    }

    /// The value, unless a problem was found on the way.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, ConfigError> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(ConfigError {
                problems: self.problems,
            }),
        }
    }

    /// Replaces each `${NAME}` by the environment's value.
    pub(crate) fn text(&mut self, raw: &Spanned<String>) -> Option<String> {
        let mut out = String::with_capacity(raw.value.len());
        let mut rest = raw.value.as_str();
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, after)) = after.split_once('}') else {
                self.problem(raw.referenced, "has `${` without `}`", "write ${NAME}");
                return None;
            };
            #[expect(
                clippy::disallowed_methods,
                reason = "the config is the one reader of the environment"
            )]
            let Ok(value) = std::env::var(name) else {
                // Anything else between the braces may be a part of a password.
                let is_name = name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                let named = if is_name {
                    format!(" `{name}`")
                } else {
                    " of that name".to_owned()
                };
                self.problem(
                    raw.referenced,
                    format!("the environment has no variable{named}"),
                    "set it for this process, or write the value here",
                );
                return None;
            };
            out.push_str(before);
            out.push_str(&value);
            rest = after;
        }
        out.push_str(rest);
        Some(out)
    }

    /// A path, relative to the config's folder.
    pub(crate) fn file_path(&mut self, raw: &Spanned<String>) -> Option<PathBuf> {
        let text = self.text(raw)?;
        let folder = self.path.parent().unwrap_or_else(|| Path::new("."));
        Some(folder.join(text))
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(
        &mut self,
        raw: Option<&Spanned<String>>,
        words: &[(&str, T)],
        default: T,
    ) -> T {
        let Some(raw) = raw else { return default };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == raw.value) {
            return *value;
        }
        let known: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        self.problem(
            raw.referenced,
            format!("`{}` is not a choice here", shown(raw)),
            format!("write {}", known.join(" or ")),
        );
        default
    }

    pub(crate) fn config(&mut self, file: File, keys: Keys) -> Option<Config> {
        let upgrade_socket = match &file.upgrade.socket {
            Some(path) => self.file_path(path),
            None => None,
        };
        if file.version.value != 1 {
            self.problem(
                file.version.referenced,
                "this build reads version 1",
                "write `version: 1`",
            );
        }
        let bundled = file.control_plane.is_some();
        let policy = self.policy_origin(&file);
        let max_age = self.max_age(file.policy.max_age.as_ref());
        let freshness = Freshness {
            max_age_s: max_age.as_secs(),
            when_stale: self.word(
                file.policy.when_stale.as_ref(),
                &[("deny", WhenStale::Deny), ("allow", WhenStale::Allow)],
                WhenStale::Deny,
            ),
        };
        let issuers = self.issuers(&file.issuers);
        if file.gateway.is_none() && !bundled {
            self.problem(
                file.version.referenced,
                "neither a gateway nor a control plane is configured",
                "add a `gateway:` section, a `control_plane:` section, or both",
            );
        }
        let gateway = match file.gateway {
            Some(gateway) => Some(self.gateway(gateway)?),
            None => None,
        };
        let control_plane = match file.control_plane {
            Some(control) => Some(self.control_plane(&control, max_age)?),
            None => None,
        };
        let listen = match &file.observability.listen {
            Some(listen) => Some(self.address(listen)?),
            None => None,
        };
        Some(Config {
            path: self.path.to_owned(),
            gateway,
            policy: policy?,
            freshness,
            issuers,
            control_plane,
            observability: Observability {
                listen,
                access_log: file.observability.access_log.enabled.unwrap_or(true),
            },
            shutdown: shutdown(&file.shutdown),
            upgrade_socket,
            keys,
        })
    }

    /// The file of the authorities that `key` names, as it is now.
    pub(super) fn authorities(&mut self, key: &str, raw: &Spanned<String>) -> Option<Authorities> {
        let file = self.file_path(raw)?;
        let problem = match std::fs::read(&file) {
            Ok(pem) => match pem_file::authorities(&pem) {
                Ok(_) => {
                    self.note_content(key, &pem);
                    let digest = sha256(&pem);
                    return Some(Authorities { file, digest });
                }
                Err(problem) => format!(
                    "{} is not a PEM file with certificates: {problem}",
                    file.display()
                ),
            },
            Err(error) => format!("{} cannot be read: {error}", file.display()),
        };
        self.problem(
            raw.referenced,
            problem,
            "check the path, its permissions and the file",
        );
        None
    }

    pub(crate) fn address(&mut self, raw: &Spanned<String>) -> Option<String> {
        let text = self.text(raw)?;
        let port = text
            .rsplit_once(':')
            .map(|(host, port)| (!host.is_empty(), digits::<u16>(port).is_some()));
        if port == Some((true, true)) {
            return Some(text);
        }
        self.problem(
            raw.referenced,
            format!("`{}` is not an address", shown(raw)),
            "write host:port, such as 127.0.0.1:8080",
        );
        None
    }
}

pub(crate) fn shutdown(file: &file::ShutdownFile) -> Shutdown {
    let or =
        |value: Option<file::Duration>, seconds| value.map_or(Duration::from_secs(seconds), |held| held.0);
    Shutdown {
        drain_timeout: or(file.drain_timeout, 30),
        idle_grace: or(file.idle_grace, 5),
    }
}
