//! The middleware of a workspace's pages: who is signed in, and errors as pages of the workspace.

use std::sync::Arc;

use askama::Template;
use axum::extract::{OriginalUri, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{Method, header};

use super::fault::Fault;
use super::frame::{Frame, Section, page, see_other};
use super::notice::{Flash, Notice};
use super::paths;
use super::visit::PageContext;
use crate::control::error::ControlError;
use crate::control::http::cookies::Cookie;
use crate::control::plane::Control;

#[derive(Template)]
#[template(path = "frame/fault.html")]
pub(crate) struct FaultPage<'a> {
    frame: Frame,
    what: &'a str,
    do_next: String,
    /// Addresses of owners who can give a role.
    owners: Vec<String>,
}

/// The fault as a page of the workspace. A member without permission sees which owners to ask.
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
    fault.add_retry_after(&mut answer);
    answer
}

/// Finds out who is signed in before a page of a workspace is made, and shows errors as pages of the workspace.
pub(crate) async fn enter(State(control): State<Arc<Control>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let visit = match PageContext::of(&control, &mut parts).await {
        Ok(visit) => Arc::new(visit),
        Err(Fault::NotSignedIn) => return to_sign_in(&control, &parts),
        Err(fault) => return fault.into_response(),
    };
    let shows_notice = visit.flash.is_some() && parts.method == Method::GET;
    parts.extensions.insert(Arc::clone(&visit));
    let mut answer = next.run(Request::from_parts(parts, body)).await;
    if let Some(fault) = answer.extensions_mut().remove::<Arc<Fault>>() {
        answer = explain(&control, &visit, &fault).await;
    }
    if shows_notice && let Some(cookie) = control.cookies.clear(Cookie::Notice) {
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
    answer
}

/// The sign-in page, which leads back here, or to the page whose form was sent.
pub(crate) fn to_sign_in(control: &Control, parts: &Parts) -> Response {
    let is_read = parts.method == Method::GET;
    let next = if is_read {
        let uri = parts.extensions.get::<OriginalUri>();
        uri.and_then(|uri| uri.path_and_query())
            .map(|path| path.as_str().to_owned())
    } else {
        let referer = parts.headers.get(header::REFERER);
        referer
            .and_then(|referer| referer.to_str().ok())
            .and_then(paths::page_of_referer)
    };
    let mut answer = see_other(&paths::sign_in_to(&next.unwrap_or_default()));
    // A deep link that is opened without a session needs no explanation.
    let expired = control.cookies.get(Cookie::Session, &parts.headers).is_some();
    let notice = match (expired, is_read) {
        (false, true) => None,
        (true, true) => Some(Notice::SessionExpired),
        (_, false) => Some(Notice::FormNotSaved),
    };
    let cookie = notice.and_then(|notice| Flash::from(notice).to_cookie(control.cookies));
    if let Some(cookie) = cookie {
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
    answer
}
