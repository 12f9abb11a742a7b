//! What all pages share: the title, the way around, who is here, and how a page becomes an answer.

use askama::Template;
use axum::response::Redirect;
use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;

use super::assets::{ICON, SCRIPT, STYLE};

/// Where in the console a page belongs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Section {
    Overview,
    Sources,
    Apps,
    Members,
    Audit,
    Account,
    None,
}

/// The frame around a page.
pub(crate) struct Frame {
    pub title: String,
    pub section: Section,
    /// Where the pages of the workspace are: `/console/w/{id}`.
    pub at: String,
    pub workspace: String,
    /// Whether there are other workspaces to go to.
    pub several: bool,
    pub email: String,
    pub csrf: String,
    pub sees: NavPermissions,
    /// What has just been done, after a redirect.
    pub done: String,
}

/// What of the console this member has any use of.
#[derive(Clone, Copy)]
pub(crate) struct NavPermissions {
    pub apps: bool,
    pub sources: bool,
    pub owner: bool,
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

/// A page as an answer.
pub(crate) fn page(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page of the console could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// What a redirect says was done: the word in `?done=`, and the sentence for it. Words that are not here say
/// nothing, so that a link cannot put words into the console's mouth.
const DONE: [(&str, &str); 27] = [
    (
        "app-created",
        "The OAuth app was created. Next: connect it to a source.",
    ),
    ("app-saved", "Your changes were saved and are in force."),
    ("app-deleted", "The OAuth app and its keys were deleted."),
    (
        "key-added",
        "The public key was added. Clients may use it from now on.",
    ),
    (
        "key-deleted",
        "The public key was deleted, and the tokens that it proved have ended.",
    ),
    (
        "token-revoked",
        "The token was revoked: gateways refuse it from now on.",
    ),
    (
        "token-expired",
        "That token had expired by itself. Nothing had to be revoked.",
    ),
    (
        "source-created",
        "The source was created. Next: connect an OAuth app to it.",
    ),
    ("source-saved", "Your changes were saved."),
    (
        "source-deleted",
        "The source was deleted. Requests with its write key are from an unknown source now.",
    ),
    (
        "connected",
        "The OAuth app was connected. Next: observe what enforcement would do.",
    ),
    ("disconnected", "The OAuth app was disconnected."),
    (
        "observe",
        "Observing: requests are judged and counted, and none is denied.",
    ),
    (
        "on",
        "OAuth is enforced: a request without a valid token is denied from now on.",
    ),
    ("off", "Enforcement is off: requests need no token."),
    ("member-saved", "The member's roles were saved and are in force."),
    (
        "member-removed",
        "The member was removed: their API tokens for this workspace have ended, and their sessions no longer open it.",
    ),
    (
        "api-token-deleted",
        "The API token was deleted and is refused from now on.",
    ),
    (
        "key-rotated",
        "The next signing key is made and published. It begins to sign by itself.",
    ),
    (
        "signing-keys-ended",
        "Ended: gateways refuse every token that was signed with it from now on.",
    ),
    (
        "leak-dismissed",
        "The notice was dismissed. Its token stays ended.",
    ),
    ("session-ended", "The session was ended."),
    (
        "sessions-ended",
        "You are signed out everywhere: all your sessions have ended.",
    ),
    (
        "password-changed",
        "Your password was changed, and all your other sessions have ended.",
    ),
    ("signed-out", "You are signed out."),
    ("joined", "You have joined. Sign in with your password."),
    ("welcome", "Welcome. You have joined the workspace."),
];

/// The sentence for what was done. `ended` is the number of API tokens that ended with it, where any could.
pub(crate) fn done(word: &str, ended: &str) -> String {
    let found = DONE.iter().find(|(held, _)| *held == word);
    let sentence = found.map(|(_, sentence)| *sentence).unwrap_or_default();
    let ended = ended
        .parse::<u32>()
        .ok()
        .filter(|_| ENDS_API_TOKENS.contains(&word));
    match ended {
        None => sentence.to_owned(),
        Some(0) => format!("{sentence} No API token ended."),
        Some(1) => format!("{sentence} One API token ended with them."),
        Some(ended) => format!("{sentence} {ended} API tokens ended with them."),
    }
}

/// Of those, what may end API tokens.
const ENDS_API_TOKENS: [&str; 2] = ["sessions-ended", "password-changed"];

/// An answer that sends the browser to another page, by GET whatever the request was.
pub(crate) fn see_other(to: &str) -> Response {
    Redirect::to(to).into_response()
}
