//! A file of certificate authorities, as it was when the config was read.

use std::path::PathBuf;

/// A PEM file of certificates to trust, as it was when the config was read: another content is another value, so
/// that a reload takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities {
    pub file: PathBuf,
    /// SHA-256 of the file's content.
    pub digest: [u8; 32],
}
