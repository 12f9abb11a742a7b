//! What a form sent: read whole within a bound, from this site, by somebody who was shown the form.

use std::sync::Arc;

use axum::extract::{FromRequest, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header;

use super::fault::Fault;
use super::multipart;
use super::visit::Visit;
use crate::control::form::Form;
use crate::control::http::body::{has_media_type, read_body};
use crate::control::http::cookies::{is_safe, is_same_origin};
use crate::control::plane::Control;

/// The field of every form that proves that we sent it to this session.
pub(crate) const CSRF: &str = "csrf";

/// The most fields of a form: every role with all the boxes that its list of sources has.
const FIELDS_MAX: usize = 512;

/// The fields of a form.
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// What was typed into a field, without the spaces around it.
    pub fn text(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// A field's value as it came; empty where there is none.
    pub fn raw(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(held, _)| held == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Whether a box was ticked.
    pub fn ticked(&self, name: &str) -> bool {
        !self.raw(name).is_empty()
    }

    /// The ticked ones of the boxes whose names begin with `prefix`, by the rest of their names.
    pub fn ticked_of(&self, prefix: &str) -> Vec<String> {
        let rest = |(name, value): &(String, String)| {
            let rest = name.strip_prefix(prefix)?;
            (!value.is_empty()).then(|| rest.to_owned())
        };
        self.0.iter().filter_map(rest).collect()
    }

    pub(crate) async fn read(request: Request) -> Result<Self, Fault> {
        let (parts, body) = request.into_parts();
        let body = read_body(body).await.map_err(Fault::Unreadable)?;
        if has_media_type(&parts.headers, "application/x-www-form-urlencoded") {
            let form = Form::parse_up_to(FIELDS_MAX, &body).map_err(|_| Fault::Form)?;
            return Ok(Self(form.into_pairs()));
        }
        let kind = parts.headers.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if has_media_type(&parts.headers, "multipart/form-data") {
            return multipart::parse(kind, &body).map(Self).ok_or(Fault::Form);
        }
        Err(Fault::Form)
    }
}

/// The form that a member sent, from a page that was made for their session.
pub(crate) struct Posted(pub Fields);

impl FromRequest<Arc<Control>> for Posted {
    type Rejection = Fault;

    async fn from_request(request: Request, _: &Arc<Control>) -> Result<Self, Fault> {
        let visit = request
            .extensions()
            .get::<Arc<Visit>>()
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
