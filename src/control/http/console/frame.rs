//! What all pages share: title, navigation, the signed-in member, and how a page becomes a response.

use askama::Template;
use axum::response::Redirect;
use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;

use super::assets::{ICON, SCRIPT, STYLE};
use super::paths::WorkspacePaths;

/// The section of the navigation that a page belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Section {
    Overview,
    Sources,
    Apps,
    Members,
    Audit,
    SigningKeys,
    Edges,
    LeakedTokens,
    ApiTokens,
    Account,
    None,
}

/// The frame around a page.
pub(crate) struct Frame {
    pub title: String,
    pub section: Section,
    /// Links to the pages of the workspace.
    pub to: WorkspacePaths,
    pub workspace: String,
    /// Whether the account has other workspaces.
    pub several: bool,
    pub email: String,
    pub csrf: String,
    pub sees: NavPermissions,
    /// The notice of the form before, if there is one.
    pub done: Option<String>,
}

/// The sections of the navigation that this member may open.
#[derive(Clone, Copy)]
pub(crate) struct NavPermissions {
    pub apps: bool,
    pub sources: bool,
    pub owner: bool,
    /// Gateways serve every workspace, so only who owns all of them.
    pub edges: bool,
}

impl Frame {
    /// Whether the page belongs to the section of this name.
    pub fn is(&self, name: &str) -> bool {
        format!("{:?}", self.section) == name
    }
}

/// The path of the style sheet, for templates.
pub(crate) fn style() -> &'static str {
    &STYLE.path
}

pub(crate) fn script() -> &'static str {
    &SCRIPT.path
}

pub(crate) fn icon() -> &'static str {
    &ICON.path
}

/// Log message: a template failed.
const PAGE_NOT_RENDERED: &str = "console page could not be rendered";

/// A page as a response.
pub(crate) fn page(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => {
            tracing::error!(%error, "{PAGE_NOT_RENDERED}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A redirect that the browser follows with GET (RFC 9110 section 15.4.4).
pub(crate) fn see_other(to: &str) -> Response {
    Redirect::to(to).into_response()
}
