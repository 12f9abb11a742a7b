//! The messages between an edge and its control plane: JSON over HTTP, and server-sent events.
//!
//! An edge joins once with a join token and its public key. It then opens a session by signing a nonce, which needs no
//! clock, follows `/changes`, and proves its freshness with beats.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::position::Position;
use crate::report::Report;
use crate::snapshot::{Changes, RevocationRecord};

/// Where the edge listener serves the protocol; the number rises with an incompatible change.
pub const ROOT: &str = "/edges/v1";

/// What every join token begins with.
pub const JOIN_TOKEN_PREFIX: &str = "pcj_";

/// What every session token begins with.
pub const SESSION_TOKEN_PREFIX: &str = "pcs_";

/// The header of a snapshot that names the position it leads to.
pub const POSITION_HEADER: &str = "x-portcullis-position";

/// The largest message but a snapshot, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// A secret in a message. It is never printed.
#[derive(Clone)]
pub struct SecretText(Zeroizing<String>);

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl SecretText {
    /// The secret, for the message alone.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

/// `POST /join`: enrols a key pair with a join token.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    pub token: SecretText,
    /// The public half of an Ed25519 key, 32 bytes in base64url.
    pub public_key: String,
}

/// The answer to [`Join`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Joined {
    pub edge: String,
    pub name: String,
}

/// `POST /nonces`: the answer is what the edge signs to open a session.
#[derive(Debug, Serialize, Deserialize)]
pub struct Nonce {
    pub nonce: String,
}

/// `POST /sessions`: opens a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenSession {
    pub edge: String,
    /// The running process: 16 random bytes in base64url.
    pub instance: String,
    pub nonce: String,
    /// Ed25519 over [`session_text`], in base64url.
    pub signature: String,
    /// The edge's version of this software.
    pub build: String,
    /// `policy.max_age` of the edge, in seconds.
    pub max_age_s: u64,
    /// Whether the edge goes on accepting without a fresh policy (`when_stale: allow`).
    pub unbounded: bool,
}

/// What an edge signs to open a session.
#[must_use]
pub fn session_text(edge: &str, instance: &str, nonce: &str) -> String {
    format!("portcullis edge session\n{edge}\n{instance}\n{nonce}")
}

/// The answer to [`OpenSession`].
#[derive(Debug, Serialize, Deserialize)]
pub struct SessionOpened {
    pub token: SecretText,
    /// How long the token is accepted, in seconds.
    pub expires_in_s: u64,
    /// The fleet's `max_age`, in seconds: the edge's own may be shorter, not longer.
    pub max_age_s: u64,
    pub heartbeat_ms: u64,
    /// Whether the operator asked for a new key pair.
    #[serde(default)]
    pub rotate_key: bool,
}

/// `POST /keys`: replaces the edge's public key; the old one is accepted until the new one was used.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    pub public_key: String,
}

/// `POST /beats`: asks whether the position in force is the newest.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beat {
    /// Counted by the instance, so that an answer is matched with its question.
    pub number: u64,
    /// What is in force, and on disk; none before the first policy.
    pub position: Option<Position>,
    /// Why the last update was refused, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// The answer to [`Beat`].
#[derive(Debug, Serialize, Deserialize)]
pub struct BeatAnswer {
    pub number: u64,
    /// The newest position that the control plane knows.
    pub newest: Position,
    /// How old that knowledge is, in milliseconds: from before the store was asked until the answer.
    pub age_ms: u64,
    /// The fleet's `max_age`, in seconds, by which this answer renews the lease. Where another one was named when the
    /// session was opened, the edge opens a new session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_s: Option<u64>,
}

/// `POST /reports`: what the edge counted. A report that was taken is answered 204; a number that was taken already is
/// answered so, too, and counts once.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumberedReport {
    pub number: u64,
    pub report: Report,
}

/// Revocations in one [`Denials`].
pub const DENIALS_MAX: usize = 1_000;

/// `POST /denials`: revocations that the edge knows, from an edge whose position is not in the control plane's feed. The
/// control plane commits those again that its database lost.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denials {
    pub revocations: Vec<RevocationRecord>,
}

/// One event of `GET /changes`, named `changes`: one version. The event named `snapshot` has no content: the edge
/// fetches `/snapshot` and follows again from there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeEvent {
    /// The position that these changes lead to.
    pub position: Position,
    pub changes: Changes,
}
