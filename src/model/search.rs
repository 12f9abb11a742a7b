//! What a search looks for, and what it finds.

use super::app::App;
use super::app::AppKey;
use super::source::Source;
use crate::domain::ids::AppId;
use crate::domain::policy::Enforcement;
use crate::domain::source_kind::SourceKind;

/// Which sources a list shows.
#[derive(Clone, Debug, Default)]
pub struct SourceFilter<'a> {
    /// A part of the name, letters of either case; empty for every name.
    pub text: &'a str,
    pub kind: Option<SourceKind>,
    /// Every kind but this one.
    pub but_kind: Option<SourceKind>,
    pub enforcement: Option<Enforcement>,
    pub app: Option<AppId>,
}

/// A source, with the name of the app it is connected to.
#[derive(Clone, Debug)]
pub struct SourceSummary {
    pub source: Source,
    pub app_name: Option<String>,
    pub blocker: Option<Blocker>,
}

/// Why no token can be accepted for a source: if it is enforced, it denies every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocker {
    NoApp,
    /// The app has no public key, so it gets no tokens.
    NoKey,
    /// The app lacks the scope that the source requires.
    NoScope,
}

impl Blocker {
    /// The blocker of a source of this kind whose app, if there is one, has these scopes and so many keys.
    #[must_use]
    pub fn of<'s>(kind: SourceKind, app: Option<(impl IntoIterator<Item = &'s str>, u64)>) -> Option<Self> {
        let Some((scopes, keys)) = app else {
            return Some(Self::NoApp);
        };
        if !scopes.into_iter().any(|scope| scope == kind.scope()) {
            return Some(Self::NoScope);
        }
        (keys == 0).then_some(Self::NoKey)
    }
}

/// The most names that one search of a large workspace covers: some thirty milliseconds of the database's work. The next
/// search continues after them.
pub const SEARCHED_AT_ONCE: u32 = 50_000;

/// Characters that a search text may have before it is searched for among fewer names at once.
const SHORT_TEXT_CHARS: usize = 16;

/// By what a search text divides the number of names that one search covers. In the worst case, the database compares
/// all of a text at each place of a name: 129 characters among 20,000 names took `PostgreSQL` 225 ms.
#[must_use]
pub fn text_cost(text: &str) -> u32 {
    let parts = text.chars().count().div_ceil(SHORT_TEXT_CHARS).max(1);
    u32::try_from(parts).unwrap_or(u32::MAX)
}

/// How many names one search for `text` covers in a large workspace.
#[must_use]
pub fn names_at_once(text: &str) -> u32 {
    (SEARCHED_AT_ONCE / text_cost(text)).max(1)
}

/// The result of a search.
#[derive(Clone, Debug)]
pub struct Found<T> {
    pub items: Vec<T>,
    /// The last id that the search covered, if it stopped after [`Found::names`] names. To continue it, ask for the page
    /// after this id.
    pub searched_to: Option<String>,
    /// How many names one search covers: [`names_at_once`].
    pub names: u32,
}

/// An app in a list.
#[derive(Clone, Debug)]
pub struct AppSummary {
    pub app: App,
    pub keys: Vec<AppKey>,
    /// Sources connected to it.
    pub sources: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_search_text_covers_fewer_names() {
        for (chars, names) in [(0, 50_000), (1, 50_000), (16, 50_000), (17, 25_000), (129, 5_555)] {
            assert_eq!(names_at_once(&"é".repeat(chars)), names, "{chars} characters");
        }
        assert_eq!(names_at_once(&"a".repeat(10_000_000)), 1, "never none");
    }
}
