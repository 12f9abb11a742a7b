//! Denials as HTTP responses: status, challenge, body (RFC 6750 section 3, RFC 9728 section 5.1).

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, Method};
use pingora_error::Result;
use pingora_http::ResponseHeader;

use crate::config::{Api, ErrorForm};
use crate::domain::decision::DenyReason;
use crate::gateway::read::cors::CorsHeaders;
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

    fn header(&self, body: &Bytes) -> Result<ResponseHeader> {
        let status = self.status();
        let mut header = ResponseHeader::build(status, Some(10))?;
        header.insert_header(CONTENT_TYPE, "application/json")?;
        header.insert_header(CACHE_CONTROL, "no-store")?;
        header.insert_header("X-Request-Id", self.request_id)?;
        header.insert_header(CONTENT_LENGTH, body.len().to_string())?;
        if self.reason.challenges() {
            header.insert_header(WWW_AUTHENTICATE, self.challenge())?;
        }
        if matches!(status, 429 | 503) {
            header.insert_header(RETRY_AFTER, RETRY_AFTER_S)?;
        }
        if status == 429 {
            header.insert_header("X-RateLimit-Reset", RETRY_AFTER_S)?;
        }
        if let Some(cors) = &self.cors {
            cors.apply(&mut header)?;
        }
        Ok(header)
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
        let mut out = Vec::with_capacity(512);
        let status = http::StatusCode::from_u16(self.status()).unwrap_or_default();
        out.extend_from_slice(format!("HTTP/1.1 {status}\r\n").as_bytes());
        if let Ok(header) = self.header(&body) {
            header.header_to_h1_wire(&mut out);
        }
        out.extend_from_slice(b"Connection: close\r\n\r\n");
        out.extend_from_slice(&body);
        out
    }

    /// Writes the response; to `HEAD` its head alone.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn send(&self, session: &mut Session, is_head: bool) -> Result<()> {
        let body = self.body();
        let header = self.header(&body)?;
        write(session, header, body, is_head).await
    }
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

async fn write(session: &mut Session, head: ResponseHeader, body: Bytes, is_head: bool) -> Result<()> {
    session.write_head(head, is_head).await?;
    match is_head {
        true => Ok(()),
        false => session.write_last(body).await,
    }
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
    further: Option<(HeaderName, String)>,
) -> Result<()> {
    let body = Bytes::from(body.to_string());
    let mut header = ResponseHeader::build(status, Some(6))?;
    header.insert_header(CONTENT_TYPE, "application/json")?;
    header.insert_header(CACHE_CONTROL, "no-store")?;
    header.insert_header(CONTENT_LENGTH, body.len().to_string())?;
    if !request_id.is_empty() {
        header.insert_header("X-Request-Id", request_id)?;
    }
    if let Some((name, value)) = further {
        header.insert_header(name, value)?;
    }
    let is_head = session.req_header().method == Method::HEAD;
    write(session, header, body, is_head).await
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
