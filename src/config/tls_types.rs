//! TLS in the config: certificates and keys.

use std::path::PathBuf;

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// Certificate chain and private key, PEM files. The first serves clients whose name fits none.
    pub certificates: Vec<(PathBuf, PathBuf)>,
    /// Client certificates must be signed by one of these, when set.
    pub client_ca: Option<PathBuf>,
}
