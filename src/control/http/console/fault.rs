//! Errors as pages, with what to do next, and what is wrong with a form.

use std::sync::Arc;

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::components::sentence;
use super::frame::page;
use crate::control::bad_request::BadRequest;
use crate::control::error::ControlError;
use crate::store::StoreError;

/// Why there is no page.
#[derive(Debug)]
pub(crate) enum Fault {
    NotSignedIn,
    /// A form of another site.
    OtherSite,
    /// A form without the CSRF token of this session, or a malformed one.
    Form,
    Unreadable(BadRequest),
    Control(ControlError),
}

impl<E: Into<ControlError>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Control(error.into())
    }
}

/// The result of a page handler.
pub(crate) type Page = Result<Response, Fault>;

#[derive(Template)]
#[template(path = "outside/fault.html")]
struct FaultAlone<'a> {
    title: &'a str,
    what: &'a str,
    do_next: String,
}

impl Fault {
    /// Status, what is wrong, and what to do about it.
    pub(crate) fn words(&self) -> (StatusCode, &'static str, String) {
        let own = |text: &str| text.to_owned();
        match self {
            Self::NotSignedIn => (
                StatusCode::UNAUTHORIZED,
                "You are not signed in",
                own("Sign in, then try again."),
            ),
            Self::OtherSite => (
                StatusCode::FORBIDDEN,
                "Request blocked: it came from another site",
                own("Nothing was changed. Open the console and do it there."),
            ),
            Self::Form => (
                StatusCode::FORBIDDEN,
                "This form has expired",
                own(
                    "Nothing was changed. You may have signed in again since you opened it. Go back, reload the page and send the form again.",
                ),
            ),
            Self::Unreadable(error @ BadRequest::Exhausted(_)) => {
                let (status, _, title) = error.status();
                (
                    status,
                    title,
                    format!("{} Nothing was changed.", sentence(&error.to_string())),
                )
            }
            Self::Unreadable(error) => (
                StatusCode::BAD_REQUEST,
                "The form could not be read",
                format!("{} Nothing was changed.", sentence(&error.to_string())),
            ),
            Self::Control(error) => of_control(error),
        }
    }
}

impl Fault {
    /// Adds `Retry-After` where waiting helps.
    pub(crate) fn add_retry_after(&self, answer: &mut Response) {
        if let Self::Unreadable(fault) = self {
            fault.say_when(answer);
        }
    }
}

/// Log message: a page ended in an error of this server.
const PAGE_FAILED: &str = "console page failed";

/// The heading for something that is not there.
fn not_found_title(what: &str) -> &'static str {
    match what {
        "page" => "Page not found",
        "source" => "Source not found",
        "OAuth app" => "OAuth app not found",
        "public key" => "Public key not found",
        "member" => "Member not found",
        "workspace" => "Workspace not found",
        "signing key" => "Signing key not found",
        "edge" => "Edge not found",
        _ => "Not found",
    }
}

fn of_control(error: &ControlError) -> (StatusCode, &'static str, String) {
    let told = sentence(&error.to_string());
    let own = |text: &str| text.to_owned();
    match error {
        ControlError::NotFound(what) => (
            StatusCode::NOT_FOUND,
            not_found_title(what),
            own("It may have been deleted, or you don't have access to it."),
        ),
        // The session ended while the form arrived.
        ControlError::Unauthenticated => Fault::NotSignedIn.words(),
        ControlError::Forbidden(_)
        | ControlError::OperatorOnly
        | ControlError::NotOwnerOfAll
        | ControlError::RolesChanged => (StatusCode::FORBIDDEN, "You don't have permission", told),
        ControlError::PasswordsOff => (StatusCode::FORBIDDEN, "Passwords are turned off", told),
        ControlError::Invalid { problem, .. } => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "Invalid input",
            sentence(problem),
        ),
        ControlError::TooMany(_) | ControlError::TooManyFailures(_) => {
            (StatusCode::TOO_MANY_REQUESTS, "Too many requests", told)
        }
        ControlError::Conflict(_) => (StatusCode::CONFLICT, "This can't be done right now", told),
        ControlError::NotYetInForce { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "Saved, not yet in force", told)
        }
        ControlError::Store(StoreError::Full(_) | StoreError::Unconfirmed(_)) => {
            tracing::error!(%error, "{PAGE_FAILED}");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "The database failed",
                sentence(error.fault()),
            )
        }
        ControlError::Store(StoreError::Unavailable(_)) => {
            tracing::debug!(%error, "{PAGE_FAILED}");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "The database does not respond",
                "Nothing was changed. Try again shortly. If it keeps happening, tell the operator of this server."
                    .to_owned(),
            )
        }
        _ => {
            tracing::error!(%error, "{PAGE_FAILED}");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal error",
                "Nothing was changed. Try again. If it keeps happening, tell the operator of this server."
                    .to_owned(),
            )
        }
    }
}

/// Outside of a workspace a fault is a page of its own. Inside, `enter` takes the fault from the response's extensions
/// and shows it as a page of the workspace.
impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let (status, what, do_next) = self.words();
        let mut answer = page(
            status,
            &FaultAlone {
                title: what,
                what,
                do_next,
            },
        );
        self.add_retry_after(&mut answer);
        answer.extensions_mut().insert(Arc::new(self));
        answer
    }
}

/// A path or a method that the console does not serve.
pub(crate) async fn no_page() -> Fault {
    Fault::Control(ControlError::NotFound("page"))
}

/// What is wrong with a form: a field and its problem, or a sentence for the whole form.
#[derive(Default)]
pub(crate) struct Problems {
    field: String,
    problem: String,
    pub status: StatusCode,
}

impl Problems {
    /// None, for a form that is shown for the first time.
    pub fn none() -> Self {
        Self {
            status: StatusCode::OK,
            ..Self::default()
        }
    }

    /// The problems that the member can correct in the form. Every other error is a fault.
    pub fn of(error: ControlError) -> Result<Self, Fault> {
        match error {
            ControlError::Invalid { field, problem } => Ok(Self {
                field,
                problem,
                status: StatusCode::UNPROCESSABLE_ENTITY,
            }),
            ControlError::Conflict(conflict) => Ok(Self {
                field: String::new(),
                problem: conflict.to_string(),
                status: StatusCode::CONFLICT,
            }),
            ControlError::Changed { .. } => Ok(Self {
                field: String::new(),
                problem: "this was changed in another tab or by someone else; your input is still here: check it, then save again"
                    .to_owned(),
                status: StatusCode::CONFLICT,
            }),
            other => Err(Fault::Control(other)),
        }
    }

    /// A problem of one field.
    pub fn at(field: &str, problem: &str) -> Self {
        Self {
            field: field.to_owned(),
            problem: problem.to_owned(),
            status: StatusCode::UNPROCESSABLE_ENTITY,
        }
    }

    /// The same status without the sentence, for a page that explains the problem itself.
    pub fn without_words(self) -> Self {
        Self {
            problem: String::new(),
            ..self
        }
    }

    /// What is wrong with a field.
    pub fn of_field(&self, name: &str) -> Option<&str> {
        (!self.problem.is_empty() && self.field == name).then_some(self.problem.as_str())
    }

    /// Whether the problem is of a field whose name begins with `prefix`.
    pub fn is_below(&self, prefix: &str) -> bool {
        !self.problem.is_empty() && self.field.starts_with(prefix)
    }

    /// The problem of the form as a whole: one that belongs to none of these fields.
    pub fn of_form(&self, fields: &[&str]) -> String {
        if self.problem.is_empty() || fields.contains(&self.field.as_str()) {
            return String::new();
        }
        sentence(&self.problem)
    }
}
