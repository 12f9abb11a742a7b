//! What a form sent: read whole within a bound, from this site, by somebody who was shown the form.

use super::fields::{CSRF, Fields};
use std::sync::Arc;

use axum::extract::{FromRequest, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::fault::Fault;
use super::visit::PageContext;
use crate::control::http::cookies::{is_safe, is_same_origin};
use crate::control::plane::Control;

/// The form that a member sent, from a page that was made for their session.
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

/// Refuses to change anything for another site. A browser says where a form was; what says nothing is no
/// browser, and carries nobody's cookies along. Forms of a session prove themselves besides ([`Posted`]).
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
