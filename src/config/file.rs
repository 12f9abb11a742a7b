//! The types that a file is read into: every key, optional where it has a default.
//!
//! Unknown and repeated keys are errors of the reader. [`super::load`] decides what a value means. A value that a
//! check may reject has its place.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::api_file::ApiPathFile;
pub use super::quantities::{Duration, Size};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub version: Spanned<u32>,
    pub gateway: Option<GatewayFile>,
    #[serde(default)]
    pub policy: PolicyFile,
    #[serde(default)]
    pub issuers: Vec<IssuerFile>,
    pub control_plane: Option<ControlPlaneFile>,
    #[serde(default)]
    pub observability: ObservabilityFile,
    #[serde(default)]
    pub log: LogFile,
    #[serde(default)]
    pub shutdown: ShutdownFile,
    #[serde(default)]
    pub upgrade: UpgradeFile,
    #[serde(default)]
    pub admin: AdminFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminFile {
    pub socket: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpgradeFile {
    pub socket: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogFile {
    pub level: Option<Spanned<String>>,
    pub format: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShutdownFile {
    pub delay: Option<Spanned<Duration>>,
    pub drain_timeout: Option<Spanned<Duration>>,
    pub idle_grace: Option<Spanned<Duration>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayFile {
    pub workers: Option<Spanned<usize>>,
    pub listeners: Spanned<Vec<ListenerFile>>,
    pub apis: Spanned<BTreeMap<String, ApiFile>>,
    pub upstreams: BTreeMap<String, UpstreamFile>,
    #[serde(default)]
    pub limits: LimitsFile,
    #[serde(default)]
    pub trusted_proxies: Vec<Spanned<String>>,
    pub token_cache: Option<Spanned<u64>>,
    pub public_url: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerFile {
    pub address: Spanned<String>,
    pub tls: Option<ListenerTlsFile>,
    pub proxy_protocol: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerTlsFile {
    pub certificates: Spanned<Vec<CertificateFile>>,
    pub client_ca: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFile {
    pub cert: Spanned<String>,
    pub key: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiFile {
    pub hosts: Spanned<Vec<Spanned<String>>>,
    pub paths: Spanned<Vec<Spanned<ApiPathFile>>>,
    pub scope: Spanned<String>,
    pub identify: Spanned<Vec<Spanned<String>>>,
    pub upstream: Spanned<String>,
    pub unknown_sources: Option<Spanned<String>>,
    pub without_token: Option<Spanned<String>>,
    /// Accepts that requests without a token reach servers which another API guards.
    #[serde(default)]
    pub shares_upstream: bool,
    pub reauthenticate_status: Option<Spanned<u16>>,
    #[serde(default)]
    pub forward_token: bool,
    pub cors: Option<CorsFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorsFile {
    pub origins: Spanned<Vec<Spanned<String>>>,
    pub credentials: Option<Spanned<bool>>,
    pub max_age: Option<Spanned<Duration>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamFile {
    pub servers: Spanned<Vec<Spanned<String>>>,
    pub tls: Option<UpstreamTlsFile>,
    pub http2: Option<bool>,
    pub health_check: Option<HealthCheckFile>,
    #[serde(default)]
    pub timeouts: TimeoutsFile,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTlsFile {
    pub sni: Spanned<String>,
    pub ca: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheckFile {
    pub path: Option<Spanned<String>>,
    pub host: Option<Spanned<String>>,
    pub interval: Option<Spanned<Duration>>,
    pub timeout: Option<Spanned<Duration>>,
    pub healthy_after: Option<Spanned<usize>>,
    pub unhealthy_after: Option<Spanned<usize>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeoutsFile {
    pub connect: Option<Spanned<Duration>>,
    pub read: Option<Spanned<Duration>>,
    pub write: Option<Spanned<Duration>>,
    pub idle: Option<Spanned<Duration>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsFile {
    pub handshake_timeout: Option<Spanned<Duration>>,
    pub header_timeout: Option<Spanned<Duration>>,
    pub body_timeout: Option<Spanned<Duration>>,
    pub idle_timeout: Option<Spanned<Duration>>,
    pub header_bytes: Option<Spanned<Size>>,
    pub headers: Option<Spanned<usize>>,
    pub token_bytes: Option<Spanned<Size>>,
    pub body_bytes: Option<Spanned<Size>>,
    pub held_bytes: Option<Spanned<Size>>,
    pub held_bytes_per_client: Option<Spanned<Size>>,
    pub connections: Option<Spanned<usize>>,
    pub connections_per_client: Option<Spanned<usize>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    pub source: Option<Spanned<String>>,
    pub file: Option<Spanned<String>>,
    pub control_planes: Option<Spanned<Vec<Spanned<String>>>>,
    pub state: Option<Spanned<String>>,
    pub join: Option<Spanned<String>>,
    pub ca: Option<Spanned<String>>,
    pub max_age: Option<Spanned<Duration>>,
    pub when_stale: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgesFile {
    pub listen: Spanned<String>,
    pub tls: Option<ListenerTlsFile>,
    pub connections: Option<Spanned<usize>>,
    pub downloads: Option<Spanned<usize>>,
    pub heartbeat: Option<Spanned<Duration>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerFile {
    pub issuer: Spanned<String>,
    pub profile: Option<Spanned<String>>,
    #[serde(default)]
    pub claims: ClaimsFile,
    pub jwks_uri: Option<Spanned<String>>,
    pub jwks_file: Option<Spanned<String>>,
    pub discovery: Option<Spanned<bool>>,
    pub ca: Option<Spanned<String>>,
    pub jwks_bytes: Option<Spanned<Size>>,
    pub jwks_keys: Option<Spanned<usize>>,
    pub algorithms: Option<Spanned<Vec<Spanned<String>>>>,
    pub audience: Option<Spanned<Vec<Spanned<String>>>>,
    pub typ: Option<Spanned<Vec<Spanned<String>>>>,
    pub leeway: Option<Spanned<Duration>>,
    pub lifetime_max: Option<Spanned<Duration>>,
    pub refresh: Option<Spanned<Duration>>,
    pub fetch_timeout: Option<Spanned<Duration>>,
    pub cooldown: Option<Spanned<Duration>>,
    pub wait: Option<Spanned<Duration>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimsFile {
    pub app: Option<Spanned<NamesOrNone>>,
    pub scope: Option<Spanned<NamesOrNone>>,
    pub token_id: Option<Spanned<NamesOrNone>>,
    pub audience: Option<Spanned<NamesOrNone>>,
}

/// A list of claim names, one name, or the word `none`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum NamesOrNone {
    Word(String),
    Names(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlPlaneFile {
    pub listen: Spanned<String>,
    pub tls: Option<ListenerTlsFile>,
    pub public_url: Option<Spanned<String>>,
    pub audience: Option<Spanned<String>>,
    #[serde(default)]
    pub resources: Vec<Spanned<String>>,
    pub assertion_lifetime_max: Option<Spanned<Duration>>,
    pub store: Spanned<String>,
    #[serde(default)]
    pub signing: SigningFile,
    #[serde(default)]
    pub leaked_tokens: LeakedTokensFile,
    #[serde(default)]
    pub trusted_proxies: Vec<Spanned<String>>,
    #[serde(default)]
    pub limits: ControlLimitsFile,
    #[serde(default)]
    pub audit: AuditFile,
    #[serde(default)]
    pub login: LoginFile,
    pub edges: Option<EdgesFile>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditFile {
    pub retention: Option<Spanned<Duration>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginFile {
    pub passwords: Option<Spanned<String>>,
    #[serde(default)]
    pub session: SessionFile,
    pub oidc: Option<OidcFile>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionFile {
    pub lifetime: Option<Spanned<Duration>>,
    pub idle: Option<Spanned<Duration>>,
}

/// It has no `Debug` of its own that shows the secret: a config error names the place, never the value.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcFile {
    pub issuer: Spanned<String>,
    pub client_id: Spanned<String>,
    pub client_secret: Spanned<String>,
    pub scopes: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    pub domains: Vec<Spanned<String>>,
    #[serde(default)]
    pub networks: Vec<Spanned<String>>,
}

impl fmt::Debug for OidcFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcFile")
            .field("issuer", &self.issuer.value)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlLimitsFile {
    pub token_app: Option<RateFile>,
    pub token_address: Option<RateFile>,
    pub api_account: Option<RateFile>,
    pub api_address: Option<RateFile>,
    pub held_bytes: Option<Spanned<Size>>,
    pub held_bytes_per_client: Option<Spanned<Size>>,
    pub changes_manager: Option<RateFile>,
    pub changes_member: Option<RateFile>,
    pub connections: Option<Spanned<usize>>,
    pub connections_per_client: Option<Spanned<usize>>,
    pub header_timeout: Option<Spanned<Duration>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateFile {
    pub burst: Spanned<u32>,
    pub per_second: Spanned<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningFile {
    pub algorithm: Option<Spanned<String>>,
    pub rotate_every: Option<Spanned<Duration>>,
    pub publish_ahead: Option<Spanned<Duration>>,
    pub key_encryption_key: Option<Spanned<String>>,
    pub previous_key_encryption_key: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeakedTokensFile {
    pub github: Option<GithubFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GithubFile {
    pub keys_url: Spanned<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservabilityFile {
    pub listen: Option<Spanned<String>>,
    pub tls: Option<ListenerTlsFile>,
    #[serde(default)]
    pub access_log: AccessLogFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessLogFile {
    pub enabled: Option<bool>,
    pub format: Option<Spanned<String>>,
    pub sample_allowed: Option<Spanned<f64>>,
    pub file: Option<Spanned<String>>,
}

/// The shape of `policy.source: file`'s own file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyDocument {
    #[serde(default)]
    pub apps: Vec<PolicyAppFile>,
    #[serde(default)]
    pub sources: Vec<PolicySourceFile>,
    #[serde(default)]
    pub revoked: Vec<Spanned<RevokedFile>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyAppFile {
    pub id: Spanned<String>,
    /// For the reader of the file; decisions do not look at it.
    #[allow(dead_code, reason = "a place for a person's words, checked to be a text")]
    pub name: Option<String>,
    pub issuer: Option<Spanned<String>>,
    pub workspace: Spanned<String>,
    pub scopes: Spanned<Vec<Spanned<String>>>,
    /// Ids of the app's keys that may prove a token (`client_key_id`). Without the list, any key may.
    pub keys: Option<Vec<Spanned<String>>>,
    pub not_issued_before: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySourceFile {
    pub id: Spanned<String>,
    #[allow(dead_code, reason = "a place for a person's words, checked to be a text")]
    pub name: Option<String>,
    pub workspace: Spanned<String>,
    #[allow(dead_code, reason = "a place for a person's words, checked to be a text")]
    pub kind: Option<String>,
    pub write_key: Spanned<SecretText>,
    pub app: Option<Spanned<String>>,
    pub enforcement: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedFile {
    /// The complete token; it says the rest.
    pub token: Option<Spanned<SecretText>>,
    pub issuer: Option<Spanned<String>>,
    pub jti: Option<Spanned<String>>,
    pub expires_at: Option<Spanned<u64>>,
}

/// A text that must not be printed.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}
