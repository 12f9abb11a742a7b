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

/// Names that one search looks at in a workspace that has more than [`FULL_SEARCH_MAX`]. It is some thirty milliseconds of
/// the database's work; the next search continues where it stopped.
pub const SEARCHED_AT_ONCE: u32 = 50_000;

/// The result of a search.
#[derive(Clone, Debug)]
pub struct Found<T> {
    pub items: Vec<T>,
    /// The id that the search came to and did not go beyond, where it has looked at [`SEARCHED_AT_ONCE`] names. To search
    /// on is to ask for the page after it.
    pub searched_to: Option<String>,
}

/// An app in a list.
#[derive(Clone, Debug)]
pub struct AppSummary {
    pub app: App,
    pub keys: Vec<AppKey>,
    /// Sources connected to it.
    pub sources: u64,
}
