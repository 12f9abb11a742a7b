//! A workspace: the tenant that owns everything else.

use crate::domain::ids::WorkspaceId;
use crate::domain::name::Name;
use crate::domain::time::UnixSeconds;

/// A workspace.
#[derive(Clone, Debug)]
pub struct Workspace {
    pub id: WorkspaceId,
    pub name: Name,
    /// Rises with every change of the workspace's settings, for `ETag`.
    pub revision: u64,
    pub created_at: UnixSeconds,
}
