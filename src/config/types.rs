//! The typed config.

use super::api_types::{ApiPath, Cors};
use super::authorities::Authorities;
use super::keys::Keys;
use super::login_types::Login;
use super::outside_issuer::OutsideIssuer;
use super::policy_types::{EdgeListener, PolicyOrigin};
use super::problem::Problem;
use super::tls_types::ListenerTls;
use super::yaml::document::Places;
use crate::domain::sealing::EncryptionKey;

use crate::domain::access_token::TOKEN_BYTES_MAX;
use crate::domain::facts::UnknownSources;
use crate::domain::facts::WithoutToken;
use crate::domain::key::Algorithm;
use crate::domain::network::Network;
use crate::domain::policy::Freshness;
use crate::domain::scope::Scope;
use crate::store_location::StoreLocation;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A whole config.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from; relative paths in it are relative to this file's folder.
    pub path: PathBuf,
    pub gateway: Option<Gateway>,
    pub policy: PolicyOrigin,
    pub freshness: Freshness,
    pub issuers: Vec<OutsideIssuer>,
    pub control_plane: Option<ControlPlane>,
    pub observability: Observability,
    pub log: Log,
    pub shutdown: Shutdown,
    /// Where `serve --upgrade` takes the sockets over; without it there is no such thing.
    pub upgrade_socket: Option<PathBuf>,
    /// Where commands reach the running process.
    pub admin_socket: Option<PathBuf>,
    /// The file's keys, to tell what a reload changes.
    pub keys: Keys,
    /// Where the value of each key stands in the file.
    pub places: Places,
    /// What the operator should know about the file.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Lets clients request tokens for the gateway of the same process by its public URL.
    pub(super) fn add_own_resource(&mut self) {
        let url = self
            .gateway
            .as_ref()
            .and_then(|gateway| gateway.public_url.clone());
        if let (Some(control_plane), Some(url)) = (&mut self.control_plane, url)
            && !control_plane.resources.contains(&url)
        {
            control_plane.resources.push(url);
        }
    }
}

/// How a process ends, and how a listener does that was taken out of the config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long `/readyz` says that the process is ending before listeners close.
    pub delay: Duration,
    /// How long connections may take to end by themselves; what is left then is cut.
    pub drain_timeout: Duration,
    /// How long after its last answer a kept connection may ask once more, and have its last. One that was
    /// silent for longer is closed at once.
    pub idle_grace: Duration,
}

/// The data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Threads that serve requests.
    pub workers: usize,
    pub listeners: Vec<Listener>,
    pub apis: Vec<Api>,
    pub upstreams: BTreeMap<String, Upstream>,
    pub limits: Limits,
    /// Load balancers: peers whose forwarding headers and PROXY headers are believed. They have no connection limit of
    /// their own.
    pub trusted_proxies: Vec<Network>,
    /// Scheme and authority under which clients reach the gateway, without a slash at the end.
    pub public_url: Option<String>,
    /// Verified signatures kept.
    pub token_cache_entries: u64,
}

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// `host:port`; port 0 takes any free one.
    pub address: String,
    pub tls: Option<ListenerTls>,
    pub proxy_protocol: ProxyProtocol,
}

/// Whether connections to a listener begin with a PROXY header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyProtocol {
    #[default]
    Off,
    /// Each connection must come from a trusted proxy and begin with a header of version 1 or 2.
    Require,
}

/// One API behind the gateway: which requests belong to it and what they need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// The metric label and log field.
    pub name: String,
    /// Host names without port, lower case; `*` is any.
    pub hosts: Vec<String>,
    pub paths: Vec<ApiPath>,
    pub scope: Scope,
    pub identify: Vec<Identify>,
    pub upstream: String,
    pub unknown_sources: UnknownSources,
    pub without_token: WithoutToken,
    /// 401, or 511 for the reasons that a new token would cure.
    pub reauthenticate_status: u16,
    pub forward_token: bool,
    /// Which origins may read the responses; `None` for none.
    pub cors: Option<Cors>,
    pub error_form: ErrorForm,
}

/// How an API's denials are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorForm {
    /// `{"error","error_description","reason","request_id","code","message"}`.
    OAuth,
    /// `{"errors":[{"type","message"}]}`, as the Public API writes its own.
    PublicApi,
}

/// A place where a request may name its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identify {
    /// The user of HTTP Basic.
    Basic,
    /// The member `writeKey` of a JSON body.
    Body,
    /// A query parameter.
    Query(String),
    /// A header, lower case.
    Header(String),
    /// The query of an image request: `data`, base64 of a JSON object with a `writeKey`, or `writeKey`.
    Pixel,
    /// The token alone; no source is looked for.
    Token,
}

/// A pool of servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// `host:port` each.
    pub servers: Vec<String>,
    pub tls: Option<UpstreamTls>,
    /// Speak HTTP/2 to the servers (over TLS by ALPN, else with prior knowledge).
    pub http2: bool,
    pub health_check: Option<HealthCheck>,
    pub timeouts: Timeouts,
}

/// TLS towards a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The name asked for and verified; never empty, since an empty one would switch verification off.
    pub sni: String,
    /// PEM bundle to trust in place of the system's.
    pub ca: Option<Authorities>,
}

/// How servers are probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// GET this path and expect 200; `None` only connects.
    pub path: Option<String>,
    /// `Host` of the probe; `None` is the server's own name.
    pub host: Option<String>,
    pub interval: Duration,
    pub timeout: Duration,
    pub healthy_after: usize,
    pub unhealthy_after: usize,
}

/// Time-outs towards a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    /// Between two reads.
    pub read: Duration,
    /// Between two writes.
    pub write: Duration,
    /// How long an unused connection is kept.
    pub idle: Duration,
}

/// What one request, one connection and all of them together may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From accepting a connection to the end of its TLS handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a request to the end of its headers.
    pub header_timeout: Duration,
    /// From the end of the headers to the end of the body.
    pub body_timeout: Duration,
    /// Between two requests on one connection.
    pub idle_timeout: Duration,
    /// All header names and values together.
    pub header_bytes: usize,
    pub headers: usize,
    /// The longest access token.
    pub token_bytes: usize,
    pub body_bytes: usize,
    /// All bodies held at one moment together.
    pub held_bytes: usize,
    /// Of them those of one client's address.
    pub held_bytes_per_client: usize,
    /// Connections of all clients together.
    pub connections: usize,
    /// Of them those of one client: an address, or the /64 of an IPv6 one.
    pub connections_per_client: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            header_bytes: 32 << 10,
            headers: 100,
            token_bytes: TOKEN_BYTES_MAX,
            body_bytes: 1 << 20,
            held_bytes: 256 << 20,
            held_bytes_per_client: 64 << 20,
            connections: 10_000,
            connections_per_client: 2_500,
        }
    }
}

/// The control plane.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    pub listen: String,
    /// TLS of the listener; without it, plain HTTP.
    pub tls: Option<ListenerTls>,
    /// The issuer, and the base of what the metadata names. Without one, the scheme of the listener and its address.
    pub public_url: Option<String>,
    /// `aud` of access tokens.
    pub audience: Option<String>,
    /// Public URLs of gateways: what clients may name as `resource` (RFC 8707).
    pub resources: Vec<String>,
    /// The longest lifetime of a client assertion.
    pub assertion_lifetime_max: Duration,
    pub store: StoreLocation,
    pub signing: Signing,
    pub leaked_tokens: LeakedTokens,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    pub limits: ControlLimits,
    /// How long events stay in the audit trail.
    pub audit_retention: Duration,
    pub login: Login,
    /// Where edges connect; none without edges.
    pub edges: Option<EdgeListener>,
    /// How long an edge may go without proving that its policy is current: `policy.max_age`, if it is set.
    pub fleet_max_age: Option<Duration>,
}

/// Metrics, health and logs.
#[derive(Clone, Debug)]
pub struct Observability {
    pub listen: Option<String>,
    /// TLS of the listener; without it, plain HTTP.
    pub tls: Option<ListenerTls>,
    /// `None` turns it off.
    pub access_log: Option<AccessLog>,
}

/// The gateway's log of requests.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    pub format: LogFormat,
    /// The share of allowed requests that is logged, 0 to 1. All others are logged always.
    pub sample_allowed: f64,
    /// Where it is written; standard output unless set.
    pub file: Option<PathBuf>,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            format: LogFormat::Json,
            sample_allowed: 1.0,
            file: None,
        }
    }
}

/// The log of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    pub level: LogLevel,
    pub format: LogFormat,
}

/// The least severe records that are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// Every level, the most severe first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The word in the config and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// How often something may happen: `burst` times at once, then `per_second`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub burst: u32,
    pub per_second: u32,
}

/// How often the control plane may be asked, and over how many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlLimits {
    /// Token requests of one app, counted once its assertion is proved.
    pub token_app: Rate,
    /// Token requests of one address that prove no app.
    pub token_address: Rate,
    /// Management requests of one person.
    pub api_account: Rate,
    /// Management requests of one address without good credentials.
    pub api_address: Rate,
    /// Bytes that all requests in progress and responses not yet read hold together.
    pub held_bytes: usize,
    /// Of them those of one client: an address, or an IPv6 network of 64 bits.
    pub held_bytes_per_client: usize,
    /// Changes of one person whose roles let them change apps, sources or members, or of one app.
    pub changes_manager: Rate,
    /// Changes of one person who may change only their own API tokens and sessions.
    pub changes_member: Rate,
    /// Connections of all clients together.
    pub connections: usize,
    /// Of them those of one client: an address, or the /64 of an IPv6 one.
    pub connections_per_client: usize,
    /// How long a request's head may take to arrive.
    pub header_timeout: Duration,
}

impl Default for ControlLimits {
    fn default() -> Self {
        let rate = |burst, per_second| Rate { burst, per_second };
        Self {
            token_app: rate(1_000, 100),
            token_address: rate(500, 20),
            api_account: rate(2_000, 200),
            api_address: rate(500, 20),
            held_bytes: 128 << 20,
            held_bytes_per_client: 16 << 20,
            changes_manager: rate(2_000, 50),
            changes_member: rate(60, 1),
            connections: 1_024,
            connections_per_client: 256,
            header_timeout: Duration::from_secs(30),
        }
    }
}

/// How our own signing keys are rotated and kept.
#[derive(Clone, Debug)]
pub struct Signing {
    /// What new keys sign with.
    pub algorithm: Algorithm,
    /// How long a key signs, in seconds.
    pub rotate_every_s: u64,
    /// How long a key is published before it signs, in seconds: longer than anybody keeps a key set.
    pub publish_ahead_s: u64,
    /// What the private keys are encrypted with in the store; without one they stand there in the clear.
    pub key_encryption_key: Option<EncryptionKey>,
    /// What they were encrypted with before, for the start after it was replaced.
    pub previous_key_encryption_key: Option<EncryptionKey>,
}

impl Default for Signing {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::Rs256,
            rotate_every_s: 30 * 86_400,
            publish_ahead_s: 600,
            key_encryption_key: None,
            previous_key_encryption_key: None,
        }
    }
}

/// Who may report leaked tokens, besides their owners.
#[derive(Clone, Debug, Default)]
pub struct LeakedTokens {
    /// Where GitHub publishes the keys that its reports are signed with; none turns the endpoint off.
    pub github_keys: Option<http::Uri>,
}
