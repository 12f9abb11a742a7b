//! What a page says when it cannot do what it was asked: a page too, with what to do next.

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
    /// A form that we did not make for this session, or that is broken.
    Form,
    Unreadable(BadRequest),
    Control(ControlError),
}

impl<E: Into<ControlError>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Control(error.into())
    }
}

/// What the handlers of pages answer.
pub(crate) type Page = Result<Response, Fault>;

#[derive(Template)]
#[template(path = "fault_alone.html")]
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
                "That came from another site",
                own("Nothing was changed. Open the console yourself and do it there."),
            ),
            Self::Form => (
                StatusCode::FORBIDDEN,
                "That form is not of this session",
                own(
                    "Nothing was changed. You may have signed in again since it was opened: go back, reload the page and send it once more.",
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
                "What you sent could not be read",
                format!("{} Nothing was changed.", sentence(&error.to_string())),
            ),
            Self::Control(error) => of_control(error),
        }
    }
}

impl Fault {
    /// Says in an answer when to try again, where that helps.
    pub(crate) fn say_when(&self, answer: &mut Response) {
        if let Self::Unreadable(fault) = self {
            fault.say_when(answer);
        }
    }
}

fn of_control(error: &ControlError) -> (StatusCode, &'static str, String) {
    let told = sentence(&error.to_string());
    match error {
        ControlError::NotFound(_) => (
            StatusCode::NOT_FOUND,
            "There is nothing here",
            format!("{told} It may have been deleted, or you may not be allowed to see it."),
        ),
        // It was good when the form began to arrive.
        ControlError::Unauthenticated => Fault::NotSignedIn.words(),
        ControlError::Forbidden(_)
        | ControlError::OperatorOnly
        | ControlError::NotOwnerOfAll
        | ControlError::RolesChanged => (StatusCode::FORBIDDEN, "You may not do this", told),
        ControlError::Invalid { problem, .. } => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "That cannot be taken",
            sentence(problem),
        ),
        ControlError::TooMany(_) | ControlError::TooManyFailures(_) => {
            (StatusCode::TOO_MANY_REQUESTS, "Too many requests", told)
        }
        ControlError::Conflict(_) => (StatusCode::CONFLICT, "Something stands in the way", told),
        ControlError::NotYetInForce { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "Stored, not yet in force", told)
        }
        ControlError::Store(StoreError::Full(_) | StoreError::Unconfirmed(_)) => {
            tracing::error!(%error, "a page failed");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "The store failed",
                sentence(error.fault()),
            )
        }
        ControlError::Store(StoreError::Unavailable(_)) => {
            tracing::error!(%error, "a page failed");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "The store does not answer",
                "Nothing was changed. Try again shortly; if it lasts, tell the operator of this server."
                    .to_owned(),
            )
        }
        _ => {
            tracing::error!(%error, "a page failed for our fault");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                "This server failed",
                "Nothing was changed. Try again; if it happens again, tell the operator of this server."
                    .to_owned(),
            )
        }
    }
}

/// Outside of a workspace a fault is a page of its own. Inside, `visit::enter` makes it one of the workspace:
/// it finds the fault beside the answer.
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
        self.say_when(&mut answer);
        answer.extensions_mut().insert(Arc::new(self));
        answer
    }
}

/// A path or a method that the console does not serve.
pub(crate) async fn nothing_here() -> Fault {
    Fault::Control(ControlError::NotFound("page"))
}

/// What a form is told: the field at fault and what is wrong with it, or a sentence for the whole form.
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

    /// What of an error can be put right in the form; everything else is a fault of its own.
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
                problem: "somebody else changed this after you opened the page; what you typed is still here: look at it again, then save"
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

    /// The same refusal without its words, where the page says them in a better way.
    pub fn unsaid(self) -> Self {
        Self {
            problem: String::new(),
            ..self
        }
    }

    /// What is wrong with a field.
    pub fn of_field(&self, name: &str) -> Option<&str> {
        (!self.problem.is_empty() && self.field == name).then_some(self.problem.as_str())
    }

    /// Whether the problem is of a field whose name begins so.
    pub fn is_below(&self, prefix: &str) -> bool {
        !self.problem.is_empty() && self.field.starts_with(prefix)
    }

    /// What is wrong, where it belongs to none of these fields.
    pub fn of_form(&self, fields: &[&str]) -> String {
        if self.problem.is_empty() || fields.contains(&self.field.as_str()) {
            return String::new();
        }
        sentence(&self.problem)
    }
}
