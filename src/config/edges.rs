//! Where the policy comes from, and both ends of a fleet: the listener that edges connect to, and the edge itself.

use std::time::Duration;

use serde_saphyr::Spanned;
use zeroize::Zeroizing;

use super::check::{Check, all};
use super::file;
use super::file::{EdgesFile, File, PolicyFile};
use super::policy_types::{EdgeListener, PolicyOrigin, RemotePolicy};
use super::shown::has_user;

/// How long a policy counts as fresh unless the config says.
const MAX_AGE: Duration = Duration::from_secs(86_400);

/// The range of `max_age`. Times are compared in whole seconds. The store's setting has the same range.
const MAX_AGE_MIN: Duration = Duration::from_secs(3);
const MAX_AGE_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Connections of edges unless the config says.
const CONNECTIONS: usize = 10_000;

/// Snapshots served at once unless the config says.
const DOWNLOADS: usize = 16;

/// The most connections, and snapshots served at once, that may be allowed.
const COUNT_MAX: usize = 1_000_000;

const HEARTBEAT: Duration = Duration::from_secs(3);
const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
const HEARTBEAT_MAX: Duration = Duration::from_secs(60);

/// The file in the state folder that an enrolled edge has.
const IDENTITY_FILE: &str = "identity.json";

impl Check<'_> {
    pub(super) fn max_age(&mut self, raw: Option<&Spanned<file::Duration>>) -> Duration {
        let range = (MAX_AGE_MIN, MAX_AGE_MAX);
        self.in_range(raw, MAX_AGE, |held| held.0, range, "3s to 366d")
    }

    pub(super) fn policy_origin(&mut self, file: &File) -> Option<PolicyOrigin> {
        let bundled = file.control_plane.is_some() || self.is_incomplete("control_plane");
        let Some(source) = &file.policy.source else {
            if let (Some(gateway), false) = (&file.gateway, bundled)
                && !self.is_incomplete("policy")
            {
                self.problem(
                    gateway.listeners.referenced,
                    "no policy would reach the gateway: there is neither a control plane nor a policy file",
                    "add a `control_plane:` section, or `policy: {source: file, file: policy.yaml}`",
                );
            }
            self.refuse_remote_keys(&file.policy);
            return Some(PolicyOrigin::Bundled);
        };
        let word = self.text(source)?;
        if word != "remote" {
            self.refuse_remote_keys(&file.policy);
        }
        match (word.as_str(), &file.policy.file) {
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
            ("file", None) if self.is_incomplete("policy.file") => None,
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
                self.not_a_choice(source, ["bundled", "file", "remote"].into_iter());
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
        // Each key is checked before one that cannot be used ends this.
        let control_planes = self.control_planes(source, file);
        let state = match &file.state {
            Some(state) => self.file_path(state),
            None if self.is_incomplete("policy.state") => None,
            None => {
                self.problem(
                    source.referenced,
                    "`source: remote` needs a folder for the edge's identity and its last good policy",
                    "add `state: edge-state`",
                );
                None
            }
        };
        // An enrolled edge needs no token, and the variable that held it may be gone.
        let is_enrolled = state
            .as_ref()
            .is_some_and(|state| state.join(IDENTITY_FILE).exists());
        let join = file.join.as_ref().filter(|_| !is_enrolled);
        let join = join.map(|raw| self.secret("policy.join", raw).map(Zeroizing::new));
        let ca = file.ca.as_ref();
        let ca = ca.map(|raw| self.authorities("policy.ca", raw));
        Some(RemotePolicy {
            control_planes: control_planes?,
            state: state?,
            join: all(join)?,
            ca: all(ca)?,
        })
    }

    fn control_planes(&mut self, source: &Spanned<String>, file: &PolicyFile) -> Option<Vec<String>> {
        let needs = "`source: remote` needs the URL of a control plane's edge listener";
        let hint = "add `control_planes: [\"https://cp.example.com:8443\"]`";
        let Some(list) = &file.control_planes else {
            if !self.is_incomplete("policy.control_planes") {
                self.problem(source.referenced, needs, hint);
            }
            return None;
        };
        self.if_empty(list, needs, hint);
        let urls: Vec<_> = list.value.iter().map(|raw| self.control_plane_url(raw)).collect();
        urls.into_iter().collect()
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
            "the URL is not the base URL of an edge listener",
            "write https://cp.example.com:8443; http:// only for a loopback address",
        );
        None
    }

    pub(super) fn edge_listener(&mut self, file: &EdgesFile) -> Option<EdgeListener> {
        // Each key is checked before one that cannot be used ends this.
        let listen = self.listen_address(&file.listen);
        let tls = file.tls.as_ref().map(|tls| self.listener_tls(tls));
        let host = listen.as_ref().and_then(|listen| listen.rsplit_once(':'));
        if let Some((host, _)) = host
            && tls.is_none()
            && !self.is_incomplete("control_plane.edges.tls")
            && !is_loopback(host)
        {
            self.problem(
                file.listen.referenced,
                "edges would send their session tokens in the clear",
                "add `tls:` with a certificate, or listen on a loopback address behind a proxy that ends TLS",
            );
        }
        let heartbeat = (HEARTBEAT_MIN, HEARTBEAT_MAX);
        let heartbeat = self.in_range(
            file.heartbeat.as_ref(),
            HEARTBEAT,
            |held| held.0,
            heartbeat,
            "100ms to 60s, such as 3s",
        );
        let mut count = |raw: &Option<Spanned<usize>>, default| {
            let range = (1, COUNT_MAX);
            self.in_range(raw.as_ref(), default, |count| count, range, "1 to 1000000")
        };
        let (connections, downloads) = (
            count(&file.connections, CONNECTIONS),
            count(&file.downloads, DOWNLOADS),
        );
        Some(EdgeListener {
            listen: listen?,
            tls,
            connections,
            downloads,
            heartbeat,
        })
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_matches(['[', ']']);
    bare == "localhost"
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
