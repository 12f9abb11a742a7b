//! A session: who is signed in, where and until when.

use crate::domain::ids::AccountId;
use crate::domain::time::UnixSeconds;

/// A session as the store knows it.
#[derive(Clone, Debug)]
pub struct SessionRecord {
    pub id: String,
    pub account: AccountId,
    pub email: String,
    /// Whether the person proved that the address is theirs.
    pub verified: bool,
    pub created_at: UnixSeconds,
    pub last_seen_at: UnixSeconds,
    pub expires_at: UnixSeconds,
    /// `password` or `oidc`.
    pub method: String,
    pub user_agent: String,
    pub address: String,
}
