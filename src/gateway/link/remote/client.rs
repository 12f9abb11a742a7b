//! An edge's HTTP client: small messages, a snapshot, and the change stream, each bounded in time and size.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::fleet::position::Position;
use crate::fleet::protocol::{MESSAGE_BYTES_MAX, POSITION_HEADER, ROOT, SecretText};
use crate::http_client::Trust;
use crate::pem_file;

/// How long a small message may take.
const MESSAGE_WITHIN: Duration = Duration::from_secs(10);

/// How long the server may be silent while it sends a snapshot.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// The largest packed snapshot, in bytes.
const PACKED_BYTES_MAX: usize = 1 << 30;

/// The largest event of the change stream, in bytes.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// Why a control plane was of no use.
#[derive(Debug, Error)]
pub enum LinkError {
    #[error("the session is no longer accepted")]
    SessionEnded,
    #[error("the control plane answered {status}: {detail}")]
    Refused { status: u16, detail: String },
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("the connection failed: {0}")]
    Connection(String),
    #[error("the answer cannot be used: {0}")]
    Answer(&'static str),
    #[error("the certificate authorities cannot be used: {0}")]
    Authorities(String),
}

/// A client of the control planes of one fleet.
#[derive(Clone)]
pub struct Client(HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Client {
    /// A client that trusts these authorities (PEM), or the system's.
    ///
    /// # Errors
    /// [`LinkError::Authorities`].
    pub fn new(ca: Option<&[u8]>) -> Result<Self, LinkError> {
        let trust = match ca {
            None => Trust::System,
            Some(pem) => {
                let roots = pem_file::authorities(pem);
                let roots = roots.map_err(|problem| LinkError::Authorities(problem.to_owned()))?;
                Trust::Authorities(Arc::new(roots))
            }
        };
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(5)));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(trust.client_config())
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Self(HyperClient::builder(TokioExecutor::new()).build(https)))
    }

    /// Sends a message and reads the answer.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn call<A: DeserializeOwned>(
        &self,
        base: &str,
        path: &str,
        session: Option<&SecretText>,
        message: &(impl Serialize + Sync),
    ) -> Result<A, LinkError> {
        let answer = self.send(base, path, session, message).await?;
        serde_json::from_slice(&answer).map_err(|_| LinkError::Answer("it is not the JSON that was expected"))
    }

    /// Sends a message whose answer has no content.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn send(
        &self,
        base: &str,
        path: &str,
        session: Option<&SecretText>,
        message: &(impl Serialize + Sync),
    ) -> Result<Bytes, LinkError> {
        let body =
            serde_json::to_vec(message).map_err(|_| LinkError::Answer("the message cannot be written"))?;
        let mut request = request(Method::POST, base, path, session)?;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
        *request.body_mut() = Full::from(body);
        let exchange = async {
            let response = self.0.request(request).await.map_err(connection)?;
            read(response).await
        };
        within(MESSAGE_WITHIN, exchange).await
    }

    /// Says that the instance ends.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn goodbye(&self, base: &str, session: &SecretText) -> Result<(), LinkError> {
        let request = request(Method::DELETE, base, "/sessions", Some(session))?;
        let exchange = async {
            let response = self.0.request(request).await.map_err(connection)?;
            read(response).await
        };
        within(Duration::from_secs(2), exchange).await.map(|_| ())
    }

    /// Fetches a snapshot, as it is packed, and the position that it leads to.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn snapshot(&self, base: &str, session: &SecretText) -> Result<(Position, Bytes), LinkError> {
        let request = request(Method::GET, base, "/snapshot", Some(session))?;
        let response = within(SILENCE_MAX, async {
            self.0.request(request).await.map_err(connection)
        });
        let response = response.await?;
        if response.status() != StatusCode::OK {
            return Err(refused(response).await);
        }
        let position = response.headers().get(POSITION_HEADER);
        let position = position
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .ok_or(LinkError::Answer("the snapshot names no position"))?;
        let mut body = response.into_body();
        let mut packed = BytesMut::new();
        while let Some(part) = next_part(&mut body, SILENCE_MAX).await? {
            if packed.len() + part.len() > PACKED_BYTES_MAX {
                return Err(LinkError::Answer("the snapshot is larger than 1 GiB"));
            }
            packed.extend_from_slice(&part);
        }
        Ok((position, packed.freeze()))
    }

    /// Follows the changes after a position.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn changes(
        &self,
        base: &str,
        session: &SecretText,
        after: Option<Position>,
    ) -> Result<EventStream, LinkError> {
        let mut request = request(Method::GET, base, "/changes", Some(session))?;
        if let Some(position) = after
            && let Ok(id) = HeaderValue::from_str(&position.to_string())
        {
            request.headers_mut().insert("last-event-id", id);
        }
        let response = within(MESSAGE_WITHIN, async {
            self.0.request(request).await.map_err(connection)
        });
        let response = response.await?;
        if response.status() != StatusCode::OK {
            return Err(refused(response).await);
        }
        Ok(EventStream {
            body: response.into_body(),
            held: BytesMut::new(),
        })
    }
}

/// One server-sent event.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub data: String,
}

/// Server-sent events as they come.
pub struct EventStream {
    body: Incoming,
    held: BytesMut,
}

impl EventStream {
    /// The next event, or none where a comment came: a sign of life.
    ///
    /// # Errors
    /// [`LinkError::Timeout`] after so long a silence, [`LinkError::Connection`] at the end of the stream.
    pub async fn next(&mut self, silence_max: Duration) -> Result<Option<Event>, LinkError> {
        loop {
            if let Some(event) = take_event(&mut self.held) {
                return Ok(event);
            }
            if self.held.len() > EVENT_BYTES_MAX {
                return Err(LinkError::Answer("an event is larger than 16 MiB"));
            }
            match next_part(&mut self.body, silence_max).await? {
                Some(part) => self.held.extend_from_slice(&part),
                None => return Err(LinkError::Connection("the stream ended".to_owned())),
            }
        }
    }
}

/// Takes the first complete event out of what is held: `Some(None)` for one that is a comment alone.
fn take_event(held: &mut BytesMut) -> Option<Option<Event>> {
    let end = memchr::memmem::find(held, b"\n\n")?;
    let block = held.split_to(end + 2);
    let text = std::str::from_utf8(&block).unwrap_or_default();
    let field = |name: &str| {
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(value.strip_prefix(' ').unwrap_or(value).to_owned())
    };
    Some(field("event").map(|name| Event {
        name,
        data: field("data").unwrap_or_default(),
    }))
}

async fn next_part(body: &mut Incoming, silence_max: Duration) -> Result<Option<Bytes>, LinkError> {
    loop {
        let frame = within(silence_max, async { Ok(body.frame().await) }).await?;
        match frame {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(error)) => return Err(LinkError::Connection(error.to_string())),
        }
    }
}

async fn within<T>(
    time: Duration,
    exchange: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    let done = tokio::time::timeout(time, exchange).await;
    done.unwrap_or(Err(LinkError::Timeout(time)))
}

fn request(
    method: Method,
    base: &str,
    path: &str,
    session: Option<&SecretText>,
) -> Result<Request<Full<Bytes>>, LinkError> {
    let uri: Uri = format!("{base}{ROOT}{path}")
        .parse()
        .map_err(|_| LinkError::Answer("its URL cannot be used"))?;
    let mut request = Request::new(Full::default());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    let agent = concat!("portcullis/", env!("CARGO_PKG_VERSION"));
    let headers: &mut HeaderMap = request.headers_mut();
    headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
    if let Some(session) = session
        && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", session.expose()))
    {
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    Ok(request)
}

async fn read(response: http::Response<Incoming>) -> Result<Bytes, LinkError> {
    if !response.status().is_success() {
        return Err(refused(response).await);
    }
    let body = Limited::new(response.into_body(), MESSAGE_BYTES_MAX)
        .collect()
        .await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|error| LinkError::Connection(error.to_string()))
}

/// What a problem document says.
async fn refused(response: http::Response<Incoming>) -> LinkError {
    let status = response.status();
    if status == StatusCode::UNAUTHORIZED {
        return LinkError::SessionEnded;
    }
    let body = Limited::new(response.into_body(), 16 * 1024).collect();
    let body = tokio::time::timeout(Duration::from_secs(2), body).await;
    let detail = match body {
        Ok(Ok(body)) => serde_json::from_slice::<serde_json::Value>(&body.to_bytes())
            .ok()
            .and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned())),
        _ => None,
    };
    LinkError::Refused {
        status: status.as_u16(),
        detail: detail.unwrap_or_else(|| "no reason given".to_owned()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to `map_err`")]
fn connection(error: hyper_util::client::legacy::Error) -> LinkError {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    LinkError::Connection(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_whole_and_comments_are_signs_of_life() {
        let mut held = BytesMut::from(&b":\n\nevent: changes\nid: 1.x\ndata: {}\n\nevent: snap"[..]);
        assert_eq!(take_event(&mut held), Some(None));
        let changes = Event {
            name: "changes".to_owned(),
            data: "{}".to_owned(),
        };
        assert_eq!(take_event(&mut held), Some(Some(changes)));
        assert_eq!(take_event(&mut held), None);
    }
}
