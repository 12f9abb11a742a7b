//! The config's `gateway:` section: listeners, APIs, upstreams and limits.

use std::collections::BTreeMap;
use std::path::Path;

use serde_saphyr::{Location, Spanned};

use super::address::is_host;
use super::check::Check;
use super::file;
use super::overlap::Placed;
use super::shown::{has_user, shown};
use super::tls_types::ListenerTls;
use super::types::{Api, ErrorForm, Gateway, Identify, Limits, Listener, ProxyProtocol};
use crate::domain::facts::{UnknownSources, WithoutToken};
use crate::domain::scope::Scope;

/// The most headers that may be allowed: the parser ends at 256.
const HEADERS_MAX: usize = 250;

/// The values of `limits.token_bytes`.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 1 << 10..=1 << 20;

/// The largest body that may be allowed, in bytes: bodies are held whole in memory.
const BODY_BYTES_MAX: usize = 1 << 30;

/// The most connections that may be allowed: more than a process can open.
const CONNECTIONS_MAX: usize = 10_000_000;

impl Check<'_> {
    pub(super) fn gateway(&mut self, file: &file::GatewayFile) -> Option<Gateway> {
        self.if_empty(
            &file.listeners,
            "no listener is configured",
            "add one with an address",
        );
        let mut listeners = Vec::new();
        for listener in &file.listeners.value {
            listeners.extend(self.listener(listener));
            self.proxied(listener, &file.trusted_proxies);
        }
        if file.apis.value.is_empty() && !self.is_incomplete("gateway.apis") {
            self.problem(
                file.apis.referenced,
                "no API is configured",
                "add `tracking:`, `functions:` or `public:`",
            );
        }
        let mut apis = Vec::new();
        for (name, api) in &file.apis.value {
            self.upstream_exists(name, api, &file.upstreams);
            apis.extend(self.api(name, api));
        }
        let mut upstreams = BTreeMap::new();
        for (name, upstream) in &file.upstreams {
            if let Some(upstream) = self.upstream(name, upstream) {
                upstreams.insert(name.clone(), upstream);
            }
        }
        let placed = apis.iter().filter_map(|api| {
            let file = file.apis.value.get(&api.name)?;
            Some(Placed { api, file })
        });
        self.overlaps(&placed.collect::<Vec<_>>(), &upstreams);
        Some(Gateway {
            workers: self.workers(file.workers.as_ref()),
            listeners,
            apis,
            upstreams,
            limits: self.limits(&file.limits),
            trusted_proxies: self.trusted_proxies(&file.trusted_proxies),
            public_url: self.gateway_url(file.public_url.as_ref()),
            token_cache_entries: self.in_range(
                file.token_cache.as_ref(),
                100_000,
                |entries| entries,
                (1, 100_000_000),
                "1 to 100000000",
            ),
        })
    }

    fn workers(&mut self, raw: Option<&Spanned<usize>>) -> usize {
        let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let Some(raw) = raw else { return all };
        if !(1..=1024).contains(&raw.value) {
            self.problem(
                raw.referenced,
                "the value is not a number of threads from 1 to 1024",
                "leave it out for one per core",
            );
        }
        raw.value
    }

    fn listener(&mut self, file: &file::ListenerFile) -> Option<Listener> {
        let tls = file.tls.as_ref().map(|tls| self.listener_tls(tls));
        Some(Listener {
            address: self.listen_address(&file.address)?,
            tls,
            proxy_protocol: self.word(
                file.proxy_protocol.as_ref(),
                &[("off", ProxyProtocol::Off), ("require", ProxyProtocol::Require)],
                ProxyProtocol::Off,
            ),
        })
    }

    /// A listener that requires the PROXY protocol accepts connections from trusted proxies only.
    fn proxied(&mut self, listener: &file::ListenerFile, trusted: &[Spanned<String>]) {
        if let Some(raw) = &listener.proxy_protocol
            && self.text(raw).as_deref() == Some("require")
            && trusted.is_empty()
        {
            self.problem(
                raw.referenced,
                "`proxy_protocol: require` needs `gateway.trusted_proxies`; without it every connection is closed",
                "add the addresses of your load balancers, such as trusted_proxies: [192.0.2.0/24]",
            );
        }
    }

    /// Scheme, host and port under which clients reach the gateway.
    fn gateway_url(&mut self, raw: Option<&Spanned<String>>) -> Option<String> {
        let raw = raw?;
        let url = self.text(raw)?;
        let uri = url.parse::<http::Uri>().ok();
        let is_origin = uri.as_ref().is_some_and(|uri| {
            let is_http = matches!(uri.scheme_str(), Some("https" | "http"));
            let has_path = uri.path_and_query().is_some_and(|path| path.as_str() != "/");
            is_http && uri.host().is_some() && !has_user(uri) && !has_path && !url.ends_with(['/', '#'])
        });
        if !is_origin {
            self.problem(
                raw.referenced,
                "the public URL is not an absolute URL without user, path and a slash at its end",
                "write https://events.example.com",
            );
        }
        Some(url)
    }

    pub(super) fn listener_tls(&mut self, tls: &file::ListenerTlsFile) -> ListenerTls {
        self.if_empty(
            &tls.certificates,
            "no certificate is named",
            "add {cert: ..., key: ...}",
        );
        let mut certificates = Vec::new();
        for pair in &tls.certificates.value {
            let (cert, key) = (self.file_path(&pair.cert), self.file_path(&pair.key));
            if let (Some(cert), Some(key)) = (cert, key) {
                self.readable(&cert, pair.cert.referenced);
                self.readable(&key, pair.key.referenced);
                self.secret_files.push((key.clone(), pair.key.referenced));
                certificates.push((cert, key));
            }
        }
        let client_ca = tls.client_ca.as_ref().and_then(|raw| {
            let path = self.file_path(raw)?;
            self.readable(&path, raw.referenced);
            Some(path)
        });
        ListenerTls {
            certificates,
            client_ca,
        }
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
        let scope = self.scope(&file.scope);
        let hosts = self.hosts(&file.hosts);
        let upstream = self.text(&file.upstream);
        let paths = self.api_paths(&file.paths);
        let cors = match &file.cors {
            Some(cors) => Some(self.cors(cors)?),
            None => None,
        };
        Some(Api {
            name: name.to_owned(),
            hosts,
            paths,
            scope: scope?,
            identify: self.identify(&file.identify),
            upstream: upstream?,
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
            reauthenticate_status: self.reauthenticate_status(file.reauthenticate_status.as_ref()),
            forward_token: file.forward_token,
            cors,
            error_form: if name == "public" {
                ErrorForm::PublicApi
            } else {
                ErrorForm::OAuth
            },
        })
    }

    fn scope(&mut self, raw: &Spanned<String>) -> Option<Scope> {
        Scope::parse(&self.text(raw)?)
            .map_err(|error| {
                self.problem(
                    raw.referenced,
                    error.to_string(),
                    "name one scope, such as tracking_api:write",
                );
            })
            .ok()
    }

    fn hosts(&mut self, raw: &Spanned<Vec<Spanned<String>>>) -> Vec<String> {
        self.if_empty(raw, "no host is named", "name the hosts, or `\"*\"` for any");
        let mut hosts = Vec::new();
        for host in &raw.value {
            let Some(text) = self.text(host) else { continue };
            let text = text.to_ascii_lowercase();
            if text != "*" && !is_host(&text) {
                self.problem(
                    host.referenced,
                    format!("`{}` is not a host name", shown(host)),
                    "write a name without scheme and port, or `\"*\"`",
                );
            }
            hosts.push(text);
        }
        hosts
    }

    fn reauthenticate_status(&mut self, raw: Option<&Spanned<u16>>) -> u16 {
        let Some(raw) = raw else { return 401 };
        if !matches!(raw.value, 401 | 511) {
            self.problem(
                raw.referenced,
                "the status is neither 401 nor 511",
                "511 makes Segment SDKs fetch a new token and retry",
            );
        }
        raw.value
    }

    fn identify(&mut self, raw: &Spanned<Vec<Spanned<String>>>) -> Vec<Identify> {
        let mut places = Vec::new();
        for place in &raw.value {
            let Some(text) = self.text(place) else { continue };
            let identify = match text.split_once(':') {
                None => match text.as_str() {
                    "basic" => Some(Identify::Basic),
                    "body" => Some(Identify::Body),
                    "token" => Some(Identify::Token),
                    "pixel" => Some(Identify::Pixel),
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
                    format!("`{}` is not a place that can name a source", shown(place)),
                    "use basic, body, query:NAME, header:NAME, pixel or token",
                ),
            }
        }
        let is_alone = !places.contains(&Identify::Token) || places.len() == 1;
        if raw.value.is_empty() || !is_alone {
            self.problem(
                raw.referenced,
                "`token` stands alone, and something must identify",
                "write [token], or other places",
            );
        }
        places
    }

    /// How many connections may be open, and how many of one client: a quarter of them unless said.
    pub(super) fn connection_limits(
        &mut self,
        all: Option<&Spanned<usize>>,
        per_client: Option<&Spanned<usize>>,
        default: usize,
    ) -> (usize, usize) {
        for count in [all, per_client].into_iter().flatten() {
            if !(1..=CONNECTIONS_MAX).contains(&count.value) {
                self.problem(
                    count.referenced,
                    "the value is out of range; 0 would refuse every connection",
                    "write 1 to 10000000, or leave it out",
                );
            }
        }
        let all = all.map_or(default, |count| count.value);
        (all, per_client.map_or((all / 4).max(1), |count| count.value))
    }

    fn token_bytes(&mut self, size: Option<&Spanned<file::Size>>, default: usize) -> usize {
        let Some(size) = size else { return default };
        if !TOKEN_BYTES.contains(&size.value.0) {
            self.problem(
                size.referenced,
                "an access token may have 1KiB to 1MiB",
                "write the size of your longest tokens, such as 32KiB; `header_bytes` must leave room for it",
            );
        }
        size.value.0
    }

    fn limits(&mut self, file: &file::LimitsFile) -> Limits {
        let base = Limits::default();
        let size = |value: &Option<Spanned<file::Size>>, default| {
            value.as_ref().map_or(default, |size| size.value.0)
        };
        let body_bytes = self.in_range(
            file.body_bytes.as_ref(),
            base.body_bytes,
            |size| size.0,
            (1, BODY_BYTES_MAX),
            "1B to 1GiB",
        );
        let header_bytes = self.in_range(
            file.header_bytes.as_ref(),
            base.header_bytes,
            |size| size.0,
            (256, 1 << 20),
            "256B to 1MiB",
        );
        let held_bytes = size(&file.held_bytes, base.held_bytes);
        let (connections, connections_per_client) = self.connection_limits(
            file.connections.as_ref(),
            file.connections_per_client.as_ref(),
            base.connections,
        );
        let limits = Limits {
            handshake_timeout: self.timeout(file.handshake_timeout.as_ref(), base.handshake_timeout),
            header_timeout: self.timeout(file.header_timeout.as_ref(), base.header_timeout),
            body_timeout: self.timeout(file.body_timeout.as_ref(), base.body_timeout),
            idle_timeout: self.timeout(file.idle_timeout.as_ref(), base.idle_timeout),
            header_bytes,
            headers: self.in_range(
                file.headers.as_ref(),
                base.headers,
                |count| count,
                (1, HEADERS_MAX),
                "1 to 250",
            ),
            token_bytes: self.token_bytes(file.token_bytes.as_ref(), base.token_bytes),
            body_bytes,
            held_bytes,
            // A quarter, and always room for one body.
            held_bytes_per_client: size(&file.held_bytes_per_client, (held_bytes / 4).max(body_bytes)),
            connections,
            connections_per_client,
        };
        if let Some(held) = &file.held_bytes
            && held.value.0 < limits.body_bytes
        {
            self.problem(
                held.referenced,
                "the value is smaller than `body_bytes`",
                "write at least `body_bytes`: one body must fit",
            );
        }
        if let Some(share) = &file.held_bytes_per_client
            && share.value.0 < limits.body_bytes
        {
            self.problem(
                share.referenced,
                "the value is smaller than `body_bytes`",
                "write at least `body_bytes`: one body must fit into a client's share",
            );
        }
        limits
    }
}
