//! The control plane: issues tokens, manages apps, keys and sources, and publishes the policy.
//!
//! Each folder is a noun and holds its rules: `workspaces`, `accounts`, `apps`, `sources`, `tokens`, `signing_keys`,
//! `audit`, `fleet`. `http` is their HTTP form: the OAuth endpoints, the management API and the console. The files
//! next to the folders are shared by all rules: the one way to write (`changes`), who makes a request (`actor`),
//! audit events, limits and errors. SQL is in [`crate::store`]; what a token may contain and how an app authenticates
//! is in [`crate::domain`].

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
pub mod open_error;
mod people;
pub mod plane;
pub mod rate_limits;
pub mod settings;
pub mod signing_keys;
pub mod sources;
pub mod tokens;
pub(crate) mod usage;
pub mod workspaces;

pub use crate::control::accounts::api_tokens::ApiToken;
pub use crate::control::accounts::invitations::{Invited, NewMember};
pub use crate::control::actor::{Actor, Who};
pub use crate::control::apps::app::{APP_KEYS_MAX, AppChange, NewApp, NewAppKey};
pub use crate::control::apps::details::AppDetails;
pub use crate::control::audit::trail::{ExpectedEvent, ExpectedTrail, TrailAge, TrailReport, verify_trail};
#[cfg(feature = "test-util")]
pub use crate::control::audit_event::AuditAction;
pub use crate::control::bad_request::BadRequest;
pub use crate::control::conflict::Conflict;
pub use crate::control::error::ControlError;
pub use crate::control::fleet::stored_policy::stored_policy;
#[cfg(feature = "test-util")]
pub use crate::control::form::Form;
pub use crate::control::http::api::trail_export::{CSV_COLUMNS, csv_line, json_line};
pub use crate::control::open_error::OpenError;
pub use crate::control::plane::Control;
pub use crate::control::settings::ControlSettings;
pub use crate::control::signing_keys::rotation::{EndKeys, KeyState, SigningKeyStatus};
pub use crate::control::sources::search::{Connected, SourceCounts};
pub use crate::control::sources::source::NewSource;
pub use crate::control::sources::traffic::{GatewayState, SourceTraffic};
#[cfg(feature = "test-util")]
pub use crate::control::tokens::error::{TokenError, Unproven};
pub use crate::control::tokens::revoke::Revoked;
pub use crate::control::tokens::revoke_all::TokensOf;
pub use crate::control::workspaces::roles::{NewGrant, NewResources};

pub use crate::model::search::{AppSummary, Found, SEARCHED_AT_ONCE, SourceFilter, SourceSummary};

/// Parsers that only requests reach, for tests of their cost.
#[cfg(feature = "test-util")]
pub mod parsers {
    pub use super::http::body::has_nul_escape;
    pub use super::http::console::parse_multipart;
    pub use super::http::cookies::{Cookie, Cookies};
    pub use crate::store::rows::search_text;
}
