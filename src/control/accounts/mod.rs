//! Accounts and how people authenticate: passwords, sign-on, invitations, sessions, API tokens.

pub mod account;
pub(crate) mod api_tokens;
pub(crate) mod hashing;
pub(crate) mod invitations;
pub mod oidc;
pub(crate) mod passwords;
pub(crate) mod pending_sign_on;
pub(crate) mod refused_sign_ins;
pub mod secret;
pub mod sessions;
pub(crate) mod sign_on;
