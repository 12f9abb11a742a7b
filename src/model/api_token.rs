//! API tokens, as their owners see them.

use crate::domain::name::Name;
use crate::domain::time::UnixSeconds;

/// An API token as its owner sees it afterwards.
#[derive(Clone, Debug)]
pub struct ApiTokenDetails {
    pub id: String,
    pub name: Name,
    /// The first characters, by which people tell their tokens apart.
    pub prefix: String,
    pub created_at: UnixSeconds,
    pub last_used_at: Option<UnixSeconds>,
    pub expires_at: Option<UnixSeconds>,
}
