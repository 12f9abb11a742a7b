//! One request of a client and the way back to it, over HTTP/1 or HTTP/2.

use std::net::IpAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::AsHeaderName;
use http::{HeaderValue, StatusCode};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v1::server::HttpSession as Http1;
use pingora_error::{BError, Error, ErrorType};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_timeout::timeout;

use super::http2_stream::Http2Stream;
use super::socket::Socket;

/// How long a client may take to read a response's head where no write timeout is set.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// A request whose head was read. Its body is read and its response is written through this.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one to a request, and an allocation would cost more than the room"
)]
pub enum Session {
    /// The head was read: Pingora's session panics otherwise.
    Http1(Http1),
    Http2(Http2Stream),
}

impl Session {
    /// The head of the request.
    #[must_use]
    pub fn req_header(&self) -> &RequestHeader {
        match self {
            Self::Http1(session) => session.req_header(),
            Self::Http2(stream) => stream.req_header(),
        }
    }

    /// The first value of a request header.
    pub fn get_header(&self, name: impl AsHeaderName) -> Option<&HeaderValue> {
        self.req_header().headers.get(name)
    }

    /// Whether the request came over HTTP/2.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// Whether the request came over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Http1(session) => session.digest().ssl_digest.is_some(),
            Self::Http2(stream) => stream.peer().is_tls,
        }
    }

    /// The address that the connection comes from.
    #[must_use]
    pub fn client_ip(&self) -> Option<IpAddr> {
        match self {
            Self::Http1(session) => Some(session.client_addr()?.as_inet()?.ip()),
            Self::Http2(stream) => stream.peer().address,
        }
    }

    /// Whether the request has no body, as far as its head tells.
    #[must_use]
    pub fn is_body_empty(&mut self) -> bool {
        match self {
            Self::Http1(session) => session.is_body_empty(),
            Self::Http2(stream) => stream.is_body_empty(),
        }
    }

    /// Whether the whole request was read.
    #[must_use]
    pub fn is_body_done(&mut self) -> bool {
        match self {
            Self::Http1(session) => session.is_body_done(),
            Self::Http2(stream) => stream.is_body_done(),
        }
    }

    /// The next part of the request's body, `None` at its end.
    ///
    /// # Errors
    /// The body is malformed, or the client has gone.
    pub async fn read_request_body(&mut self) -> Result<Option<Bytes>, BError> {
        match self {
            Self::Http1(session) => session.read_body_bytes().await,
            Self::Http2(stream) => stream.read_body().await,
        }
    }

    /// Sends `100 Continue` (RFC 9110 section 10.1.1).
    ///
    /// # Errors
    /// The client has gone.
    pub async fn write_continue(&mut self) -> Result<(), BError> {
        match self {
            Self::Http1(session) => {
                // Pingora takes a response before the body's end for the last one of its connection.
                let keepalive = session.get_keepalive_timeout();
                session.write_continue_response().await?;
                session.set_server_keepalive(keepalive);
                Ok(())
            }
            Self::Http2(stream) => stream.write_interim(StatusCode::CONTINUE),
        }
    }

    /// Ends the connection behind the response. Over HTTP/2 the connection serves on.
    pub fn close_after_response(&mut self) {
        if let Self::Http1(session) = self {
            session.set_server_keepalive(None);
        }
    }

    /// Writes the head of the response. `is_last` says that no body follows: HTTP/2 ends the stream with the
    /// head then, since its client would wait for the bytes that `Content-Length` promises. Once the listener
    /// has stopped, each HTTP/1 response is the last of its connection and says so.
    ///
    /// # Errors
    /// The client has gone, or reads nothing.
    pub async fn write_head(&mut self, head: ResponseHeader, is_last: bool) -> Result<(), BError> {
        match self {
            Self::Http1(session) => {
                if Socket::has_stopped(session) {
                    session.set_server_keepalive(None);
                }
                // Pingora bounds the writing of bodies only.
                let within = session.get_write_timeout().unwrap_or(WRITE_TIMEOUT);
                timeout(within, session.write_response_header(Box::new(head)))
                    .await
                    .unwrap_or_else(|_| Err(timed_out("writing a response's head")))
            }
            Self::Http2(stream) => stream.write_head(head, is_last),
        }
    }

    /// Writes a part of the response's body.
    ///
    /// # Errors
    /// The client has gone, or reads nothing.
    pub async fn write_part(&mut self, part: Bytes) -> Result<(), BError> {
        match self {
            // An empty chunk would be the end of the body.
            _ if part.is_empty() => Ok(()),
            Self::Http1(session) => session.write_body(&part).await.map(drop),
            Self::Http2(stream) => stream.write_body(part, false).await,
        }
    }

    /// Writes the last part of the response's body, which may be empty, and everything that is still buffered.
    ///
    /// # Errors
    /// The client has gone, or reads nothing.
    pub async fn write_last(&mut self, part: Bytes) -> Result<(), BError> {
        match self {
            Self::Http1(session) => {
                let within = session.get_write_timeout().unwrap_or(WRITE_TIMEOUT);
                let writing = async {
                    if !part.is_empty() {
                        session.write_body(&part).await?;
                    }
                    session.finish_body().await.map(drop)
                };
                // Pingora bounds the part alone, and not the end of the body behind it.
                timeout(within, writing)
                    .await
                    .unwrap_or_else(|_| Err(timed_out("writing a response's end")))
            }
            Self::Http2(stream) => stream.write_body(part, true).await,
        }
    }

    /// Resolves when the client resets the stream of this request; never over HTTP/1, where a client may close
    /// its half of the connection and still read the response.
    pub async fn reset(&mut self) {
        match self {
            Self::Http1(_) => std::future::pending().await,
            Self::Http2(stream) => stream.reset().await,
        }
    }

    /// Makes the end of this HTTP/1 connection a TCP reset, so that its client does not take a response that
    /// broke off for a whole one.
    pub fn tear(&self) {
        if let Self::Http1(session) = self {
            Socket::tear(session);
        }
    }
}

/// What an HTTP/1 connection goes on with after a request.
pub struct Reusable {
    pub stream: Stream,
    /// Bytes read behind the request: the beginning of the next one.
    pub read: BytesMut,
}

/// Ends an exchange over HTTP/1. `None` where the connection serves no further request.
pub async fn finish_http1(mut session: Http1, within: Duration) -> Option<Reusable> {
    let finishing = async {
        session.finish_body().await.ok()?;
        session.reuse().await.ok()?
    };
    // Nearly always everything was written.
    let (stream, read) = timeout(within, finishing).await.ok()??.into_parts();
    Some(Reusable {
        stream,
        read: read.unwrap_or_default(),
    })
}

fn timed_out(doing: &'static str) -> BError {
    Error::explain(ErrorType::WriteTimedout, doing)
}
