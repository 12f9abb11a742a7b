//! Edges: enrolled gateways, and the processes that run as one.

use crate::domain::ids::EdgeId;
use crate::domain::name::Name;
use crate::domain::time::UnixSeconds;

/// An enrolled gateway: a name and a key pair; the control plane has the public half.
#[derive(Clone, Debug)]
pub struct Edge {
    pub id: EdgeId,
    pub name: Name,
    /// Ed25519, 32 bytes in base64url.
    pub public_key: String,
    /// The key that replaces it, until it is used for the first time.
    pub next_key: Option<String>,
    /// Whether the edge is asked for a new key.
    pub rotate: bool,
    pub created_at: UnixSeconds,
    pub revoked_at: Option<UnixSeconds>,
}

/// What every control plane on one store tells its gateways alike. What is none was never set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetSettings {
    /// `aud` of access tokens.
    pub audience: Option<String>,
    /// How long a gateway may go without proving that its policy is current, in seconds.
    pub max_age_s: Option<u64>,
}

/// A running process of an edge, as the control plane that serves it wrote it down.
#[derive(Clone, Debug)]
pub struct EdgeInstance {
    /// 16 random bytes in base64url, made by the process.
    pub id: String,
    pub edge: EdgeId,
    /// The control plane that it was last connected to: an id of that process.
    pub control_plane: String,
    /// Its version of this software.
    pub build: String,
    /// The policy version in force there; 0 before the first.
    pub version: u64,
    pub heard_at: UnixSeconds,
    /// No earlier than its lease ends.
    pub lapses_at: UnixSeconds,
    /// Whether it goes on accepting when its policy is stale (`when_stale: allow`).
    pub unbounded: bool,
    /// Why it refused the last update, where it did.
    pub refused: Option<String>,
}
