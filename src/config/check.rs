//! Turns a file into a config, and collects every problem on the way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_saphyr::{Location, Spanned};

use super::authorities::Authorities;
use super::file;
use super::file::File;
use super::keys::Keys;
use super::problem::{ConfigError, Problem, Severity};
use super::shown::shown;
use super::types::{Config, Observability, Shutdown};
use super::yaml::document::{Places, annotate};
use super::yaml::nearest::nearest;
use super::yaml::reader::LeftOut;
use crate::domain::digest::sha256;
use crate::domain::policy::{Freshness, WhenStale};
use crate::pem_file;

/// The admin socket where the config names none and has an upgrade socket.
const ADMIN_SOCKET: &str = "portcullis-admin.sock";

/// Collects problems while a file is turned into a config.
pub(crate) struct Check<'p> {
    pub(crate) path: &'p Path,
    problems: Vec<Problem>,
    /// What the reader left out, since it has a problem already.
    left_out: Vec<LeftOut>,
    /// Keys whose value names a file, and the digest of what the file holds.
    pub(super) contents: Vec<(String, [u8; 32])>,
    /// Addresses to listen on, for finding one that is configured twice.
    pub(super) listens: Vec<(String, Location)>,
    /// Files that hold a secret, for a warning where others may read them.
    pub(super) secret_files: Vec<(PathBuf, Location)>,
}

impl<'p> Check<'p> {
    /// A check of what could be read of a file that has these problems.
    pub(super) fn after(path: &'p Path, problems: Vec<Problem>, left_out: Vec<LeftOut>) -> Self {
        Self {
            path,
            problems,
            left_out,
            contents: Vec::new(),
            listens: Vec::new(),
            secret_files: Vec::new(),
        }
    }

    /// Notes what a file holds that the value of `key` names, so that a change of the file is one of the key.
    pub(crate) fn note_content(&mut self, key: &str, content: &[u8]) {
        self.contents.push((key.to_owned(), sha256(content)));
    }

    pub(crate) fn problem(&mut self, at: Location, message: impl Into<String>, hint: impl Into<String>) {
        let place = Some((at.line(), at.column()));
        self.problems
            .push(Problem::at(self.path, place, message.into(), hint.into()));
    }

    pub(super) fn warning(
        &mut self,
        code: u16,
        at: Option<(u64, u64)>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.problems.push(Problem {
            severity: Severity::Warning(code),
            ..Problem::at(self.path, at, message.into(), hint.into())
        });
    }

    /// Whether no error was found so far.
    pub(super) fn is_good(&self) -> bool {
        self.problems.iter().all(|one| one.severity != Severity::Error)
    }

    /// Whether the reader left out a part of this section: what seems to be missing there may only be unreadable.
    pub(super) fn is_incomplete(&self, section: &str) -> bool {
        self.left_out.iter().any(|one| {
            let below = one.path.strip_prefix(section);
            below.is_some_and(|below| below.is_empty() || below.starts_with(['.', '[']))
        })
    }

    /// A problem, where a list is empty as it stands in the file.
    pub(super) fn if_empty<T>(&mut self, list: &Spanned<Vec<T>>, message: &str, hint: &str) {
        let place = (list.referenced.line(), list.referenced.column());
        if list.value.is_empty() && !self.left_out.iter().any(|one| one.parent == place) {
            self.problem(list.referenced, message, hint);
        }
    }

    /// The value and the warnings, unless an error was found on the way.
    pub(crate) fn finish<T>(
        mut self,
        value: Option<T>,
        text: &str,
    ) -> Result<(T, Vec<Problem>), ConfigError> {
        annotate(&mut self.problems, text);
        match value {
            Some(value) if self.is_good() => Ok((value, self.problems)),
            _ => Err(ConfigError {
                problems: self.problems,
            }),
        }
    }

    /// Replaces each `${NAME}` by the environment's value.
    pub(crate) fn text(&mut self, raw: &Spanned<String>) -> Option<String> {
        self.replaced(&raw.value, raw.referenced)
    }

    /// The same for a text that must not be printed.
    pub(super) fn replaced(&mut self, text: &str, at: Location) -> Option<String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, after)) = after.split_once('}') else {
                self.problem(at, "the value has `${` without `}`", "write ${NAME}");
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
                    at,
                    format!("the environment has no variable{named}"),
                    "set the variable for this process, or write the value here",
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
        let Some(text) = self.text(raw) else {
            return default;
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return *value;
        }
        self.not_a_choice(raw, words.iter().map(|(word, _)| *word));
        default
    }

    /// A problem: the value is none of these words.
    pub(super) fn not_a_choice<'w>(
        &mut self,
        raw: &Spanned<String>,
        words: impl Iterator<Item = &'w str> + Clone,
    ) {
        let hint = match nearest(&raw.value, words.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                let known: Vec<String> = words.map(|word| format!("`{word}`")).collect();
                format!("write {}", known.join(" or "))
            }
        };
        self.problem(
            raw.referenced,
            format!("`{}` is not a choice here", shown(raw)),
            hint,
        );
    }

    /// A duration or size within its range.
    pub(super) fn in_range<R: Copy, T: Copy + PartialOrd>(
        &mut self,
        raw: Option<&Spanned<R>>,
        default: T,
        value: impl Fn(R) -> T,
        (least, most): (T, T),
        words: &str,
    ) -> T {
        let Some(raw) = raw else { return default };
        let value = value(raw.value);
        if value < least || value > most {
            self.problem(
                raw.referenced,
                "the value is out of range",
                format!("write {words}"),
            );
        }
        value
    }

    /// A time-out: 10 ms to a day.
    pub(super) fn timeout(&mut self, raw: Option<&Spanned<file::Duration>>, default: Duration) -> Duration {
        let range = (Duration::from_millis(10), Duration::from_secs(86_400));
        self.in_range(raw, default, |held| held.0, range, "10ms to 24h")
    }

    pub(crate) fn config(&mut self, file: &File, keys: Keys) -> Option<Config> {
        let upgrade_socket = match &file.upgrade.socket {
            Some(path) => self.file_path(path),
            None => None,
        };
        let admin_socket = match (&file.admin.socket, &upgrade_socket) {
            (Some(path), _) => self.file_path(path),
            (None, Some(_)) => {
                let folder = self.path.parent().unwrap_or_else(|| Path::new("."));
                Some(folder.join(ADMIN_SOCKET))
            }
            (None, None) => None,
        };
        if file.version.value != 1 {
            self.problem(
                file.version.referenced,
                "this build reads version 1",
                "write `version: 1`",
            );
        }
        let policy = self.policy_origin(file);
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
        let has_plane = file.gateway.is_some() || file.control_plane.is_some();
        if !has_plane && !self.is_incomplete("gateway") && !self.is_incomplete("control_plane") {
            self.problem(
                file.version.referenced,
                "neither a gateway nor a control plane is configured",
                "add a `gateway:` section, a `control_plane:` section, or both",
            );
        }
        // Each section is checked before one that cannot be used ends this.
        let gateway = file.gateway.as_ref().map(|gateway| self.gateway(gateway));
        let control_plane = file
            .control_plane
            .as_ref()
            .map(|control| self.control_plane(control, file.policy.max_age.as_ref().map(|_| max_age)));
        let observability = self.observability(&file.observability);
        let (log, shutdown) = (self.log(&file.log), self.shutdown(&file.shutdown));
        self.repeated_listeners();
        Some(Config {
            path: self.path.to_owned(),
            gateway: all(gateway)?,
            policy: policy?,
            freshness,
            issuers,
            control_plane: all(control_plane)?,
            observability: observability?,
            log,
            shutdown,
            upgrade_socket,
            admin_socket,
            keys,
            places: Places::default(),
            warnings: Vec::new(),
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

    fn observability(&mut self, file: &file::ObservabilityFile) -> Option<Observability> {
        let listen = file.listen.as_ref().map(|listen| self.listen_address(listen));
        let tls = file.tls.as_ref().map(|tls| self.listener_tls(tls));
        let access_log = self.access_log(&file.access_log);
        if let (Some(tls), None) = (&file.tls, &file.listen)
            && !self.is_incomplete("observability.listen")
        {
            self.problem(
                tls.certificates.referenced,
                "`observability.tls` needs `observability.listen`; without it metrics and health are not served",
                "add `listen: \"127.0.0.1:9090\"`, or remove `tls`",
            );
        }
        Some(Observability {
            listen: all(listen)?,
            tls,
            access_log,
        })
    }

    fn shutdown(&mut self, file: &file::ShutdownFile) -> Shutdown {
        let range = (Duration::ZERO, Duration::from_secs(3_600));
        let mut time = |raw: &Option<Spanned<file::Duration>>, seconds| {
            let default = Duration::from_secs(seconds);
            self.in_range(raw.as_ref(), default, |held| held.0, range, "0s to 1h")
        };
        Shutdown {
            delay: time(&file.delay, 0),
            drain_timeout: time(&file.drain_timeout, 30),
            idle_grace: time(&file.idle_grace, 5),
        }
    }
}

/// A section that may be absent: `None` where it is there and cannot be used.
pub(super) fn all<T>(section: Option<Option<T>>) -> Option<Option<T>> {
    match section {
        Some(held) => held.map(Some),
        None => Some(None),
    }
}
