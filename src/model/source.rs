//! A source: a stream of events into a workspace.

use crate::domain::ids::AppId;
use crate::domain::ids::SourceId;
use crate::domain::ids::WorkspaceId;
use crate::domain::ids::WriteKey;
use crate::domain::name::Name;
use crate::domain::policy::Enforcement;
use crate::domain::source_kind::SourceKind;
use crate::domain::time::UnixSeconds;

/// A source.
#[derive(Clone, Debug)]
pub struct Source {
    pub id: SourceId,
    pub workspace: WorkspaceId,
    pub name: Name,
    pub kind: SourceKind,
    /// Kept as it is: the people whose SDKs send it must be able to look it up.
    pub write_key: WriteKey,
    pub enforcement: Enforcement,
    pub app: Option<AppId>,
    /// Rises with every change of the source, for `ETag`.
    pub revision: u64,
    pub created_at: UnixSeconds,
}
