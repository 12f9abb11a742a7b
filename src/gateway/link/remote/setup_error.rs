//! Why an edge cannot start.

use super::client::LinkError;
use super::folder::FolderError;

/// Why the link cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("{0}")]
    Folder(#[from] FolderError),
    #[error("policy.ca: {0}")]
    Client(#[from] LinkError),
    #[error("policy.ca: {} cannot be read: {error}", path.display())]
    Authorities {
        path: std::path::PathBuf,
        error: std::io::Error,
    },
    #[error(
        "this edge has not joined a fleet; set policy.join to a token of `portcullis admin edges join-token`"
    )]
    NoToken,
    #[error("the cryptographic library failed to make a key")]
    Key,
}
