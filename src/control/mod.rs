//! The control plane: issues tokens, manages apps, keys and sources, and publishes what gateways must know.
//!
//! A folder is a noun: `workspaces`, `accounts`, `apps`, `sources`, `tokens`, `signing_keys`, `audit`, `fleet`.
//! Each holds the rules of that noun, once. `http` is their HTTP form: the OAuth endpoints, the management API and
//! the console. The files beside the folders are what all rules share: who asks (`actor`), what a change leaves in
//! the audit trail (`audit_event`), limits and errors. SQL is in [`crate::store`]; what a token may contain and what
//! proves an app is in [`crate::domain`].

pub mod accounts;
pub mod actor;
pub mod apps;
pub mod audit;
pub(crate) mod audit_event;
pub mod bad_request;
pub mod changes;
pub mod client_address;
pub(crate) mod conflict;
pub(crate) mod error;
pub(crate) mod fair_queue;
pub mod fleet;
pub(crate) mod form;
pub mod http;
pub(crate) mod idempotency;
pub(crate) mod ids;
pub mod input;
pub mod limiter;
pub(crate) mod network_limiter;
pub mod open_error;
mod people;
pub mod plane;
pub mod rate_limits;
pub mod signing_keys;
pub mod sources;
pub mod tokens;
pub mod workspaces;

pub use accounts::api_tokens::ApiToken;
pub use accounts::invitations::{Invited, NewMember};
pub use actor::{Actor, Who};
pub use apps::app::{AppChange, AppDetails, NewApp, NewAppKey};
pub use audit::trail::{NotedEvent, NotedTrail, TrailAge, TrailReport, verify_trail};
#[cfg(feature = "test-util")]
pub use audit_event::Deed;
pub use bad_request::BadRequest;
pub use conflict::Conflict;
pub use error::ControlError;
#[cfg(feature = "test-util")]
pub use form::Form;
pub use http::connections::Bounds;
pub use open_error::OpenError;
pub use plane::{Control, ControlSettings};
pub use signing_keys::rotation::{EndKeys, KeyState, SigningKeyStatus};
pub use sources::search::{Connected, SourceCounts};
pub use sources::source::NewSource;
pub use sources::traffic::{GatewayState, SourceTraffic};
#[cfg(feature = "test-util")]
pub use tokens::error::TokenError;
pub use tokens::revoke::Revoked;
pub use workspaces::roles::{NewGrant, NewResources};

pub use crate::model::search::{AppSummary, Found, LOOKED_AT, SourceFilter, SourceSummary};

/// Parsers that only a request reaches, for tests of what they cost.
#[cfg(feature = "test-util")]
pub mod parsers {
    pub use super::http::body::has_nul_escape;
    pub use super::http::console::parse_multipart;
    pub use super::http::cookies::{Cookie, Cookies};
    pub use crate::store::rows::folded;
}
