//! From the raw file to a [`Config`]: defaults, references, and every check that a type cannot make.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_saphyr::{Location, Spanned};

use super::file::{self, File};
use super::{
    Api, Config, ConfigError, ControlPlane, ErrorForm, Gateway, HealthCheck, Identify, JwksUri, KeyOrigin,
    Limits, Listener, ListenerTls, Observability, OutsideIssuer, PathPattern, PolicyOrigin, Problem,
    Timeouts, Upstream, UpstreamTls,
};
use crate::domain::facts::{UnknownSources, WithoutToken};
use crate::domain::key::Algorithm;
use crate::domain::policy::{AcceptedTypes, Freshness, WhenStale};
use crate::domain::scope::Scope;

/// The largest config file read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads and checks a config file.
///
/// # Errors
/// [`ConfigError`] with every problem found, each with its place and a hint.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = read(path, FILE_BYTES_MAX)?;
    let file: File = parse(
        path,
        &text,
        "config/portcullis.yaml has every key in its form and place",
    )?;
    let mut check = Check::new(path);
    let config = check.config(file);
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
    path: &'p Path,
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
    fn text(&mut self, raw: &Spanned<String>) -> Option<String> {
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
    fn file_path(&mut self, raw: &Spanned<String>) -> Option<PathBuf> {
        let text = self.text(raw)?;
        let folder = self.path.parent().unwrap_or_else(|| Path::new("."));
        Some(folder.join(text))
    }

    /// One of a few words.
    fn word<T: Copy>(&mut self, raw: Option<&Spanned<String>>, words: &[(&str, T)], default: T) -> T {
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

    fn config(&mut self, file: File) -> Option<Config> {
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
        let mut issuers = Vec::new();
        for issuer in &file.issuers {
            issuers.extend(self.issuer(issuer));
        }
        for (at, issuer) in file.issuers.iter().enumerate() {
            if file
                .issuers
                .iter()
                .take(at)
                .any(|earlier| earlier.issuer.value == issuer.issuer.value)
            {
                self.problem(
                    issuer.issuer.referenced,
                    "this issuer is configured twice",
                    "keep one of the two",
                );
            }
        }
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
        })
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

    fn address(&mut self, raw: &Spanned<String>) -> Option<String> {
        let text = self.text(raw)?;
        let port = text
            .rsplit_once(':')
            .map(|(host, port)| (!host.is_empty(), port.parse::<u16>().is_ok()));
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

    fn gateway(&mut self, file: file::GatewayFile) -> Option<Gateway> {
        if file.listeners.value.is_empty() {
            self.problem(
                file.listeners.referenced,
                "no listener is configured",
                "add one with an address",
            );
        }
        let mut listeners = Vec::new();
        for listener in &file.listeners.value {
            listeners.extend(self.listener(listener));
        }
        if file.apis.value.is_empty() {
            self.problem(
                file.apis.referenced,
                "no API is configured",
                "add `tracking:`, `functions:` or `public:`",
            );
        }
        let mut apis = Vec::new();
        for (name, api) in &file.apis.value {
            if !file.upstreams.contains_key(&api.upstream.value) {
                let known: Vec<&str> = file.upstreams.keys().map(String::as_str).collect();
                self.problem(
                    api.upstream.referenced,
                    format!(
                        "apis.{name}.upstream refers to the unknown upstream `{}`",
                        api.upstream.value
                    ),
                    format!("known: {}", known.join(", ")),
                );
            }
            apis.extend(self.api(name, api));
        }
        let mut upstreams = std::collections::BTreeMap::new();
        for (name, upstream) in &file.upstreams {
            if let Some(upstream) = self.upstream(upstream) {
                upstreams.insert(name.clone(), upstream);
            }
        }
        Some(Gateway {
            workers: self.workers(file.workers.as_ref()),
            listeners,
            apis,
            upstreams,
            limits: self.limits(&file.limits),
            token_cache_entries: file.token_cache.map_or(100_000, |entries| entries.value),
        })
    }

    fn workers(&mut self, raw: Option<&Spanned<usize>>) -> usize {
        let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let Some(raw) = raw else { return all };
        if !(1..=1024).contains(&raw.value) {
            self.problem(
                raw.referenced,
                "is not a number of threads from 1 to 1024",
                "leave it out for one per core",
            );
        }
        raw.value
    }

    fn listener(&mut self, file: &file::ListenerFile) -> Option<Listener> {
        let tls = match &file.tls {
            None => None,
            Some(tls) => {
                if tls.certificates.value.is_empty() {
                    self.problem(
                        tls.certificates.referenced,
                        "no certificate is named",
                        "add {cert: ..., key: ...}",
                    );
                }
                let mut certificates = Vec::new();
                for pair in &tls.certificates.value {
                    let (cert, key) = (self.file_path(&pair.cert)?, self.file_path(&pair.key)?);
                    self.readable(&cert, pair.cert.referenced);
                    self.readable(&key, pair.key.referenced);
                    certificates.push((cert, key));
                }
                let client_ca = match &tls.client_ca {
                    Some(path) => Some(self.file_path(path)?),
                    None => None,
                };
                Some(ListenerTls {
                    certificates,
                    client_ca,
                })
            }
        };
        Some(Listener {
            address: self.address(&file.address)?,
            tls,
        })
    }

    fn readable(&mut self, path: &Path, at: Location) {
        if let Err(error) = std::fs::File::open(path) {
            self.problem(
                at,
                format!("{} cannot be read: {error}", path.display()),
                "check the path and its permissions",
            );
        }
    }

    fn api(&mut self, name: &str, file: &file::ApiFile) -> Option<Api> {
        let scope = match Scope::parse(&file.scope.value) {
            Ok(scope) => Some(scope),
            Err(error) => {
                self.problem(
                    file.scope.referenced,
                    error.to_string(),
                    "name one scope, such as tracking_api:write",
                );
                None
            }
        };
        if file.hosts.value.is_empty() {
            self.problem(
                file.hosts.referenced,
                "no host is named",
                "name the hosts, or `\"*\"` for any",
            );
        }
        let mut hosts = Vec::new();
        for host in &file.hosts.value {
            let text = self.text(host)?.to_ascii_lowercase();
            if text != "*" && (text.is_empty() || text.contains(['/', '*', ' ', '@'])) {
                self.problem(
                    host.referenced,
                    format!("`{text}` is not a host name"),
                    "write a name without scheme and port, or `\"*\"`",
                );
            }
            hosts.push(text);
        }
        let mut paths = Vec::new();
        for path in &file.paths.value {
            paths.extend(self.path_pattern(path));
        }
        let identify = self.identify(&file.identify);
        let status = file
            .reauthenticate_status
            .as_ref()
            .map_or(401, |status| status.value);
        if let Some(raw) = &file.reauthenticate_status
            && !matches!(raw.value, 401 | 511)
        {
            self.problem(
                raw.referenced,
                "is neither 401 nor 511",
                "511 makes Segment SDKs fetch a new token and retry",
            );
        }
        Some(Api {
            name: name.to_owned(),
            hosts,
            paths,
            scope: scope?,
            identify,
            upstream: file.upstream.value.clone(),
            unknown_sources: self.word(
                file.unknown_sources.as_ref(),
                &[
                    ("deny", UnknownSources::Deny),
                    ("forward", UnknownSources::Forward),
                ],
                UnknownSources::Deny,
            ),
            without_token: self.word(
                file.without_token.as_ref(),
                &[("deny", WithoutToken::Deny), ("forward", WithoutToken::Forward)],
                WithoutToken::Deny,
            ),
            reauthenticate_status: status,
            forward_token: file.forward_token,
            error_form: if name == "public" {
                ErrorForm::PublicApi
            } else {
                ErrorForm::OAuth
            },
        })
    }

    fn path_pattern(&mut self, raw: &Spanned<String>) -> Option<PathPattern> {
        let path = raw.value.as_str();
        let plain = |path: &str| path.starts_with('/') && !path.contains(['*', '?', '#', '%', ' ']);
        match path.strip_suffix('*') {
            Some(prefix) if plain(prefix) && prefix.ends_with('/') => {
                Some(PathPattern::Prefix(prefix.to_owned()))
            }
            None if plain(path) => Some(PathPattern::Exact(path.to_owned())),
            _ => {
                self.problem(
                    raw.referenced,
                    format!("`{path}` is not a path"),
                    "write /one/path, or /all/below/*",
                );
                None
            }
        }
    }

    fn identify(&mut self, raw: &Spanned<Vec<Spanned<String>>>) -> Vec<Identify> {
        let mut places = Vec::new();
        for place in &raw.value {
            let identify = match place.value.split_once(':') {
                None => match place.value.as_str() {
                    "basic" => Some(Identify::Basic),
                    "body" => Some(Identify::Body),
                    "token" => Some(Identify::Token),
                    _ => None,
                },
                Some(("query", name)) if !name.is_empty() => Some(Identify::Query(name.to_owned())),
                Some(("header", name)) => http::HeaderName::try_from(name)
                    .ok()
                    .map(|name| Identify::Header(name.as_str().to_owned())),
                Some(_) => None,
            };
            match identify {
                Some(identify) => places.push(identify),
                None => self.problem(
                    place.referenced,
                    format!("`{}` is not a place that can name a source", place.value),
                    "use basic, body, query:NAME, header:NAME or token",
                ),
            }
        }
        if places.is_empty() || places.contains(&Identify::Token) && places.len() > 1 {
            self.problem(
                raw.referenced,
                "`token` stands alone, and something must identify",
                "write [token], or other places",
            );
        }
        places
    }

    fn upstream(&mut self, file: &file::UpstreamFile) -> Option<Upstream> {
        if file.servers.value.is_empty() {
            self.problem(
                file.servers.referenced,
                "the pool has no server",
                "add at least one host:port",
            );
        }
        let mut servers = Vec::new();
        for server in &file.servers.value {
            servers.extend(self.address(server));
        }
        let tls = match &file.tls {
            None => None,
            Some(tls) => {
                if tls.sni.value.is_empty() {
                    self.problem(
                        tls.sni.referenced,
                        "is empty",
                        "name the host that the certificate is for",
                    );
                }
                let ca = match &tls.ca {
                    Some(path) => {
                        let file = self.file_path(path)?;
                        self.readable(&file, path.referenced);
                        Some(file)
                    }
                    None => None,
                };
                Some(UpstreamTls {
                    sni: self.text(&tls.sni)?,
                    ca,
                })
            }
        };
        let or = |value: Option<file::Duration>, seconds| {
            value.map_or(Duration::from_secs(seconds), |held| held.0)
        };
        Some(Upstream {
            servers,
            tls,
            http2: file.http2.unwrap_or(false),
            health_check: file.health_check.as_ref().map(|check| self.health_check(check)),
            timeouts: Timeouts {
                connect: or(file.timeouts.connect, 2),
                read: or(file.timeouts.read, 30),
                write: or(file.timeouts.write, 30),
                idle: or(file.timeouts.idle, 60),
            },
        })
    }

    fn health_check(&mut self, file: &file::HealthCheckFile) -> HealthCheck {
        if let Some(path) = &file.path
            && !path.value.starts_with('/')
        {
            self.problem(
                path.referenced,
                "is not a path",
                "write /path, or leave it out to only connect",
            );
        }
        let or = |value: &Option<Spanned<file::Duration>>, seconds| {
            value
                .as_ref()
                .map_or(Duration::from_secs(seconds), |held| held.value.0)
        };
        HealthCheck {
            path: file.path.as_ref().map(|path| path.value.clone()),
            interval: or(&file.interval, 5).max(Duration::from_millis(100)),
            timeout: or(&file.timeout, 2),
            healthy_after: file.healthy_after.as_ref().map_or(1, |times| times.value.max(1)),
            unhealthy_after: file
                .unhealthy_after
                .as_ref()
                .map_or(2, |times| times.value.max(1)),
        }
    }

    fn limits(&mut self, file: &file::LimitsFile) -> Limits {
        let base = Limits::default();
        let time = |value: Option<file::Duration>, default| value.map_or(default, |held| held.0);
        let limits = Limits {
            header_timeout: time(file.header_timeout, base.header_timeout),
            body_timeout: time(file.body_timeout, base.body_timeout),
            idle_timeout: time(file.idle_timeout, base.idle_timeout),
            header_bytes: file
                .header_bytes
                .as_ref()
                .map_or(base.header_bytes, |size| size.value.0),
            headers: file.headers.as_ref().map_or(base.headers, |count| count.value),
            body_bytes: file
                .body_bytes
                .as_ref()
                .map_or(base.body_bytes, |size| size.value.0),
            held_bytes: file
                .held_bytes
                .as_ref()
                .map_or(base.held_bytes, |size| size.value.0),
            connections: file
                .connections
                .as_ref()
                .map_or(base.connections, |count| count.value),
        };
        if let Some(held) = &file.held_bytes
            && held.value.0 < limits.body_bytes
        {
            self.problem(
                held.referenced,
                "is smaller than `body_bytes`",
                "one body must fit into all held bytes",
            );
        }
        limits
    }

    fn control_plane(&mut self, file: &file::ControlPlaneFile) -> Option<ControlPlane> {
        let store = self.text(&file.store)?;
        let Some(path) = store.strip_prefix("sqlite:") else {
            self.problem(
                file.store.referenced,
                "is not a store of this build",
                "write sqlite:PATH, such as sqlite:data/portcullis.db",
            );
            return None;
        };
        let folder = self.path.parent().unwrap_or_else(|| Path::new("."));
        let store = folder.join(path.trim_start_matches("//"));
        let signing_algorithm = match &file.signing.algorithm {
            None => Algorithm::Rs256,
            Some(raw) => Algorithm::parse(&raw.value).unwrap_or_else(|| {
                self.problem(
                    raw.referenced,
                    format!("`{}` is not a signing algorithm", raw.value),
                    "use RS256, PS256, ES256 or EdDSA",
                );
                Algorithm::Rs256
            }),
        };
        let public_url = match &file.public_url {
            None => None,
            Some(raw) => {
                let url = self.text(raw)?;
                if url
                    .parse::<http::Uri>()
                    .ok()
                    .is_none_or(|uri| uri.host().is_none() || url.ends_with('/'))
                {
                    self.problem(
                        raw.referenced,
                        "is not an absolute URL without a slash at its end",
                        "write https://auth.example.com",
                    );
                }
                Some(url)
            }
        };
        let audience = match &file.audience {
            Some(raw) => Some(self.text(raw)?),
            None => None,
        };
        Some(ControlPlane {
            listen: self.address(&file.listen)?,
            public_url,
            audience,
            store,
            signing_algorithm,
        })
    }
}
