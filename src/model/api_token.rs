//! API tokens, without the tokens themselves.

use crate::domain::ids::MemberId;
use crate::domain::name::Name;
use crate::domain::time::UnixSeconds;

/// An API token, without the token itself.
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

/// An API token of a workspace, with the member that it belongs to.
#[derive(Clone, Debug)]
pub struct MemberApiToken {
    pub member: MemberId,
    pub email: String,
    pub details: ApiTokenDetails,
}
