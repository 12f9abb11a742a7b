//! OAuth apps and their public keys.

use crate::domain::ids::AppId;
use crate::domain::ids::KeyId;
use crate::domain::ids::WorkspaceId;
use crate::domain::key::Algorithm;
use crate::domain::name::Name;
use crate::domain::scope::ScopeSet;
use crate::domain::time::TokenLifetime;
use crate::domain::time::UnixSeconds;

/// An OAuth app, without its keys.
#[derive(Clone, Debug)]
pub struct App {
    pub id: AppId,
    pub workspace: WorkspaceId,
    pub name: Name,
    pub scopes: ScopeSet,
    pub token_lifetime: TokenLifetime,
    pub not_issued_before: UnixSeconds,
    /// Rises with every change of the app or its keys, for `ETag`.
    pub revision: u64,
    pub created_at: UnixSeconds,
}

/// A public key of an app.
#[derive(Clone, Debug)]
pub struct AppKey {
    pub id: KeyId,
    pub app: AppId,
    pub name: Name,
    pub pem: String,
    pub thumbprint: String,
    pub algorithm: Algorithm,
    pub created_at: UnixSeconds,
    pub last_used_at: Option<UnixSeconds>,
    /// Tokens that the key proved before this moment are no longer accepted.
    pub not_issued_before: UnixSeconds,
    /// From this moment on the key proves no request. Tokens that it proved before stay valid.
    pub expires_at: Option<UnixSeconds>,
}

/// A key that expires within this many seconds is worth a warning: 14 days.
pub const KEY_EXPIRES_SOON_S: u64 = 14 * 86_400;

impl AppKey {
    /// Whether the key proves no request any more.
    #[must_use]
    pub fn is_expired(&self, now: UnixSeconds) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Whether the key expires within 14 days, or has expired.
    #[must_use]
    pub fn expires_soon(&self, now: UnixSeconds) -> bool {
        self.expires_at
            .is_some_and(|at| at <= now.plus(KEY_EXPIRES_SOON_S))
    }
}
