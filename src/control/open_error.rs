//! Why a control plane cannot start.

use super::error::ControlError;
use super::error::UnreadableKey;
use crate::store::StoreError;
use thiserror::Error;

/// Why a control plane cannot start.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error(
        "the public URL `{0}` cannot be an issuer; write it as https://host[:port][/path], without trailing slash, query or fragment"
    )]
    PublicUrl(String),
    #[error("the audience of access tokens is empty")]
    Audience,
    #[error(
        "control_plane.audience is `{config}`, and this store has `{stored}`; leave it out of the config, or run: portcullis admin fleet set --config FILE --audience {config}"
    )]
    OtherAudience { config: String, stored: String },
    #[error(
        "policy.max_age is {config} s, and this store has {stored} s; leave it out of the config, or run: portcullis admin fleet set --config FILE --max-age {config}s"
    )]
    OtherMaxAge { config: u64, stored: u64 },
    #[error("no signing key could be generated")]
    SigningKey,
    #[error(
        "the signing keys in the store are not encrypted as this config says; restart `portcullis serve` with this config, then run this command again"
    )]
    UnsettledKeys,
    #[error("{0}")]
    UnreadableKey(#[from] UnreadableKey),
    #[error("{0}")]
    Control(#[from] ControlError),
    #[error("a metric could not be created: {0}")]
    Metric(#[from] prometheus::Error),
}
