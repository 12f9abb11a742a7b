//! Who cut a response short.

/// Who ended a response in the middle.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    ByUpstream,
    ByClient,
}

impl Cut {
    /// The word in metrics and log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ByUpstream => "upstream",
            Self::ByClient => "client",
        }
    }
}
