//! Warnings: a config that can be used, and is probably not what its author wants.
//!
//! A code stays with its meaning. docs/reference/config.md lists them.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use super::check::Check;
use super::outside_issuer::{ANY_TYPE, AUDIENCE_UNUSED, KeyOrigin, KeyPlace, NO_SCOPE, OutsideIssuer};
use super::policy_types::PolicyOrigin;
use super::types::{Config, ControlPlane, Gateway};
use crate::domain::facts::UnknownSources;
use crate::domain::policy::WhenStale;

/// Every warning of a config, with what it says: for the reference.
pub const WARNINGS: [(u16, &str); 15] = [
    (
        PLAIN_LISTENER,
        "A listener without TLS is reachable from other machines.",
    ),
    (
        UNKNOWN_FORWARDED,
        "`unknown_sources: forward`: requests with a write key that no source has are forwarded.",
    ),
    (
        STALE_ALLOWED,
        "`when_stale: allow`: requests are allowed by a policy that may miss revocations.",
    ),
    (
        ANY_TYPE,
        "`typ: [\"*\"]`: every token of the issuer is accepted as an access token, also an ID token.",
    ),
    (
        READABLE_SECRET,
        "A file with a secret is readable by every user of this machine.",
    ),
    (UNUSED_UPSTREAM, "No API uses the upstream."),
    (
        REVOCATION_UNKNOWN,
        "The policy is a file: what an issuer revokes does not reach this gateway.",
    ),
    (EXPIRED, "A certificate has expired or is not valid yet."),
    (EXPIRES_SOON, "A certificate expires within 14 days."),
    (KEYS_IN_CLEAR, "The signing keys are not encrypted in the store."),
    (
        PLAIN_PUBLIC_URL,
        "`public_url` is `http://` on another machine than this one.",
    ),
    (
        NO_SCOPE,
        "Tokens of the issuer's profile have no scope, so none is accepted.",
    ),
    (
        AUDIENCE_UNUSED,
        "Tokens of the issuer's profile have no audience, so `audience` is not checked.",
    ),
    (
        KEYS_NOT_FETCHED,
        "`check --online` could not fetch the keys of an issuer, or the set has no usable key.",
    ),
    (
        PROXIES_EVERYWHERE,
        "`trusted_proxies` has a network wider than any private one: every client there may claim any address.",
    ),
];

const PLAIN_LISTENER: u16 = 1;
const UNKNOWN_FORWARDED: u16 = 2;
const STALE_ALLOWED: u16 = 3;
const READABLE_SECRET: u16 = 5;
const UNUSED_UPSTREAM: u16 = 6;
const REVOCATION_UNKNOWN: u16 = 7;
/// A certificate has expired or is not valid yet.
pub const EXPIRED: u16 = 8;
/// A certificate expires within 14 days.
pub const EXPIRES_SOON: u16 = 9;
const KEYS_IN_CLEAR: u16 = 10;
const PLAIN_PUBLIC_URL: u16 = 11;

/// The keys of an issuer could not be fetched.
pub const KEYS_NOT_FETCHED: u16 = 14;

/// `trusted_proxies` has a network wider than any private one.
pub const PROXIES_EVERYWHERE: u16 = 15;

/// The path under which portcullis and many other issuers publish their keys.
const JWKS_PATH: &str = "/.well-known/jwks.json";

impl Check<'_> {
    /// Adds the warnings of a config.
    pub(super) fn warnings(&mut self, config: &Config) {
        if let Some(gateway) = &config.gateway {
            self.gateway_warnings(config, gateway);
        }
        if let Some(control) = &config.control_plane {
            self.control_warnings(config, control);
        }
        if config.freshness.when_stale == WhenStale::Allow {
            self.warning(
                STALE_ALLOWED,
                config.places.get("policy.when_stale"),
                "with `when_stale: allow` the gateway allows requests by a policy that may miss revocations",
                "write `deny`, unless availability matters more than revocation",
            );
        }
        for (at, issuer) in config.issuers.iter().enumerate() {
            self.issuer_warnings(config, &format!("issuers[{at}]"), issuer);
        }
        for (path, place) in std::mem::take(&mut self.secret_files) {
            let is_open = std::fs::metadata(&path).is_ok_and(|held| held.permissions().mode() & 0o007 != 0);
            if is_open {
                self.warning(
                    READABLE_SECRET,
                    Some((place.line(), place.column())),
                    format!("{} is readable by every user of this machine", path.display()),
                    format!("chmod o= {}", path.display()),
                );
            }
        }
    }

    fn gateway_warnings(&mut self, config: &Config, gateway: &Gateway) {
        for (at, listener) in gateway.listeners.iter().enumerate() {
            if listener.tls.is_none() {
                let key = format!("gateway.listeners[{at}].address");
                self.plain_listener(config, &key, &listener.address);
            }
        }
        for api in &gateway.apis {
            if api.unknown_sources == UnknownSources::Forward {
                self.warning(
                    UNKNOWN_FORWARDED,
                    config
                        .places
                        .get(&format!("gateway.apis.{}.unknown_sources", api.name)),
                    format!(
                        "apis.{} forwards requests with a write key that no source has",
                        api.name
                    ),
                    "register every source, then write `deny`",
                );
            }
        }
        for name in gateway.upstreams.keys() {
            if !gateway.apis.iter().any(|api| api.upstream == *name) {
                self.warning(
                    UNUSED_UPSTREAM,
                    config.places.get(&format!("gateway.upstreams.{name}")),
                    format!("no API uses the upstream `{name}`"),
                    "remove it, or name it in `upstream:` of an API",
                );
            }
        }
    }

    fn plain_listener(&mut self, config: &Config, key: &str, address: &str) {
        if !is_local(address) {
            self.warning(
                PLAIN_LISTENER,
                config.places.get(key),
                format!("`{address}` is reachable from other machines without TLS: tokens and write keys pass in the clear"),
                "add `tls:`, or listen on 127.0.0.1 behind a proxy that speaks TLS",
            );
        }
    }

    fn control_warnings(&mut self, config: &Config, control: &ControlPlane) {
        if control.tls.is_none() {
            self.plain_listener(config, "control_plane.listen", &control.listen);
        }
        if control.signing.key_encryption_key.is_none() {
            self.warning(
                KEYS_IN_CLEAR,
                config.places.get("control_plane.signing"),
                "the signing keys are not encrypted in the store",
                "set `signing.key_encryption_key`; `openssl rand -base64 32` makes one",
            );
        }
        let public = control.public_url.as_deref();
        let host = public.and_then(|url| url.strip_prefix("http://"));
        let host = host.map(|rest| rest.split('/').next().unwrap_or(rest));
        if let Some(host) = host
            && !is_local(&format!("{host}:0"))
            && !is_local(host)
        {
            self.warning(
                PLAIN_PUBLIC_URL,
                config.places.get("control_plane.public_url"),
                "clients reach the token endpoint and the console at `public_url` without TLS",
                "write https://, with `tls:` or a proxy in front",
            );
        }
    }

    fn issuer_warnings(&mut self, config: &Config, key: &str, issuer: &OutsideIssuer) {
        for (code, text) in issuer.warnings() {
            let place = match code {
                ANY_TYPE => "typ",
                AUDIENCE_UNUSED => "audience",
                _ => "profile",
            };
            let (message, hint) = text.split_once("; ").unwrap_or((text, ""));
            self.warning(code, config.places.get(&format!("{key}.{place}")), message, hint);
        }
        let is_file = matches!(config.policy, PolicyOrigin::File(_));
        let publishes_as_we_do = matches!(
            &issuer.keys,
            KeyOrigin::Uri(keys) if matches!(&keys.place, KeyPlace::Uri(uri) if uri.path() == JWKS_PATH)
        );
        if is_file && publishes_as_we_do {
            self.warning(
                REVOCATION_UNKNOWN,
                config.places.get(&format!("{key}.issuer")),
                "the policy is a file, so a token that this issuer revokes stays valid here until it expires",
                "list revoked tokens under `revoked:` of the policy file, or take the policy from the control plane",
            );
        }
    }
}

/// Whether only this machine can reach an address.
fn is_local(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.eq_ignore_ascii_case("localhost")
        || format!("{host}:0")
            .parse::<SocketAddr>()
            .is_ok_and(|address| address.ip().is_loopback())
}
