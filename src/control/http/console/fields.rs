//! The fields of a form.

use super::fault::Fault;

use super::multipart;
use crate::control::form::Form;
use crate::control::http::body::has_media_type;
use crate::control::http::body::read_body;
use axum::extract::Request;
use http::header;

/// The field with the CSRF token of the session.
pub(crate) const CSRF: &str = "csrf";

/// The fields of a form.
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// The value of a field, without spaces around it.
    pub fn text(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// The value of a field; empty if it is absent.
    pub fn raw(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(held, _)| held == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Whether a checkbox was ticked.
    pub fn ticked(&self, name: &str) -> bool {
        !self.raw(name).is_empty()
    }

    /// The ticked checkboxes whose names begin with `prefix`, by the rest of their names.
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

/// The most fields of a form: every role with all checkboxes of its sources.
pub(crate) const FIELDS_MAX: usize = 512;
