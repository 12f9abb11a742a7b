//! Which paths and methods belong to an API, and which origins of browsers may read its responses.

use std::time::Duration;

/// A path pattern of an API, and the methods that belong to the API there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiPath {
    pub pattern: PathPattern,
    /// Upper case; empty for every method.
    pub methods: Vec<String>,
}

/// A path that an API serves: one path, or all below a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    Exact(String),
    /// Ends in `/`.
    Prefix(String),
}

impl From<PathPattern> for ApiPath {
    fn from(pattern: PathPattern) -> Self {
        Self {
            pattern,
            methods: Vec::new(),
        }
    }
}

impl ApiPath {
    /// Whether requests with this method belong to the API. `HEAD` belongs to it where `GET` does (RFC 9110
    /// section 9.3.2).
    #[must_use]
    pub fn allows(&self, method: &str) -> bool {
        let is_listed = |wanted: &str| self.methods.iter().any(|held| held == wanted);
        self.methods.is_empty() || is_listed(method) || (method == "HEAD" && is_listed("GET"))
    }

    /// Whether some method belongs to both.
    #[must_use]
    pub fn shares_method_with(&self, other: &Self) -> bool {
        let mut of_both = self.methods.iter().chain(&other.methods);
        (self.methods.is_empty() && other.methods.is_empty())
            || of_both.any(|method| self.allows(method) && other.allows(method))
    }
}

impl PathPattern {
    /// How specific a match is, or `None` where the path does not match. Exact beats prefix, a longer
    /// prefix beats a shorter one.
    #[must_use]
    pub fn matches(&self, path: &str) -> Option<usize> {
        match self {
            Self::Exact(exact) => (exact == path).then_some(usize::MAX),
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()).then_some(prefix.len()),
        }
    }

    /// The same for a server that compares paths without letter case.
    #[must_use]
    pub fn matches_in_any_case(&self, path: &str) -> Option<usize> {
        match self {
            Self::Exact(exact) => exact.eq_ignore_ascii_case(path).then_some(usize::MAX),
            Self::Prefix(prefix) => path
                .get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
                .then_some(prefix.len()),
        }
    }
}

/// The origins whose scripts may read the responses of an API (the Fetch standard, section 3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    pub origins: Origins,
    /// Whether requests may carry cookies and other credentials that the browser adds.
    pub credentials: bool,
    /// How long a browser may keep the answer to a preflight.
    pub max_age: Duration,
}

/// Which origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    Any,
    /// As browsers send them in `Origin`.
    Listed(Vec<String>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(methods: &[&str]) -> ApiPath {
        ApiPath {
            pattern: PathPattern::Exact("/".to_owned()),
            methods: methods.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn head_belongs_where_get_does() {
        assert!(path(&["GET"]).allows("HEAD") && path(&[]).allows("HEAD"));
        assert!(!path(&["POST"]).allows("HEAD") && !path(&["HEAD"]).allows("GET"));
    }

    #[test]
    fn methods_of_two_paths_overlap_as_requests_do() {
        for (one, other, shared) in [
            (&[][..], &[][..], true),
            (&[], &["POST"], true),
            (&["GET", "POST"], &["POST"], true),
            (&["POST"], &["GET"], false),
            (&["GET"], &["HEAD"], true),
        ] {
            assert_eq!(
                path(one).shares_method_with(&path(other)),
                shared,
                "{one:?} {other:?}"
            );
            assert_eq!(
                path(other).shares_method_with(&path(one)),
                shared,
                "{other:?} {one:?}"
            );
        }
    }
}
