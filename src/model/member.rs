//! People, and their memberships of workspaces.

use crate::domain::ids::AccountId;
use crate::domain::ids::MemberId;
use crate::domain::ids::WorkspaceId;
use crate::domain::role::Grants;
use crate::domain::time::UnixSeconds;

/// A person's membership of one workspace.
#[derive(Clone, Debug)]
pub struct Member {
    pub id: MemberId,
    pub workspace: WorkspaceId,
    /// The person, in whichever workspace.
    pub account: AccountId,
    pub email: String,
    pub grants: Grants,
    /// Rises with every change of the membership.
    pub revision: u64,
    pub created_at: UnixSeconds,
    /// When the person took the invitation up. Before that, the membership opens nothing.
    pub joined_at: Option<UnixSeconds>,
}
