//! Config: typed, complete and immutable; built from a YAML file.
//!
//! Every problem of a file is reported with file, line, column and what to do. A config with an error is never used.

mod address;
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
mod login_types;
mod logs;
mod outside_issuer;
mod overlap;
mod policy_file;
mod policy_types;
pub(crate) mod problem;
mod quantities;
mod shown;
mod signing;
mod state_file;
mod tls_types;
pub(crate) mod types;
mod upstreams;
mod warnings;
mod watch;
mod yaml;

pub use crate::config::api_types::{ApiPath, Cors, Origins, PathPattern};
pub use crate::config::authorities::Authorities;
#[cfg(feature = "test-util")]
pub use crate::config::environment::falling_task;
pub use crate::config::file::SecretText;
#[cfg(feature = "test-util")]
pub use crate::config::file::{File as RawFile, PolicyDocument};
pub use crate::config::keys::{KeyChanges, Keys};
pub use crate::config::load::{load, load_text, read_text};
pub use crate::config::login_types::{ClientSecret, Login, Oidc};
pub use crate::config::outside_issuer::{JwksUri, KeyOrigin, KeyPlace, OutsideIssuer};
pub use crate::config::policy_file::{check_policy, is_policy, load_policy, policy_alone};
pub use crate::config::policy_types::{EdgeListener, PolicyOrigin, RemotePolicy};
pub use crate::config::problem::{ConfigError, Problem, Severity};
pub use crate::config::quantities::Duration as DurationText;
pub use crate::config::state_file::{
    StateApp, StateFile, StateKey, StateMember, StateResources, StateRole, StateSource, state_file,
};
pub use crate::config::tls_types::ListenerTls;
pub use crate::config::types::{
    AccessLog, Api, Config, ControlLimits, ControlPlane, ErrorForm, Gateway, HealthCheck, Identify, Limits,
    Listener, Log, LogFormat, LogLevel, Observability, ProxyProtocol, Rate, Shutdown, Timeouts, Upstream,
    UpstreamTls,
};

pub use crate::config::types::{LeakedTokens, Signing};
pub use crate::config::warnings::{EXPIRED, EXPIRES_SOON, KEYS_NOT_FETCHED, WARNINGS};
pub use crate::config::watch::FileWatch;
pub use crate::config::yaml::document::{Places, annotate};
pub use crate::config::yaml::excerpt::Excerpt;
