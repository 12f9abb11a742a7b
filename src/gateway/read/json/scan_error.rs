//! Why a body names no source that every parser agrees on.

/// Why a body names no source that every parser agrees on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanError {
    /// Not one JSON object.
    Invalid,
    /// Nested deeper than 64 levels.
    TooDeep,
    /// A key given twice, in another letter case, with bytes that no write key has or longer than any, or events
    /// that disagree among themselves.
    Ambiguous,
}
