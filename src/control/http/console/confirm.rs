//! The page that asks before something is destroyed, and the way back from it.

use crate::control::http::console::components::Field;
use crate::control::http::console::frame::Frame;
use crate::control::http::console::pages::app::SourceRow;
use askama::Template;

/// A page that says what a step will do before it is done.
#[derive(Template)]
#[template(path = "confirm.html")]
pub(crate) struct Confirm {
    pub frame: Frame,
    pub crumbs: Vec<Crumb>,
    pub problem: String,
    pub will: Vec<String>,
    pub links: Vec<SourceRow>,
    pub fields: Vec<Field>,
    /// What the button says; without one the step cannot be taken.
    pub button: &'static str,
    pub destroys: bool,
    pub back: String,
}

/// A page above this one.
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
