//! From the raw file to a [`Config`]: defaults, references, and every check that a type cannot make.
//!
//! The gateway's section has a file of its own, [`super::gateway`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_saphyr::{Location, Spanned};

use super::file;
use super::file::File;
use super::keys::Keys;
use super::{
    Config, ConfigError, JwksUri, KeyOrigin, Observability, OutsideIssuer, PolicyOrigin, Problem, Shutdown,
};
use crate::domain::decimal::digits;
use crate::domain::key::Algorithm;
use crate::domain::policy::{AcceptedTypes, Freshness, WhenStale};

/// The largest config file read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads and checks a config file.
///
/// # Errors
/// [`ConfigError`] with every problem found, each with its place and a hint.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    load_text(path, &read(path, FILE_BYTES_MAX)?)
}

/// Checks the text of a config file. `path` is where it stands: places and relative paths go by it.
///
/// # Errors
/// As [`load`].
pub fn load_text(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let hint = "config/portcullis.yaml has every key in its form and place";
    let file: File = parse(path, text, hint)?;
    let mut check = Check::new(path);
    let keys = Keys::of(&parse(path, text, hint)?);
    let config = check.config(file, keys);
    check.finish(config)
}

/// Reads a file that a person edits, with a sentence for each way that can fail.
pub(super) fn read(path: &Path, bytes_max: u64) -> Result<String, ConfigError> {
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
pub(super) fn parse<'t, T: serde::Deserialize<'t>>(
    path: &Path,
    text: &'t str,
    hint: &str,
) -> Result<T, ConfigError> {
    serde_saphyr::from_str(text).map_err(|error| {
        let place = error.location().map(|place| (place.line(), place.column()));
        let mut message = error.without_snippet().to_string();
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
pub(super) struct Check<'p> {
    pub(super) path: &'p Path,
    problems: Vec<Problem>,
}

impl<'p> Check<'p> {
    pub(super) fn new(path: &'p Path) -> Self {
        Self {
            path,
            problems: Vec::new(),
        }
    }

    pub(super) fn problem(&mut self, at: Location, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Problem {
            file: self.path.to_owned(),
            place: Some((at.line(), at.column())),
            message: message.into(),
            hint: Some(hint.into()),
        });
    }

    /// The value, unless a problem was found on the way.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, ConfigError> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(ConfigError {
                problems: self.problems,
            }),
        }
    }

    /// Replaces each `${NAME}` by the environment's value.
    pub(super) fn text(&mut self, raw: &Spanned<String>) -> Option<String> {
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
                self.problem(
                    raw.referenced,
                    format!("the environment has no variable `{name}`"),
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
    pub(super) fn file_path(&mut self, raw: &Spanned<String>) -> Option<PathBuf> {
        let text = self.text(raw)?;
        let folder = self.path.parent().unwrap_or_else(|| Path::new("."));
        Some(folder.join(text))
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
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
            format!("`{}` is not a choice here", raw.value),
            format!("write {}", known.join(" or ")),
        );
        default
    }

    fn config(&mut self, file: File, keys: Keys) -> Option<Config> {
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
        let freshness = Freshness {
            max_age_s: file.policy.max_age.map_or(86_400, |age| age.0.as_secs()),
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
            Some(control) => Some(self.control_plane(&control)?),
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

    fn issuers(&mut self, files: &[file::IssuerFile]) -> Vec<OutsideIssuer> {
        for (at, issuer) in files.iter().enumerate() {
            let mut earlier = files.iter().take(at);
            if earlier.any(|earlier| earlier.issuer.value == issuer.issuer.value) {
                self.problem(
                    issuer.issuer.referenced,
                    "this issuer is configured twice",
                    "keep one of the two",
                );
            }
        }
        files.iter().filter_map(|issuer| self.issuer(issuer)).collect()
    }

    fn policy_origin(&mut self, file: &File) -> Option<PolicyOrigin> {
        let bundled = file.control_plane.is_some();
        let Some(source) = &file.policy.source else {
            if let (Some(gateway), false) = (&file.gateway, bundled) {
                self.problem(
                    gateway.listeners.referenced,
                    "no policy would reach the gateway: there is neither a control plane nor a policy file",
                    "add a `control_plane:` section, or `policy: {source: file, file: policy.yaml}`",
                );
            }
            return Some(PolicyOrigin::Bundled);
        };
        match (source.value.as_str(), &file.policy.file) {
            ("bundled", None) if bundled => Some(PolicyOrigin::Bundled),
            ("bundled", None) => {
                self.problem(
                    source.referenced,
                    "the policy should come from the bundled control plane, and none is configured",
                    "add a `control_plane:` section, or write `source: file`",
                );
                None
            }
            ("file", Some(path)) => self.file_path(path).map(PolicyOrigin::File),
            ("file", None) => {
                self.problem(
                    source.referenced,
                    "`source: file` needs a file",
                    "add `file: policy.yaml`",
                );
                None
            }
            ("bundled", Some(path)) => {
                self.problem(
                    path.referenced,
                    "`file` belongs to `source: file`",
                    "remove it, or change the source",
                );
                None
            }
            ("remote", _) => {
                self.problem(
                    source.referenced,
                    "`remote` is not available in this build",
                    "use `bundled` or `file`",
                );
                None
            }
            (other, _) => {
                self.problem(
                    source.referenced,
                    format!("`{other}` is not a choice here"),
                    "write `bundled` or `file`",
                );
                None
            }
        }
    }

    fn issuer(&mut self, file: &file::IssuerFile) -> Option<OutsideIssuer> {
        let algorithms = match &file.algorithms {
            None => vec![Algorithm::Rs256],
            Some(list) => {
                let mut algorithms = Vec::new();
                for name in &list.value {
                    match Algorithm::parse(&name.value) {
                        Some(algorithm) => algorithms.push(algorithm),
                        None => self.problem(
                            name.referenced,
                            format!("`{}` is not a signature algorithm that is accepted", name.value),
                            "use RS256, PS256, ES256 or EdDSA",
                        ),
                    }
                }
                algorithms
            }
        };
        if file.audience.value.is_empty() {
            self.problem(
                file.audience.referenced,
                "no audience is named",
                "name what `aud` must be in its tokens",
            );
        }
        let keys = self.key_origin(file)?;
        Some(OutsideIssuer {
            issuer: self.text(&file.issuer)?,
            keys,
            algorithms,
            audiences: file.audience.value.clone(),
            types: match &file.typ {
                None => AcceptedTypes::Listed(vec!["at+jwt".to_owned()]),
                Some(types) if types.iter().any(|typ| typ == "*") => AcceptedTypes::Any,
                Some(types) => AcceptedTypes::Listed(types.clone()),
            },
            leeway_s: file.leeway.map_or(5, |leeway| leeway.0.as_secs()),
            lifetime_max_s: file.lifetime_max.map(|max| max.0.as_secs()),
        })
    }

    fn key_origin(&mut self, file: &file::IssuerFile) -> Option<KeyOrigin> {
        let (raw, path) = match (&file.jwks_uri, &file.jwks_file) {
            (Some(uri), None) => (uri, None),
            (None, Some(path)) => (path, self.file_path(path)),
            _ => {
                self.problem(
                    file.issuer.referenced,
                    "the issuer needs its keys from one place",
                    "write `jwks_uri: https://...` or `jwks_file: keys.json`",
                );
                return None;
            }
        };
        if let Some(path) = path {
            return Some(KeyOrigin::File(path));
        }
        let text = self.text(raw)?;
        let uri = text.parse::<http::Uri>().ok().filter(|uri| uri.host().is_some());
        let Some(uri) = uri else {
            self.problem(
                raw.referenced,
                "is not an absolute URL",
                "write https://host/path",
            );
            return None;
        };
        let local = uri
            .host()
            .is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
        if !(uri.scheme_str() == Some("https") || uri.scheme_str() == Some("http") && local) {
            self.problem(
                raw.referenced,
                "keys are fetched over https",
                "only loopback may be plain http",
            );
            return None;
        }
        let or = |value: &Option<Spanned<file::Duration>>, default| {
            value.as_ref().map_or(default, |held| held.value.0)
        };
        Some(KeyOrigin::Uri(JwksUri {
            uri,
            refresh: or(&file.refresh, Duration::from_secs(300)).max(Duration::from_secs(1)),
            fetch_timeout: or(&file.fetch_timeout, Duration::from_secs(5)),
            cooldown: or(&file.cooldown, Duration::from_secs(30)),
            wait: or(&file.wait, Duration::from_secs(2)),
        }))
    }

    pub(super) fn address(&mut self, raw: &Spanned<String>) -> Option<String> {
        let text = self.text(raw)?;
        let port = text
            .rsplit_once(':')
            .map(|(host, port)| (!host.is_empty(), digits::<u16>(port).is_some()));
        if port == Some((true, true)) {
            return Some(text);
        }
        self.problem(
            raw.referenced,
            format!("`{text}` is not an address"),
            "write host:port, such as 127.0.0.1:8080",
        );
        None
    }
}

fn shutdown(file: &file::ShutdownFile) -> Shutdown {
    let or =
        |value: Option<file::Duration>, seconds| value.map_or(Duration::from_secs(seconds), |held| held.0);
    Shutdown {
        drain_timeout: or(file.drain_timeout, 30),
        idle_grace: or(file.idle_grace, 5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PathPattern;

    const GOOD: &str = r#"version: 1
gateway:
  listeners: [{address: "127.0.0.1:8080"}]
  apis:
    tracking:
      hosts: ["*"]
      paths: ["/v1/*"]
      scope: "tracking_api:write"
      identify: [basic, body]
      upstream: tracking
  upstreams:
    tracking: {servers: ["127.0.0.1:8090"]}
  limits: {body_timeout: 30s}
policy: {source: file, file: policy.yaml}
issuers:
  - {issuer: "https://login.test", jwks_uri: "https://login.test/jwks", audience: [gateway]}
"#;

    fn loaded(text: &str) -> Result<Config, ConfigError> {
        load_text(Path::new("conf/test.yaml"), text)
    }

    /// The problems of `GOOD` with one text replaced by another.
    fn problems(from: &str, to: &str) -> Vec<String> {
        assert!(GOOD.contains(from), "{from}");
        let error = loaded(&GOOD.replacen(from, to, 1)).unwrap_err();
        error.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_config_is_taken_with_its_defaults() {
        let config = loaded(GOOD).unwrap();
        assert_eq!(config.policy, PolicyOrigin::File("conf/policy.yaml".into()));
        assert_eq!(config.freshness.max_age_s, 86_400);
        assert_eq!(config.freshness.when_stale, WhenStale::Deny);
        let gateway = config.gateway.unwrap();
        let [tracking] = gateway.apis.as_slice() else {
            panic!("one API is configured");
        };
        assert_eq!(tracking.paths, [PathPattern::Prefix("/v1/".to_owned())]);
        assert_eq!(
            tracking.unknown_sources,
            crate::domain::facts::UnknownSources::Deny
        );
        assert_eq!(
            (tracking.reauthenticate_status, tracking.forward_token),
            (401, false)
        );
        let [issuer] = config.issuers.as_slice() else {
            panic!("one issuer is configured");
        };
        assert_eq!(issuer.algorithms, [Algorithm::Rs256]);
        assert_eq!(issuer.types, AcceptedTypes::Listed(vec!["at+jwt".to_owned()]));
    }

    #[test]
    fn every_problem_says_where_it_is_and_what_to_do() {
        for (from, to, expected) in [
            (
                "upstream: tracking",
                "upstream: trcking",
                "conf/test.yaml:10:17: apis.tracking.upstream refers to the unknown upstream `trcking`\n  hint: known: tracking",
            ),
            (
                "version: 1",
                "version: 2",
                "conf/test.yaml:1:10: this build reads version 1\n  hint: write `version: 1`",
            ),
            (
                "127.0.0.1:8080",
                "127.0.0.1:+8080",
                "conf/test.yaml:3:25: `127.0.0.1:+8080` is not an address\n  hint: write host:port, such as 127.0.0.1:8080",
            ),
            (
                "127.0.0.1:8080",
                "127.0.0.1",
                "conf/test.yaml:3:25: `127.0.0.1` is not an address\n  hint: write host:port, such as 127.0.0.1:8080",
            ),
            (
                "[basic, body]",
                "[basic, cookie]",
                "conf/test.yaml:9:25: `cookie` is not a place that can name a source\n  \
                 hint: use basic, body, query:NAME, header:NAME or token",
            ),
            (
                "source: file, file: policy.yaml",
                "source: bundled",
                "conf/test.yaml:14:18: the policy should come from the bundled control plane, and none is configured\n  \
                 hint: add a `control_plane:` section, or write `source: file`",
            ),
            (
                "https://login.test/jwks",
                "http://login.test/jwks",
                "conf/test.yaml:16:46: keys are fetched over https\n  hint: only loopback may be plain http",
            ),
            (
                "[gateway]",
                "[]",
                "conf/test.yaml:16:83: no audience is named\n  hint: name what `aud` must be in its tokens",
            ),
        ] {
            assert_eq!(problems(from, to), [expected], "{to}");
        }
    }

    #[test]
    fn what_the_reader_refuses_has_its_place_too() {
        for (from, to, place, word) in [
            ("30s", "30", "conf/test.yaml:13:", "duration"),
            ("30s", "soon", "conf/test.yaml:13:", "duration"),
            ("body_timeout", "body_timout", "conf/test.yaml:13:", "body_timout"),
            (
                "version: 1\n",
                "version: 1\nversion: 1\n",
                "conf/test.yaml:2:",
                "version",
            ),
            (
                "      upstream: tracking\n",
                "      upstream: tracking\n      scope: other\n",
                "conf/test.yaml:11:",
                "scope",
            ),
            ("version: 1", "version: one", "conf/test.yaml:1:", "u32"),
            ("issuers:\n", "issuers: [\n", "conf/test.yaml:", ""),
        ] {
            let found = problems(from, to);
            let [only] = found.as_slice() else {
                panic!("{to}: {found:?}");
            };
            assert!(only.starts_with(place) && only.contains(word), "{to}: {only}");
        }
    }

    #[test]
    fn control_plane_memory_budget_has_a_minimum() {
        let read = |limits: &str| {
            let listen = r#"listen: "127.0.0.1:8081", store: "sqlite:x.db""#;
            loaded(&format!(
                "version: 1\ncontrol_plane: {{{listen}, limits: {limits}}}\n"
            ))
        };
        let held = |limits: &str| {
            let limits = read(limits).unwrap().control_plane.unwrap().limits;
            (limits.held_bytes >> 20, limits.held_bytes_per_client >> 20)
        };
        assert_eq!(held("{}"), (128, 32));
        assert_eq!(held("{held_bytes: 64MiB}"), (64, 16));
        assert_eq!(held("{held_bytes: 8MiB}"), (8, 4));
        assert_eq!(held("{held_bytes_per_client: 128MiB}"), (128, 128));
        for small in ["{held_bytes: 1MiB}", "{held_bytes_per_client: 100KiB}"] {
            let error = read(small).unwrap_err().to_string();
            assert!(error.contains("hint: write 4MiB or more"), "{error}");
        }
    }

    #[test]
    fn several_problems_are_reported_together() {
        let text = GOOD
            .replace("upstream: tracking", "upstream: other")
            .replace("[\"*\"]", "[]");
        assert_eq!(loaded(&text).unwrap_err().problems.len(), 2);
    }

    #[test]
    fn the_environment_fills_what_names_it() {
        // Cargo sets this variable for the tests it runs.
        let config = loaded(&GOOD.replacen("policy.yaml", "\"${CARGO_PKG_NAME}-policy.yaml\"", 1)).unwrap();
        assert_eq!(
            config.policy,
            PolicyOrigin::File("conf/portcullis-policy.yaml".into())
        );
        assert_eq!(
            problems("file: policy.yaml", "file: \"${PORTCULLIS_TEST_UNSET}\""),
            [
                "conf/test.yaml:14:30: the environment has no variable `PORTCULLIS_TEST_UNSET`\n  \
              hint: set it for this process, or write the value here"
            ]
        );
        assert_eq!(
            problems("file: policy.yaml", "file: \"${OPEN\""),
            ["conf/test.yaml:14:30: has `${` without `}`\n  hint: write ${NAME}"]
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = load(Path::new("conf/nowhere.yaml")).unwrap_err().to_string();
        assert!(
            error.starts_with("conf/nowhere.yaml: there is no such file\n  hint: "),
            "{error}"
        );
    }
}
