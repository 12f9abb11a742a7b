//! The wire form of what a gateway must know.

use super::key_set::Jwk;
use crate::domain::digest::ShortDigest;
use crate::domain::ids::WriteKeyDigest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Serialize;
use std::collections::BTreeMap;
use thiserror::Error;

/// The format this build writes and reads.
pub const FORMAT: u32 = 1;

/// What passes over the seam.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Update {
    /// Everything, as of one version.
    Snapshot(Box<Snapshot>),
    /// What one version changed against the version before it.
    Changes(Changes),
    /// The version is still the current one at this moment (Unix seconds).
    Confirmed { version: u64, at: u64 },
}

/// Everything a gateway must know, as of one version.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    pub format: u32,
    /// Rises by one with every change; never reused.
    pub version: u64,
    /// When the snapshot was true, Unix seconds.
    pub issued_at: u64,
    /// The control plane's own issuer; absent where tokens come from outside issuers only.
    pub issuer: Option<IssuerRecord>,
    pub apps: Vec<AppRecord>,
    /// The workspaces that there is something to say of. Left out while there are none, so that a gateway
    /// which does not know of them takes the snapshot, and refuses the one it could not enforce.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workspaces: Vec<WorkspaceRecord>,
    pub sources: Vec<SourceRecord>,
    pub revocations: Vec<RevocationRecord>,
}

/// What one version changed. The changes take effect together.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changes {
    /// The version that these changes lead to; they apply to the one before it and no other.
    pub version: u64,
    /// When the changes were made, Unix seconds.
    pub issued_at: u64,
    pub changes: Vec<Change>,
}

/// One change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    PutIssuer(IssuerRecord),
    PutApp(AppRecord),
    RemoveApp {
        id: String,
    },
    PutWorkspace(WorkspaceRecord),
    PutSource(SourceRecord),
    /// Also sent before a `PutSource` that gives a source another write key.
    RemoveSource {
        write_key_digest: String,
    },
    Revoke(RevocationRecord),
}

/// An issuer and the keys it signs with now, or signed with while tokens still live.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerRecord {
    pub issuer: String,
    pub audience: String,
    pub keys: Vec<Jwk>,
}

/// An OAuth app.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppRecord {
    pub id: String,
    pub workspace: String,
    /// The issuer whose tokens speak for the app.
    pub issuer: String,
    pub scopes: Vec<String>,
    /// Ids of the app's public keys; absent where the origin does not know them. The keys themselves stay
    /// with the control plane.
    #[serde(default)]
    pub keys: Option<Vec<String>>,
    /// Tokens issued before this moment (Unix seconds) are no longer accepted.
    #[serde(default)]
    pub not_issued_before: u64,
    /// The same for tokens that one key proved, by the key's id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keys_not_issued_before: BTreeMap<String, u64>,
}

/// A workspace whose tokens were ended all together.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceRecord {
    pub id: String,
    /// Tokens of any of its apps issued before this moment (Unix seconds) are no longer accepted.
    pub not_issued_before: u64,
}

/// A source.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRecord {
    pub id: String,
    pub workspace: String,
    /// [`digest_text`] of the write key: gateways never hold the key itself.
    pub write_key_digest: String,
    /// `off`, `observe` or `on`.
    pub enforcement: String,
    pub app: Option<String>,
}

/// One token that is no longer accepted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationRecord {
    pub issuer: String,
    pub token_id: String,
    /// When the token has expired, leeway included; the entry is kept until then (Unix
    /// seconds).
    pub expires_at: u64,
}

/// A snapshot or change that cannot be installed: which field, and what is wrong with it.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{field}: {problem}")]
pub struct InvalidSnapshot {
    pub field: String,
    pub problem: String,
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "callers hand over an error or a text alike"
)]
pub(crate) fn invalid(field: impl Into<String>, problem: impl ToString) -> InvalidSnapshot {
    InvalidSnapshot {
        field: field.into(),
        problem: problem.to_string(),
    }
}

/// The wire form of a write key's digest: base64url of 16 bytes.
#[must_use]
pub fn digest_text(digest: &WriteKeyDigest) -> String {
    URL_SAFE_NO_PAD.encode(digest.0.to_bytes())
}

pub(crate) fn parse_digest(text: &str) -> Option<WriteKeyDigest> {
    let bytes: [u8; 16] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    Some(WriteKeyDigest(ShortDigest::from_bytes(bytes)))
}

/// Tolerated difference, in seconds, between the clocks of the control plane and of its gateways.
pub const OWN_LEEWAY_S: u64 = 5;
