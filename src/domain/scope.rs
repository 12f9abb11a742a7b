//! Scopes: grammar, containment and canonical order (RFC 6749 section 3.3).

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;
use thiserror::Error;

use super::digest::ShortDigest;

/// The most scopes one app or token request may name.
pub const SCOPES_MAX: usize = 32;

/// The longest single scope, in bytes.
pub const SCOPE_BYTES_MAX: usize = 128;

/// Why a text is not a scope or a list of scopes.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidScope {
    #[error("no scope is named")]
    Empty,
    #[error("more than {SCOPES_MAX} scopes are named")]
    TooMany,
    #[error("a scope is longer than {SCOPE_BYTES_MAX} bytes")]
    TooLong,
    #[error("a scope has a character that RFC 6749 section 3.3 does not allow")]
    Character,
}

/// One scope token, such as `tracking_api:write`.
#[derive(Clone)]
pub struct Scope {
    digest: ShortDigest,
    text: Arc<str>,
}

impl Scope {
    /// Checks one scope token: `%x21 / %x23-5B / %x5D-7E`, 1 to 128 bytes.
    ///
    /// # Errors
    /// [`InvalidScope`] names what is wrong.
    pub fn parse(text: &str) -> Result<Self, InvalidScope> {
        if text.is_empty() {
            return Err(InvalidScope::Empty);
        }
        if text.len() > SCOPE_BYTES_MAX {
            return Err(InvalidScope::TooLong);
        }
        let allowed = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if !text.bytes().all(allowed) {
            return Err(InvalidScope::Character);
        }
        Ok(Self {
            digest: ShortDigest::of("scope", &[text.as_bytes()]),
            text: Arc::from(text),
        })
    }

    /// The scope's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

// INVARIANT: the digest follows from the text; see the identifiers for why comparing uses it.
impl PartialEq for Scope {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Scope {}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({})", self.text)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A set of scopes in canonical order: sorted by bytes, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeSet(SmallVec<[Scope; 3]>);

impl ScopeSet {
    /// Reads a space-separated list; repeats are dropped, several spaces count as one.
    ///
    /// # Errors
    /// [`InvalidScope`] when a scope is malformed or there are more than 32. An empty list is a set.
    pub fn parse(text: &str) -> Result<Self, InvalidScope> {
        Self::parse_at_most(text, SCOPES_MAX)
    }

    /// The same with another bound on their number.
    pub(super) fn parse_at_most(text: &str, most: usize) -> Result<Self, InvalidScope> {
        let mut scopes = Vec::new();
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            if scopes.len() == most {
                return Err(InvalidScope::TooMany);
            }
            scopes.push(Scope::parse(word)?);
        }
        Ok(scopes.into_iter().collect())
    }

    /// Whether `scope` is in the set. Scopes are compared whole: `a:read` does not cover `a:readonly`.
    #[must_use]
    pub fn covers(&self, scope: &Scope) -> bool {
        self.0.iter().any(|held| held == scope)
    }

    /// Whether every scope of `other` is in this set.
    #[must_use]
    pub fn covers_all(&self, other: &Self) -> bool {
        other.0.iter().all(|scope| self.covers(scope))
    }

    /// Whether the set has no scope.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The scopes that are in `other`, too, to be written out in canonical order.
    #[must_use]
    pub fn shared_with<'s>(&'s self, other: &'s Self) -> impl fmt::Display + 's {
        struct Shared<'s>(&'s ScopeSet, &'s ScopeSet);

        impl fmt::Display for Shared<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Self(scopes, other) = self;
                write_list(scopes.iter().filter(|scope| other.covers(scope)), f)
            }
        }

        Shared(self, other)
    }

    /// The scopes in canonical order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut scopes: SmallVec<[Scope; 3]> = scopes.into_iter().collect();
        scopes.sort_by(|a, b| a.text.cmp(&b.text));
        scopes.dedup();
        Self(scopes)
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_list(self.iter(), f)
    }
}

/// As RFC 6749 section 3.3 writes a list of scopes.
fn write_list<'s>(scopes: impl Iterator<Item = &'s Scope>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (at, scope) in scopes.enumerate() {
        if at > 0 {
            f.write_str(" ")?;
        }
        f.write_str(&scope.text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_repeats_do_not_matter() {
        let set = ScopeSet::parse("b a  b").unwrap();
        assert_eq!(set.to_string(), "a b");
        assert_eq!(set, ScopeSet::parse("a b").unwrap());
    }

    #[test]
    fn a_longer_scope_is_not_covered_by_its_prefix() {
        let set = ScopeSet::parse("orders:read").unwrap();
        assert!(!set.covers(&Scope::parse("orders:readonly").unwrap()));
        assert!(!set.covers(&Scope::parse("orders").unwrap()));
    }

    #[test]
    fn shared_scopes_are_those_of_both() {
        let set = |text| ScopeSet::parse(text).unwrap();
        for (one, other, shared) in [
            ("a b c", "c a d", "a c"),
            ("a", "a", "a"),
            ("a", "b", ""),
            ("", "b", ""),
        ] {
            assert_eq!(set(one).shared_with(&set(other)).to_string(), shared);
        }
    }

    #[test]
    fn malformed_scopes_are_refused() {
        assert_eq!(ScopeSet::parse("a\"b"), Err(InvalidScope::Character));
        assert_eq!(ScopeSet::parse("a\tb"), Err(InvalidScope::Character));
        let many = (0..33).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(ScopeSet::parse(&many), Err(InvalidScope::TooMany));
    }
}
