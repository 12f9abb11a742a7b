//! The page that asks before a destructive step.

use super::components::Field;
use super::frame::Frame;
use crate::control::http::console::components::Badge;
use crate::control::http::console::pages::sources::kind_words;
use crate::model::search::SourceSummary;
use crate::model::source::Source;

use askama::Template;

/// A page that says what a step does before it is taken.
#[derive(Template)]
#[template(path = "frame/confirm.html")]
pub(crate) struct Confirm {
    pub frame: Frame,
    pub crumbs: Vec<Crumb>,
    pub problem: String,
    pub will: Vec<String>,
    pub links: Vec<SourceRow>,
    pub fields: Vec<Field>,
    /// The label of the button; empty if the step is not possible.
    pub button: &'static str,
    pub destroys: bool,
    pub back: String,
}

/// A page above this one, in the breadcrumb.
pub(crate) struct Crumb {
    pub path: String,
    pub name: String,
}

impl Crumb {
    pub fn new(path: String, name: &(impl ToString + ?Sized)) -> Self {
        Self {
            path,
            name: name.to_string(),
        }
    }
}

/// A source with a link to it.
pub(crate) struct SourceRow {
    pub id: String,
    pub name: String,
    pub kind: &'static str,
    pub badge: Badge,
}

impl From<&SourceSummary> for SourceRow {
    fn from(found: &SourceSummary) -> Self {
        Self {
            badge: Badge::of_source(found.source.enforcement, found.blocker),
            ..Self::from(&found.source)
        }
    }
}

impl From<&Source> for SourceRow {
    fn from(source: &Source) -> Self {
        Self {
            id: source.id.to_string(),
            name: source.name.to_string(),
            kind: kind_words(source.kind),
            badge: Badge::of(source.enforcement),
        }
    }
}
