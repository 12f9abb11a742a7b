//! Source kinds, and the scope that an app needs to send to each.

/// The scopes that an app can hold, in the order of the documentation.
pub const SUPPORTED_SCOPES: [&str; 3] = ["tracking_api:write", "functions:write", "public_api:read_write"];

/// What sends a source's events, and so which API they enter by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    HttpApi,
    NodeJs,
    Python,
    SourceFunction,
    PublicApi,
}

impl SourceKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 5] = [
        Self::HttpApi,
        Self::NodeJs,
        Self::Python,
        Self::SourceFunction,
        Self::PublicApi,
    ];

    /// The name in the API and the console.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HttpApi => "http_api",
            Self::NodeJs => "nodejs",
            Self::Python => "python",
            Self::SourceFunction => "source_function",
            Self::PublicApi => "public_api",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The scope that tokens for a source of this kind need.
    #[must_use]
    pub const fn scope(self) -> &'static str {
        let [tracking, functions, public] = SUPPORTED_SCOPES;
        match self {
            Self::HttpApi | Self::NodeJs | Self::Python => tracking,
            Self::SourceFunction => functions,
            Self::PublicApi => public,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name() {
        for kind in SourceKind::ALL {
            assert_eq!(SourceKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(SourceKind::parse("HTTP_API"), None);
    }
}
