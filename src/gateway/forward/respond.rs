//! Denials as HTTP responses: status, challenge, body (RFC 6750 section 3, RFC 9728 section 5.1).

use std::borrow::Cow;

use bytes::Bytes;
use http::Method;
use pingora_error::Result;

use crate::config::{Api, ErrorForm};
use crate::domain::decision::DenyReason;
use crate::gateway::read::cors::CorsHeaders;
use crate::gateway::wire::head_lines::HeadLines;
use crate::gateway::wire::own_fields::{Fields, response_header};
use crate::gateway::wire::session::Session;

/// Seconds after which a client may retry when the gateway could not decide.
const RETRY_AFTER_S: &str = "1";

/// The response to a denied request.
pub struct Answer<'a> {
    pub reason: DenyReason,
    pub api: Option<&'a Api>,
    pub request_id: &'a str,
    /// The URL of the protected resource's metadata, for the challenge.
    pub metadata_url: Option<String>,
    /// More about this denial than the reason's description, for debugging.
    pub detail: Option<Cow<'static, str>>,
    /// How errors are written where the API is not known.
    pub form: ErrorForm,
    /// Who may read the answer.
    pub cors: Option<CorsHeaders>,
}

impl<'a> Answer<'a> {
    /// A denial about which nothing more is known.
    #[must_use]
    pub fn new(reason: DenyReason, request_id: &'a str) -> Self {
        Self {
            reason,
            api: None,
            request_id,
            metadata_url: None,
            detail: None,
            form: ErrorForm::OAuth,
            cors: None,
        }
    }
}

impl Answer<'_> {
    /// The status: the reason's, or `reauthenticate_status` where a new token would help.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.api {
            Some(api) if self.reason.asks_for_new_token() && self.reason.status() == 401 => {
                api.reauthenticate_status
            }
            _ => self.reason.status(),
        }
    }

    fn fields(&self, body: &Bytes) -> Fields<'_> {
        let mut fields = own_fields(body, self.request_id);
        if self.reason.challenges() {
            fields.push(("WWW-Authenticate", self.challenge().into()));
        }
        let status = self.status();
        if matches!(status, 429 | 503) {
            fields.push(("Retry-After", RETRY_AFTER_S.into()));
        }
        if status == 429 {
            fields.push(("X-RateLimit-Reset", RETRY_AFTER_S.into()));
        }
        fields
    }

    /// A challenge: without an error where no token was sent (RFC 6750 section 3.1).
    fn challenge(&self) -> String {
        let mut challenge = String::from("Bearer");
        let mut separator = ' ';
        let mut add = |name: &str, value: &str| {
            challenge.push(separator);
            challenge.push_str(&format!("{name}=\"{value}\""));
            separator = ',';
        };
        if let "invalid_token" | "insufficient_scope" = self.reason.error() {
            add("error", self.reason.error());
            // Quotes and backslashes would end the quoted string; no sentence of ours has them (RFC 6750 section 3).
            let description = self.detail.as_deref().filter(|detail| is_quotable(detail));
            add(
                "error_description",
                description.unwrap_or(self.reason.description()),
            );
        }
        if let (DenyReason::ScopeInsufficient, Some(api)) = (self.reason, self.api) {
            add("scope", api.scope.as_str());
        }
        if let Some(url) = &self.metadata_url {
            add("resource_metadata", url);
        }
        challenge
    }

    /// Written by hand: refusals are what attackers ask for, and a map of each would cost twenty allocations.
    fn body(&self) -> Bytes {
        let description = self.detail.as_deref().unwrap_or(self.reason.description());
        let mut out = String::with_capacity(512);
        let mut member = |before: &str, text: &str| {
            out.push_str(before);
            push_json_text(&mut out, text);
        };
        match self.api.map_or(self.form, |api| api.error_form) {
            ErrorForm::OAuth => {
                member("{\"code\":", self.reason.as_str());
                member(",\"error\":", self.reason.error());
                member(",\"error_description\":", description);
                member(",\"message\":", description);
                member(",\"reason\":", self.reason.as_str());
                member(",\"request_id\":", self.request_id);
                out.push('}');
            }
            ErrorForm::PublicApi => {
                member("{\"errors\":[{\"message\":", description);
                member(",\"type\":", self.reason.as_str());
                out.push_str("}]}");
            }
        }
        Bytes::from(out)
    }

    /// The whole response as bytes of HTTP/1.1. The connection ends behind it.
    #[must_use]
    pub fn to_http1(&self) -> Vec<u8> {
        let body = self.body();
        let status = http::StatusCode::from_u16(self.status()).unwrap_or_default();
        let mut head = format!("HTTP/1.1 {status}\r\n");
        for (name, value) in self.fields(&body) {
            head.push_str(name);
            head.push_str(": ");
            head.push_str(&value);
            head.push_str("\r\n");
        }
        head.push_str("Connection: close\r\n\r\n");
        [head.as_bytes(), &body].concat()
    }

    /// Writes the response; to `HEAD` its head alone.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn send(&self, session: &mut Session) -> Result<()> {
        let body = self.body();
        let fields = self.fields(&body);
        let Some(cors) = &self.cors else {
            return session.respond(self.status(), &fields, body).await;
        };
        let mut head = response_header(self.status(), &fields)?;
        cors.apply(&mut head)?;
        let is_head = session.req_header().method == Method::HEAD;
        session.write_head(head, &HeadLines::default(), is_head)?;
        session
            .write_last(if is_head { Bytes::new() } else { body })
            .await
    }
}

/// What every response of the gateway's own says.
fn own_fields<'a>(body: &Bytes, request_id: &'a str) -> Fields<'a> {
    let mut fields = Fields::new();
    fields.push(("Content-Type", "application/json".into()));
    fields.push(("Cache-Control", "no-store".into()));
    fields.push(("Content-Length", body.len().to_string().into()));
    if !request_id.is_empty() {
        fields.push(("X-Request-Id", request_id.into()));
    }
    fields
}

/// An error's body. `codes` are `error` and `code`.
#[must_use]
pub fn error_body(
    form: ErrorForm,
    codes: (&str, &str),
    description: &str,
    reason: &str,
    request_id: &str,
) -> serde_json::Value {
    let (error, code) = codes;
    match form {
        ErrorForm::OAuth => serde_json::json!({
            "error": error,
            "error_description": description,
            "reason": reason,
            "request_id": request_id,
            "code": code,
            "message": description,
        }),
        ErrorForm::PublicApi => serde_json::json!({"errors": [{"type": code, "message": description}]}),
    }
}

/// Whether a sentence may stand in a quoted string of a challenge (RFC 6750 section 3).
fn is_quotable(sentence: &str) -> bool {
    let is_plain = |byte: u8| (byte == b' ' || byte.is_ascii_graphic()) && !matches!(byte, b'"' | b'\\');
    sentence.bytes().all(is_plain)
}

/// Writes a small JSON response that is not a denial with a reason.
///
/// # Errors
/// The client is gone.
pub async fn send_json(
    session: &mut Session,
    status: u16,
    body: &serde_json::Value,
    request_id: &str,
    further: Option<(&'static str, String)>,
) -> Result<()> {
    let body = Bytes::from(body.to_string());
    let mut fields = own_fields(&body, request_id);
    fields.extend(further.map(|(name, value)| (name, value.into())));
    session.respond(status, &fields, body).await
}

/// The path of the protected resource's metadata (RFC 9728 section 3.1).
pub const METADATA_PATH: &str = "/.well-known/oauth-protected-resource";

/// Appends a JSON string. Nearly always nothing in it needs an escape.
fn push_json_text(out: &mut String, text: &str) {
    let is_plain = |byte: u8| byte >= b' ' && !matches!(byte, b'"' | b'\\');
    if text.bytes().all(is_plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denial_body_is_json_whatever_texts_hold() {
        for (id, detail) in [
            ("a-1", None),
            ("\"}{\\", Some("line\nbreak \"quoted\" \u{1}")),
            ("", Some("")),
        ] {
            let answer = Answer {
                detail: detail.map(Cow::Borrowed),
                ..Answer::new(DenyReason::TokenMissing, id)
            };
            let json: serde_json::Value = serde_json::from_slice(&answer.body()).unwrap();
            let description = detail.unwrap_or(DenyReason::TokenMissing.description());
            assert_eq!(json["request_id"], id);
            assert_eq!(json["message"], description);
            assert_eq!(json["error_description"], description);
            assert_eq!(json["reason"], "token_missing");
        }
    }
}
