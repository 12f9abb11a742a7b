//! The services of accounts and workspaces, composed.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::accounts::account::Accounts;
use super::accounts::api_tokens::ApiTokens;
use super::accounts::hashing::Hashing;
use super::accounts::invitations::Invitations;
use super::accounts::oidc::Provider;
use super::accounts::passwords::Passwords;
use super::accounts::refused_sign_ins::{Refusals, RefusedSignIns};
use super::accounts::sessions::Sessions;
use super::accounts::sign_on::SignOn;
use super::changes::Changes;
use super::ids::Ids;
use super::rate_limits::Limits;
use super::signing_keys::key_ring::KeyRing;
use super::usage::Uses;
use super::workspaces::members::Members;
use super::workspaces::workspace::Workspaces;
use crate::config::Login;
use crate::domain::issue::IssuerIdentity;
use crate::domain::time::UnixSeconds;
use crate::store::Store;

/// Dependencies that several services share.
pub(super) struct Shared {
    pub(super) store: Arc<Store>,
    pub(super) ids: Arc<Ids>,
    pub(super) keys: Arc<ArcSwap<KeyRing>>,
    pub(super) uses: Arc<Uses>,
    pub(super) hashing: Arc<Hashing>,
    pub(super) limits: Arc<Limits>,
    pub(super) refusals: Arc<Refusals>,
    pub(super) identity: Arc<IssuerIdentity>,
    pub(super) changes: Arc<Changes>,
    /// The trusted time in the store at the start.
    pub(super) mark: UnixSeconds,
    /// The fleet's `max_age` at the start.
    pub(super) max_age: Duration,
}

/// The services of accounts and workspaces.
pub(super) struct People {
    pub(super) accounts: Arc<Accounts>,
    pub(super) members: Arc<Members>,
    pub(super) workspaces: Arc<Workspaces>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) passwords: Arc<Passwords>,
    pub(super) sign_on: Arc<SignOn>,
    pub(super) invitations: Arc<Invitations>,
    pub(super) api_tokens: Arc<ApiTokens>,
    pub(super) refused_sign_ins: Arc<RefusedSignIns>,
}

impl People {
    /// Composes the services, each with only what it needs.
    #[expect(clippy::too_many_lines, reason = "a table: one entry for each service")]
    pub(super) fn new(shared: &Shared, login: &Login, public_url: &str) -> Self {
        let Shared {
            store,
            ids,
            uses,
            hashing,
            limits,
            refusals,
            changes,
            ..
        } = shared;
        let accounts = Arc::new(Accounts {
            ids: ids.clone(),
            changes: changes.clone(),
        });
        let members = Arc::new(Members {
            hashing: hashing.clone(),
            ids: ids.clone(),
            store: store.clone(),
            accounts: accounts.clone(),
            changes: changes.clone(),
        });
        let sessions = Arc::new(Sessions {
            hashing: hashing.clone(),
            ids: ids.clone(),
            limits: limits.clone(),
            refusals: refusals.clone(),
            session_idle_s: login.session_idle.as_secs(),
            session_lifetime_s: login.session_lifetime.as_secs(),
            has_passwords: login.passwords,
            store: store.clone(),
            accounts: accounts.clone(),
            changes: changes.clone(),
        });
        let invitations = Arc::new(Invitations {
            sessions: sessions.clone(),
            hashing: hashing.clone(),
            store: store.clone(),
            changes: changes.clone(),
            members: members.clone(),
        });
        Self {
            workspaces: Arc::new(Workspaces {
                ids: ids.clone(),
                store: store.clone(),
                changes: changes.clone(),
                members: members.clone(),
            }),
            passwords: Arc::new(Passwords {
                hashing: hashing.clone(),
                limits: limits.clone(),
                store: store.clone(),
                accounts: accounts.clone(),
                sessions: sessions.clone(),
                changes: changes.clone(),
            }),
            sign_on: Arc::new(SignOn {
                limits: limits.clone(),
                provider: login.oidc.clone().map(|oidc| Provider::new(oidc, public_url)),
                store: store.clone(),
                accounts: accounts.clone(),
                invitations: invitations.clone(),
                sessions: sessions.clone(),
                changes: changes.clone(),
            }),
            api_tokens: Arc::new(ApiTokens {
                ids: ids.clone(),
                store: store.clone(),
                uses: uses.clone(),
                changes: changes.clone(),
            }),
            refused_sign_ins: Arc::new(RefusedSignIns {
                limits: limits.clone(),
                refusals: refusals.clone(),
                store: store.clone(),
                changes: changes.clone(),
            }),
            accounts,
            members,
            sessions,
            invitations,
        }
    }
}
