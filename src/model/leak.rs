//! Notices of tokens found in public.

use crate::domain::ids::WorkspaceId;
use crate::domain::time::UnixSeconds;

/// A token of a workspace that was found in public.
#[derive(Clone, Debug)]
pub struct LeakNotice {
    pub id: String,
    pub workspace: WorkspaceId,
    /// `access_token` or `api_token`.
    pub kind: String,
    /// SHA-256 of the token, in hexadecimal.
    pub token_hash: String,
    /// The access token's `jti`, or the API token's id.
    pub token_id: String,
    /// The OAuth app or the member that the token speaks for.
    pub owner: String,
    pub url: String,
    pub source: String,
    pub reporter: String,
    pub reported_at: UnixSeconds,
}
