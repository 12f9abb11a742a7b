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
}

/// Names that one search looks at in a workspace that has more than [`FULL_SEARCH_MAX`]. It is some thirty milliseconds of
/// the database's work; the next search continues where it stopped.
pub const SEARCHED_AT_ONCE: u32 = 50_000;

/// What a search found.
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
