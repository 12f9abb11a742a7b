//! The control plane's section: its store, its limits and the proxies before it.

use std::path::Path;
use std::time::Duration;

use serde_saphyr::Spanned;
use zeroize::Zeroizing;

use super::check::{Check, all};
use super::file;
use super::file::{AuditFile, ControlLimitsFile, RateFile, Size};
use super::shown::{has_user, shown};
use super::types::ControlPlane;
use super::types::{ControlLimits, Rate};
use super::warnings::PROXIES_EVERYWHERE;
use super::yaml::document::read;
use crate::domain::client_assertion::ASSERTION_LIFETIME_MAX_S;
use crate::domain::ids::Audience;
use crate::domain::issuer_url::is_issuer_url;
use crate::domain::network::Network;
use crate::store_location::StoreLocation;

/// The largest file that holds one secret, in bytes.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// A burst that released SDKs make at once; no limit may be set below it.
const BURST_MIN: u32 = 16;

/// The largest burst, and the most requests per second, that a rate limit may allow.
const RATE_MAX: u32 = 1_000_000;

/// The least that the requests of one client may hold: a JSON body of 64 KiB takes a megabyte while it is handled, and
/// an export as much.
const SHARE_BYTES_MIN: usize = 2 << 20;

/// The least that all requests may hold. One client never gets more than a fifth of it.
const HELD_BYTES_MIN: usize = 16 << 20;

/// The bounds of `assertion_lifetime_max`. Released SDKs make assertions of exactly a minute. A used assertion is
/// remembered for as long as it lives.
const ASSERTION_LIFETIME_LEAST: Duration = Duration::from_secs(60);
const ASSERTION_LIFETIME_MOST: Duration = Duration::from_secs(86_400);

/// How long events stay in the audit trail unless the config says, in days.
const AUDIT_DAYS: u64 = 90;

impl Check<'_> {
    fn audit_retention(&mut self, file: &AuditFile) -> Duration {
        let Some(raw) = &file.retention else {
            return Duration::from_secs(AUDIT_DAYS * 86_400);
        };
        let retention = raw.value.0;
        if retention < Duration::from_secs(86_400) || retention > Duration::from_secs(3_660 * 86_400) {
            self.problem(
                raw.referenced,
                "the value is out of range",
                "write 1d to 3660d, such as 90d",
            );
        }
        retention
    }

    /// The value of `key`, which may be a secret: `file:PATH` is what the file holds, without the end of its last
    /// line.
    pub(super) fn secret(&mut self, key: &str, raw: &Spanned<String>) -> Option<String> {
        let text = self.text(raw)?;
        let Some(path) = text.strip_prefix("file:") else {
            return Some(text);
        };
        let folder = self.path.parent().unwrap_or_else(|| Path::new("."));
        let path = folder.join(path);
        match read(&path, SECRET_BYTES_MAX) {
            Ok(held) => {
                self.note_content(key, held.as_bytes());
                self.secret_files.push((path, raw.referenced));
                Some(held.trim_end_matches(['\r', '\n']).to_owned())
            }
            Err(error) => {
                for problem in error.problems {
                    let message = format!("{}: {}", path.display(), problem.message);
                    self.problem(raw.referenced, message, "name a file that this user may read");
                }
                None
            }
        }
    }

    fn store(&mut self, raw: &Spanned<String>) -> Option<StoreLocation> {
        let text = Zeroizing::new(self.secret("control_plane.store", raw)?);
        let folder = self.path.parent().unwrap_or_else(|| Path::new("."));
        match StoreLocation::parse(&text, folder) {
            Ok(store) => Some(store),
            Err(error) => {
                self.problem(
                    raw.referenced,
                    error.to_string(),
                    "write sqlite:data/portcullis.db for a file in this folder; keep a password out of this file with ${NAME} or file:PATH",
                );
                None
            }
        }
    }

    pub(super) fn control_plane(
        &mut self,
        file: &file::ControlPlaneFile,
        fleet_max_age: Option<Duration>,
    ) -> Option<ControlPlane> {
        // Each key is checked before one that cannot be used ends this.
        let store = self.store(&file.store);
        let listen = self.listen_address(&file.listen);
        let tls = file.tls.as_ref().map(|tls| self.listener_tls(tls));
        let login = self.login(&file.login);
        let edges = file.edges.as_ref().map(|edges| self.edge_listener(edges));
        let public_url = file.public_url.as_ref().and_then(|raw| self.public_url(raw));
        let audience = file.audience.as_ref().and_then(|raw| {
            let audience = self.text(raw)?;
            if audience.is_empty() {
                self.problem(
                    raw.referenced,
                    "the audience is empty",
                    "write what `aud` of access tokens is to be, or leave the key out",
                );
            }
            Some(audience)
        });
        Some(ControlPlane {
            listen: listen?,
            tls,
            public_url,
            audience,
            resources: self.resources(&file.resources),
            assertion_lifetime_max: self.assertion_lifetime_max(file.assertion_lifetime_max.as_ref()),
            store: store?,
            signing: self.signing(&file.signing),
            leaked_tokens: self.leaked_tokens(&file.leaked_tokens),
            trusted_proxies: self.trusted_proxies(&file.trusted_proxies),
            limits: self.control_limits(&file.limits),
            audit_retention: self.audit_retention(&file.audit),
            login: login?,
            edges: all(edges)?,
            fleet_max_age,
        })
    }

    fn resources(&mut self, file: &[Spanned<String>]) -> Vec<String> {
        let mut resources = Vec::new();
        for raw in file {
            let Some(url) = self.text(raw) else { continue };
            let uri = url.parse::<http::Uri>().ok();
            if uri.is_none_or(|uri| uri.host().is_none() || uri.scheme().is_none() || has_user(&uri))
                || url.ends_with('/')
                || url.contains('#')
                || Audience::parse(&url).is_err()
            {
                self.problem(
                    raw.referenced,
                    "the resource is not the public URL of a gateway",
                    "write https://events.example.com, without a user, a fragment and a slash at its end",
                );
            }
            resources.push(url);
        }
        resources
    }

    fn assertion_lifetime_max(&mut self, file: Option<&Spanned<file::Duration>>) -> Duration {
        let Some(raw) = file else {
            return Duration::from_secs(ASSERTION_LIFETIME_MAX_S);
        };
        if !(ASSERTION_LIFETIME_LEAST..=ASSERTION_LIFETIME_MOST).contains(&raw.value.0) {
            self.problem(
                raw.referenced,
                "the value is out of range",
                "write 1m to 1d; released SDKs use one minute, some libraries an hour",
            );
        }
        raw.value.0
    }

    fn public_url(&mut self, raw: &Spanned<String>) -> Option<String> {
        let url = self.text(raw)?;
        let uri = url.parse::<http::Uri>().ok();
        let has_host = uri.is_some_and(|uri| uri.host().is_some_and(|host| !host.is_empty()));
        if !has_host || !is_issuer_url(&url) {
            self.problem(
                raw.referenced,
                "the public URL cannot be an issuer",
                "write https://auth.example.com, without user, query, fragment or a slash at the end",
            );
        }
        Some(url)
    }

    fn control_limits(&mut self, file: &ControlLimitsFile) -> ControlLimits {
        let default = ControlLimits::default();
        let held_bytes = self.held_bytes(file.held_bytes.as_ref(), default.held_bytes, HELD_BYTES_MIN);
        // An eighth, and always room for the largest requests.
        let share = (held_bytes / 8).max(SHARE_BYTES_MIN);
        let share = self.held_bytes(file.held_bytes_per_client.as_ref(), share, SHARE_BYTES_MIN);
        let (connections, connections_per_client) = self.connection_limits(
            file.connections.as_ref(),
            file.connections_per_client.as_ref(),
            default.connections,
        );
        let header_timeout = self.timeout(file.header_timeout.as_ref(), default.header_timeout);
        ControlLimits {
            held_bytes,
            held_bytes_per_client: share,
            token_app: self.rate(file.token_app.as_ref(), default.token_app),
            token_address: self.rate(file.token_address.as_ref(), default.token_address),
            api_account: self.rate(file.api_account.as_ref(), default.api_account),
            api_address: self.rate(file.api_address.as_ref(), default.api_address),
            changes_manager: self.rate(file.changes_manager.as_ref(), default.changes_manager),
            changes_member: self.rate(file.changes_member.as_ref(), default.changes_member),
            connections,
            connections_per_client,
            header_timeout,
        }
    }

    fn held_bytes(&mut self, file: Option<&Spanned<Size>>, default: usize, least: usize) -> usize {
        let Some(raw) = file else { return default };
        if raw.value.0 < least {
            self.problem(
                raw.referenced,
                "the value is too small for the largest requests",
                format!("write {}MiB or more", least >> 20),
            );
        }
        raw.value.0
    }

    fn rate(&mut self, file: Option<&RateFile>, default: Rate) -> Rate {
        let Some(file) = file else { return default };
        if !(BURST_MIN..=RATE_MAX).contains(&file.burst.value) {
            self.problem(
                file.burst.referenced,
                format!("the burst is out of range; below {BURST_MIN} it would refuse what released SDKs send at once"),
                format!("write {BURST_MIN} to {RATE_MAX}"),
            );
        }
        if !(1..=RATE_MAX).contains(&file.per_second.value) {
            self.problem(
                file.per_second.referenced,
                "the rate is out of range",
                "write 1 to 1000000 requests per second",
            );
        }
        Rate {
            burst: file.burst.value,
            per_second: file.per_second.value,
        }
    }

    /// The proxies whose forwarding headers are believed, and which have no limits of their own.
    pub(super) fn trusted_proxies(&mut self, file: &[Spanned<String>]) -> Vec<Network> {
        let networks = self.networks(file);
        for (raw, network) in file.iter().zip(&networks) {
            if networks.len() == file.len() && network.is_wide() {
                self.warning(
                    PROXIES_EVERYWHERE,
                    Some((raw.referenced.line(), raw.referenced.column())),
                    format!("`trusted_proxies` has `{network}`: clients there may claim any address, and no limit counts their connections"),
                    "list the addresses of your load balancers alone",
                );
            }
        }
        networks
    }

    pub(super) fn networks(&mut self, file: &[Spanned<String>]) -> Vec<Network> {
        let mut networks = Vec::new();
        for raw in file {
            let Some(text) = self.text(raw) else { continue };
            match Network::parse(&text) {
                Ok(network) => networks.push(network),
                Err(error) => self.problem(
                    raw.referenced,
                    format!("`{}` {error}", shown(raw)),
                    "write an address or a network, such as 10.0.0.0/8 or fd00::/8",
                ),
            }
        }
        networks
    }
}
