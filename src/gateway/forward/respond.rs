//! A denial as an HTTP response: status, challenge, body (RFC 6750 section 3, RFC 9728 section 5.1).

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, Method};
use pingora_core::protocols::http::ServerSession;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_timeout::timeout;

use crate::config::{Api, ErrorForm};
use crate::domain::decision::DenyReason;
use crate::gateway::read::cors::CorsHeaders;
use crate::gateway::wire::socket::Socket;

/// Seconds after which a client may try again when we could not decide.
const RETRY_AFTER_S: &str = "1";

/// How long a client may take to read a response's head where nothing else is said.
const WRITTEN_WITHIN: Duration = Duration::from_secs(30);

/// What a denial's answer says.
pub struct Answer<'a> {
    pub reason: DenyReason,
    pub api: Option<&'a Api>,
    pub request_id: &'a str,
    /// Where the protected resource's metadata is, for the challenge.
    pub metadata_url: Option<String>,
    /// More about this one denial than the reason's sentence, for the person who debugs it.
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
    /// The status: the reason's, or 511 where the API wants that for tokens that a new one would cure.
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

    /// A bare challenge where no token was sent, else with the error (RFC 6750 section 3.1).
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

    fn body(&self) -> Bytes {
        let description = self.detail.as_deref().unwrap_or(self.reason.description());
        let form = self.api.map_or(self.form, |api| api.error_form);
        let reason = self.reason.as_str();
        let json = error_body(
            form,
            (self.reason.error(), reason),
            description,
            reason,
            self.request_id,
        );
        Bytes::from(json.to_string())
    }

    /// The whole answer as it stands on an HTTP/1.1 connection, which ends after it.
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

    /// Writes the whole answer, of which `HEAD` gets the head alone.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn send(&self, session: &mut ServerSession, is_head: bool) -> Result<()> {
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

/// Writes a response's head. The last thing of a response says so itself: an HTTP/2 client would count
/// the bytes that `Content-Length` promises, and miss them. Once the listener has stopped, each answer is
/// the last of its connection, and says so.
///
/// # Errors
/// The client is gone.
pub async fn write_head(session: &mut ServerSession, head: ResponseHeader, is_last: bool) -> Result<()> {
    let within = session.get_write_timeout().unwrap_or(WRITTEN_WITHIN);
    match session {
        ServerSession::H2(session) => return session.write_response_header(Box::new(head), is_last),
        ServerSession::H1(session) if Socket::has_stopped(session) => session.set_server_keepalive(None),
        _ => {}
    }
    // Pingora bounds the writing of bodies only.
    timeout(within, session.write_response_header(Box::new(head)))
        .await
        .unwrap_or_else(|_| Err(timed_out("writing a response's head")))
}

/// Writes the last part of a response's body, and all that is still to be written before it. Pingora bounds the
/// part alone, and not the end of the body behind it, which a client that reads nothing would keep for ever.
///
/// # Errors
/// The client is gone, or takes nothing.
pub async fn write_last(session: &mut ServerSession, part: Bytes) -> Result<()> {
    let within = session.get_write_timeout().unwrap_or(WRITTEN_WITHIN);
    timeout(within, session.write_response_body(part, true))
        .await
        .unwrap_or_else(|_| Err(timed_out("writing a response's end")))
}

fn timed_out(doing: &'static str) -> Box<Error> {
    Error::explain(ErrorType::WriteTimedout, doing)
}

async fn write(session: &mut ServerSession, head: ResponseHeader, body: Bytes, is_head: bool) -> Result<()> {
    write_head(session, head, is_head).await?;
    match is_head {
        true => Ok(()),
        false => write_last(session, body).await,
    }
}

/// Writes a small JSON answer that is no denial by a reason.
///
/// # Errors
/// The client is gone.
pub async fn send_json(
    session: &mut ServerSession,
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

/// Where the protected resource's metadata is (RFC 9728 section 3.1).
pub const METADATA_PATH: &str = "/.well-known/oauth-protected-resource";
