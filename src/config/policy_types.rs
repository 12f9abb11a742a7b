//! Where the policy comes from, in this process or from another one.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use super::authorities::Authorities;
use super::tls_types::ListenerTls;

/// Where the policy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyOrigin {
    /// The control plane in this process.
    Bundled,
    /// A YAML file, read again when it changes.
    File(PathBuf),
    /// Control planes in other processes.
    Remote(RemotePolicy),
}

/// How an edge reaches its control planes, and where it keeps what it must not lose.
#[derive(Clone, PartialEq, Eq)]
pub struct RemotePolicy {
    /// Base URLs of edge listeners.
    pub control_planes: Vec<String>,
    /// The folder with the edge's identity and its last good policy.
    pub state: PathBuf,
    /// What enrols the edge on its first start; not read once it has an identity.
    pub join: Option<Zeroizing<String>>,
    /// Certificate authorities for the control planes, a PEM file; the system's without one.
    pub ca: Option<Authorities>,
}

impl fmt::Debug for RemotePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemotePolicy")
            .field("control_planes", &self.control_planes)
            .field("state", &self.state)
            .field("ca", &self.ca)
            .finish_non_exhaustive()
    }
}

/// The listener that edges connect to.
#[derive(Clone, Debug)]
pub struct EdgeListener {
    pub listen: String,
    pub tls: Option<ListenerTls>,
    /// Connections of all edges together.
    pub connections: usize,
    /// Snapshots served at once.
    pub downloads: usize,
    /// How often an edge and the control plane hear from each other, at least.
    pub heartbeat: Duration,
}
