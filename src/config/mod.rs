//! Config: typed, complete and immutable; built once from a YAML file.
//!
//! Every problem of a file is reported, each with file, line, column and what to do about it; a config
//! with a problem is never half used.

mod api;
mod api_file;
pub(crate) mod api_types;
mod authorities;
pub(crate) mod check;
mod control;
mod edges;
mod environment;
mod file;
mod gateway;
mod health_check;
mod issuers;
mod keys;
mod load;
mod login;
mod outside_issuer;
mod overlap;
mod policy_file;
mod policy_types;
pub(crate) mod problem;
mod quantities;
mod shown;
mod signing;
mod tls_types;
pub(crate) mod types;
mod watch;
mod yaml_error;

pub use crate::config::api_types::{ApiPath, Cors, Origins, PathPattern};
pub use crate::config::authorities::Authorities;
#[cfg(feature = "test-util")]
pub use crate::config::environment::falling_task;
pub use crate::config::environment::notify_socket;
#[cfg(feature = "test-util")]
pub use crate::config::file::File as RawFile;
pub use crate::config::keys::{KeyChanges, Keys};
pub use crate::config::load::{load, load_text};
pub use crate::config::outside_issuer::{JwksUri, KeyOrigin, KeyPlace, OutsideIssuer};
pub use crate::config::policy_file::load_policy;
pub use crate::config::policy_types::{EdgeListener, PolicyOrigin, RemotePolicy};
pub use crate::config::problem::{ConfigError, Problem};
pub use crate::config::tls_types::ListenerTls;
pub use crate::config::types::{
    Api, Config, ControlLimits, ControlPlane, ErrorForm, Gateway, HealthCheck, Identify, Limits, Listener,
    Observability, ProxyProtocol, Rate, Shutdown, Timeouts, Upstream, UpstreamTls,
};
pub use crate::config::types::{ClientSecret, Login, Oidc};
pub use crate::config::types::{LeakedTokens, Signing};
pub use crate::config::watch::FileWatch;
