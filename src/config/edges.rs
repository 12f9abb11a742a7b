//! Where the policy comes from, and both ends of a fleet: the listener that edges connect to, and the edge itself.

use std::time::Duration;

use serde_saphyr::Spanned;
use zeroize::Zeroizing;

use super::check::Check;
use super::file;
use super::file::{EdgesFile, File, PolicyFile};
use super::policy_types::{EdgeListener, PolicyOrigin, RemotePolicy};
use super::shown::{has_user, shown};

/// How long a policy counts as fresh unless the config says.
const MAX_AGE: Duration = Duration::from_secs(86_400);

/// The shortest `max_age`: times are compared in whole seconds.
const MAX_AGE_MIN: Duration = Duration::from_secs(3);

/// Connections of edges unless the config says.
const CONNECTIONS: usize = 10_000;

/// Snapshots served at once unless the config says.
const DOWNLOADS: usize = 16;

const HEARTBEAT: Duration = Duration::from_secs(3);
const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
const HEARTBEAT_MAX: Duration = Duration::from_secs(60);

/// The file in the state folder that an enrolled edge has.
const IDENTITY_FILE: &str = "identity.json";

impl Check<'_> {
    pub(super) fn max_age(&mut self, raw: Option<&Spanned<file::Duration>>) -> Duration {
        let Some(raw) = raw else { return MAX_AGE };
        if raw.value.0 < MAX_AGE_MIN {
            self.problem(
                raw.referenced,
                "is too short for a policy to be renewed in",
                "write 3s or more; 5m suits most edges",
            );
        }
        raw.value.0
    }

    pub(super) fn policy_origin(&mut self, file: &File) -> Option<PolicyOrigin> {
        let bundled = file.control_plane.is_some();
        let Some(source) = &file.policy.source else {
            if let (Some(gateway), false) = (&file.gateway, bundled) {
                self.problem(
                    gateway.listeners.referenced,
                    "no policy would reach the gateway: there is neither a control plane nor a policy file",
                    "add a `control_plane:` section, or `policy: {source: file, file: policy.yaml}`",
                );
            }
            self.refuse_remote_keys(&file.policy);
            return Some(PolicyOrigin::Bundled);
        };
        if source.value != "remote" {
            self.refuse_remote_keys(&file.policy);
        }
        match (source.value.as_str(), &file.policy.file) {
            ("bundled", None) if bundled => Some(PolicyOrigin::Bundled),
            ("bundled", None) => {
                self.problem(
                    source.referenced,
                    "the policy should come from the bundled control plane, and none is configured",
                    "add a `control_plane:` section, or write `source: file` or `source: remote`",
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
            ("bundled" | "remote", Some(path)) => {
                self.problem(
                    path.referenced,
                    "`file` belongs to `source: file`",
                    "remove it, or change the source",
                );
                None
            }
            ("remote", None) => self.remote(source, &file.policy).map(PolicyOrigin::Remote),
            _ => {
                self.problem(
                    source.referenced,
                    format!("`{}` is not a choice here", shown(source)),
                    "write `bundled`, `file` or `remote`",
                );
                None
            }
        }
    }

    /// Keys that only an edge has.
    fn refuse_remote_keys(&mut self, file: &PolicyFile) {
        let list = file.control_planes.as_ref().map(|list| list.referenced);
        let texts = [("state", &file.state), ("join", &file.join), ("ca", &file.ca)];
        let texts = texts
            .iter()
            .filter_map(|(name, raw)| Some((*name, raw.as_ref()?.referenced)));
        for (name, place) in list
            .map(|place| ("control_planes", place))
            .into_iter()
            .chain(texts)
        {
            self.problem(
                place,
                format!("`{name}` belongs to `source: remote`"),
                "remove it, or write `source: remote`",
            );
        }
    }

    fn remote(&mut self, source: &Spanned<String>, file: &PolicyFile) -> Option<RemotePolicy> {
        let control_planes = match &file.control_planes {
            Some(list) if !list.value.is_empty() => {
                let urls = list.value.iter().map(|raw| self.control_plane_url(raw));
                urls.collect::<Vec<_>>()
                    .into_iter()
                    .collect::<Option<Vec<String>>>()
            }
            _ => {
                self.problem(
                    source.referenced,
                    "`source: remote` needs the URL of a control plane's edge listener",
                    "add `control_planes: [\"https://cp.example.com:8443\"]`",
                );
                None
            }
        };
        let Some(state) = &file.state else {
            self.problem(
                source.referenced,
                "`source: remote` needs a folder for the edge's identity and its last good policy",
                "add `state: edge-state`",
            );
            return None;
        };
        let state = self.file_path(state)?;
        // An enrolled edge needs no token, and the variable that held it may be gone.
        let join = match &file.join {
            Some(raw) if !state.join(IDENTITY_FILE).exists() => {
                Some(Zeroizing::new(self.secret("policy.join", raw)?))
            }
            _ => None,
        };
        let ca = match &file.ca {
            Some(raw) => Some(self.authorities("policy.ca", raw)?),
            None => None,
        };
        Some(RemotePolicy {
            control_planes: control_planes?,
            state,
            join,
            ca,
        })
    }

    fn control_plane_url(&mut self, raw: &Spanned<String>) -> Option<String> {
        let text = self.text(raw)?;
        let uri = text.parse::<http::Uri>().ok();
        let is_base = uri.as_ref().is_some_and(|uri| {
            uri.host().is_some() && !has_user(uri) && matches!(uri.path(), "" | "/") && uri.query().is_none()
        });
        let scheme = uri.as_ref().and_then(http::Uri::scheme_str);
        let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default();
        if is_base && (scheme == Some("https") || (scheme == Some("http") && is_loopback(host))) {
            return Some(text.trim_end_matches('/').to_owned());
        }
        self.problem(
            raw.referenced,
            "is not the base URL of an edge listener",
            "write https://cp.example.com:8443; http:// only for a loopback address",
        );
        None
    }

    pub(super) fn edge_listener(&mut self, file: &EdgesFile) -> Option<EdgeListener> {
        let listen = self.address(&file.listen)?;
        let tls = match &file.tls {
            Some(tls) => Some(self.listener_tls(tls)?),
            None => None,
        };
        let host = listen.rsplit_once(':').map_or("", |(host, _)| host);
        if tls.is_none() && !is_loopback(host.trim_matches(['[', ']'])) {
            self.problem(
                file.listen.referenced,
                "edges would send their session tokens in the clear",
                "add `tls:` with a certificate, or listen on a loopback address behind a proxy that ends TLS",
            );
        }
        let heartbeat = file.heartbeat.as_ref().map_or(HEARTBEAT, |raw| raw.value.0);
        if let Some(raw) = &file.heartbeat
            && !(HEARTBEAT_MIN..=HEARTBEAT_MAX).contains(&heartbeat)
        {
            self.problem(
                raw.referenced,
                "is no interval for heartbeats",
                "write 100ms to 60s, such as 3s",
            );
        }
        Some(EdgeListener {
            listen,
            tls,
            connections: self.at_least_one(file.connections.as_ref(), CONNECTIONS),
            downloads: self.at_least_one(file.downloads.as_ref(), DOWNLOADS),
            heartbeat,
        })
    }

    fn at_least_one(&mut self, raw: Option<&Spanned<usize>>, default: usize) -> usize {
        let Some(raw) = raw else { return default };
        if raw.value == 0 || raw.value > 1_000_000 {
            self.problem(raw.referenced, "is not a usable number", "write 1 to 1000000");
        }
        raw.value
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_matches(['[', ']']);
    bare == "localhost"
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
