//! Why a body names no source that every parser agrees on.

/// Why a body names no source that everybody would agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanError {
    /// Not one JSON object, or nested too deep.
    Invalid,
    /// A key given twice, in another letter case, with bytes that no write key has or longer than any, or events
    /// that disagree among themselves.
    Ambiguous,
}
