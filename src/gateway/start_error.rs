//! Why the gateway cannot start.

use super::link::jwks::KeySetError;
use crate::config::ConfigError;
use crate::tls::certificates::TlsError;
use thiserror::Error;

/// Why the gateway cannot start, or cannot be changed.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {problem}")]
    Listen {
        address: String,
        problem: String,
        /// Whether the same address may be free, or known, later.
        can_pass: bool,
    },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("issuer `{issuer}`: {error}")]
    Keys { issuer: String, error: KeySetError },
    #[error("{0}")]
    Policy(#[from] ConfigError),
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("the access log cannot be started: {0}")]
    AccessLog(std::io::Error),
    #[error("a thread or socket cannot be set up: {0}")]
    System(#[from] std::io::Error),
}
