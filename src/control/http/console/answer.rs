//! How a page answers: as it is, or after a form was sent.

use askama::Template;
use axum::response::Response;
use http::StatusCode;

use super::fault::{Fault, Page, Problems};
use super::frame::page;
use crate::control::error::ControlError;

/// The page, with status 200.
pub(crate) fn shown(template: &impl Template) -> Page {
    Ok(page(StatusCode::OK, template))
}

/// Answers a form: with `done` if it did what it was sent for, else with the form `again` and what is wrong in it.
///
/// # Errors
/// What no form can put right.
pub(crate) async fn answered<T, F: Template>(
    result: Result<T, ControlError>,
    done: impl FnOnce(T) -> Response,
    again: impl AsyncFnOnce(Problems) -> Result<F, Fault>,
) -> Page {
    match result {
        Ok(value) => Ok(done(value)),
        Err(error) => refused(Problems::of(error)?, again).await,
    }
}

/// The form again, with what is wrong in it.
pub(crate) async fn refused<F: Template>(
    problems: Problems,
    again: impl AsyncFnOnce(Problems) -> Result<F, Fault>,
) -> Page {
    let status = problems.status;
    Ok(page(status, &again(problems).await?))
}
