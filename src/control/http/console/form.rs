//! Reading a form: its size is bounded, and it must come from a page of this session.

use super::fields::{CSRF, Fields};
use std::sync::Arc;

use axum::extract::{FromRequest, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::fault::Fault;
use super::visit::PageContext;
use crate::control::http::cookies::{is_safe, is_same_origin};
use crate::control::plane::Control;

/// A form of the session that sends it: its CSRF token is checked.
pub(crate) struct Posted(pub Fields);

impl FromRequest<Arc<Control>> for Posted {
    type Rejection = Fault;

    async fn from_request(request: Request, _: &Arc<Control>) -> Result<Self, Fault> {
        let visit = request
            .extensions()
            .get::<Arc<PageContext>>()
            .cloned()
            .ok_or(Fault::NotSignedIn)?;
        let fields = Fields::read(request).await?;
        if visit.is_csrf(fields.raw(CSRF)) {
            Ok(Self(fields))
        } else {
            Err(Fault::Form)
        }
    }
}

/// Rejects a change that another site sends (CSRF). Browsers send `Sec-Fetch-Site` or `Origin`; a client that sends
/// neither has no cookies of a browser. Forms of a session carry a CSRF token as well ([`Posted`]).
pub(crate) async fn same_origin(
    State(control): State<Arc<Control>>,
    request: Request,
    next: Next,
) -> Response {
    if is_safe(request.method()) || is_same_origin(request.headers(), control.issuer()) != Some(false) {
        next.run(request).await
    } else {
        Fault::OtherSite.into_response()
    }
}
