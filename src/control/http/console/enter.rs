//! The middleware of a workspace's pages: who is here, and how a page's refusal looks.

use super::components::encoded;
use super::fault::Fault;
use super::frame::Frame;
use super::frame::Section;
use super::frame::page;
use super::frame::see_other;
use super::visit::PageContext;
use crate::control::error::ControlError;
use crate::control::plane::Control;
use askama::Template;
use axum::extract::Request;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use http::Method;
use http::request::Parts;
use std::sync::Arc;

#[derive(Template)]
#[template(path = "fault.html")]
pub(crate) struct FaultPage<'a> {
    frame: Frame,
    what: &'a str,
    do_next: String,
    /// Whom to ask.
    owners: Vec<String>,
}

/// The fault as a page of the workspace. Whoever may not do something is told who can let them.
pub(crate) async fn explain(control: &Control, visit: &PageContext, fault: &Fault) -> Response {
    let (status, what, do_next) = fault.words();
    let owners = match fault {
        Fault::Control(ControlError::Forbidden(_)) => control
            .search
            .owner_addresses(&visit.actor, &visit.workspace.id)
            .await
            .unwrap_or_default(),
        _ => Vec::new(),
    };
    let mut answer = page(
        status,
        &FaultPage {
            frame: visit.frame(what, Section::None),
            what,
            do_next,
            owners,
        },
    );
    fault.say_when(&mut answer);
    answer
}

/// Finds out who is here before any page of a workspace is made, and dresses what a page refuses.
pub(crate) async fn enter(State(control): State<Arc<Control>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let visit = match PageContext::of(&control, &mut parts).await {
        Ok(visit) => Arc::new(visit),
        Err(Fault::NotSignedIn) => return to_sign_in(&parts),
        Err(fault) => return fault.into_response(),
    };
    parts.extensions.insert(Arc::clone(&visit));
    let mut answer = next.run(Request::from_parts(parts, body)).await;
    match answer.extensions_mut().remove::<Arc<Fault>>() {
        Some(fault) => explain(&control, &visit, &fault).await,
        None => answer,
    }
}

/// The sign-in page, which leads back here if this was only looked at.
pub(crate) fn to_sign_in(parts: &Parts) -> Response {
    let here = parts.extensions.get::<axum::extract::OriginalUri>();
    let here = here
        .and_then(|uri| uri.path_and_query())
        .map(http::uri::PathAndQuery::as_str);
    match here {
        Some(here) if parts.method == Method::GET => {
            see_other(&format!("/console/sign-in?next={}", encoded(here)))
        }
        _ => see_other("/console/sign-in"),
    }
}
