//! One request of a client and the way back to it, over HTTP/1 or HTTP/2.

use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use http::header::AsHeaderName;
use http::{HeaderValue, Method, StatusCode};
use pingora_error::BError;
use pingora_http::{RequestHeader, ResponseHeader};

use super::head_lines::HeadLines;
use super::http1_stream::Http1Stream;
use super::http2_stream::Http2Stream;
use super::own_fields::{Fields, response_header};

/// A request whose head was read. Its body is read and its response is written through this.
pub enum Session {
    Http1(Http1Stream),
    Http2(Http2Stream),
}

impl Session {
    /// The head of the request.
    #[must_use]
    pub fn req_header(&self) -> &RequestHeader {
        match self {
            Self::Http1(stream) => stream.req_header(),
            Self::Http2(stream) => stream.req_header(),
        }
    }

    /// The header lines of the request as spelled. None over HTTP/2, where all names are in lower case.
    #[must_use]
    pub fn lines(&self) -> Option<&HeadLines> {
        match self {
            Self::Http1(stream) => Some(stream.lines()),
            Self::Http2(_) => None,
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
            Self::Http1(stream) => stream.is_tls(),
            Self::Http2(stream) => stream.peer().is_tls,
        }
    }

    /// The address that the connection comes from.
    #[must_use]
    pub fn client_ip(&self) -> IpAddr {
        match self {
            Self::Http1(stream) => stream.client_ip(),
            Self::Http2(stream) => stream.peer().address,
        }
    }

    /// The same as text, IPv4 inside IPv6 as IPv4.
    #[must_use]
    pub fn client_text(&self) -> &HeaderValue {
        match self {
            Self::Http1(stream) => stream.client_text(),
            Self::Http2(stream) => &stream.peer().text,
        }
    }

    /// Bytes of the request's body that were read, and of the response's body that were sent.
    #[must_use]
    pub const fn body_bytes(&self) -> (u64, u64) {
        match self {
            Self::Http1(stream) => stream.body_bytes(),
            Self::Http2(stream) => stream.body_bytes(),
        }
    }

    /// Whether the request has no body, as far as its head tells.
    #[must_use]
    pub fn is_body_empty(&self) -> bool {
        match self {
            Self::Http1(stream) => stream.is_body_empty(),
            Self::Http2(stream) => stream.is_body_empty(),
        }
    }

    /// Whether the whole request was read.
    #[must_use]
    pub fn is_body_done(&self) -> bool {
        match self {
            Self::Http1(stream) => stream.is_body_done(),
            Self::Http2(stream) => stream.is_body_done(),
        }
    }

    /// Reads bytes of the body to the end of `into`, at least one; at most `most` over HTTP/1, where the buffer is read
    /// into, and a frame over HTTP/2. Returns how many; none at the body's end.
    ///
    /// # Errors
    /// The body is malformed, or the client has gone.
    pub async fn read_body(&mut self, into: &mut BytesMut, most: usize) -> Result<usize, BError> {
        match self {
            Self::Http1(stream) => stream.read_body(into, most).await,
            Self::Http2(stream) => loop {
                match stream.read_body().await? {
                    None => return Ok(0),
                    Some(part) if part.is_empty() => {}
                    Some(part) => {
                        into.extend_from_slice(&part);
                        return Ok(part.len());
                    }
                }
            },
        }
    }

    /// Reads a part of the body that nobody needs. Returns its length; none at the body's end.
    ///
    /// # Errors
    /// As of [`read_body`](Self::read_body).
    pub async fn discard_body(&mut self) -> Result<usize, BError> {
        match self {
            Self::Http1(stream) => stream.discard_body().await,
            Self::Http2(stream) => Ok(stream.read_body().await?.map_or(0, |part| part.len())),
        }
    }

    /// Sends `100 Continue` (RFC 9110 section 10.1.1).
    ///
    /// # Errors
    /// The client has gone.
    pub async fn write_continue(&mut self) -> Result<(), BError> {
        match self {
            Self::Http1(stream) => stream.write_continue().await,
            Self::Http2(stream) => stream.write_interim(StatusCode::CONTINUE),
        }
    }

    /// Ends the connection behind the response. Over HTTP/2 the connection serves on.
    pub fn close_after_response(&mut self) {
        if let Self::Http1(stream) = self {
            stream.close_after_response();
        }
    }

    /// Writes the head of the response, over HTTP/1 with names as `lines` spells them. `is_last` says that no body follows: HTTP/2 ends the stream with the
    /// head then, since its client would wait for the bytes that `Content-Length` promises. Over HTTP/1 the head waits
    /// for the first part of the body, for [`flush`](Self::flush) or for the end. Once the listener has stopped, each
    /// HTTP/1 response is the last of its connection and says so.
    ///
    /// # Errors
    /// The client has gone.
    pub fn write_head(
        &mut self,
        head: ResponseHeader,
        lines: &HeadLines,
        is_last: bool,
    ) -> Result<(), BError> {
        match self {
            Self::Http1(stream) => {
                stream.write_head(&head, lines);
                Ok(())
            }
            Self::Http2(stream) => stream.write_head(head, is_last),
        }
    }

    /// Writes a whole response of the gateway's own; to `HEAD` its head alone.
    ///
    /// # Errors
    /// The client has gone, or reads nothing.
    pub async fn respond(&mut self, status: u16, fields: &Fields<'_>, body: Bytes) -> Result<(), BError> {
        let is_head = self.req_header().method == Method::HEAD;
        let body = if is_head { Bytes::new() } else { body };
        match self {
            Self::Http1(stream) => {
                stream.write_own_head(status, fields, body.len());
                stream.write_body(body, true).await
            }
            Self::Http2(stream) => {
                stream.write_head(response_header(status, fields)?, body.is_empty())?;
                stream.write_body(body, true).await
            }
        }
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// The client has gone, or reads nothing.
    pub async fn flush(&mut self) -> Result<(), BError> {
        match self {
            Self::Http1(stream) => stream.flush().await,
            Self::Http2(_) => Ok(()),
        }
    }

    /// Writes a part of the response's body, and what waits before it.
    ///
    /// # Errors
    /// The client has gone, or reads nothing.
    pub async fn write_part(&mut self, part: Bytes) -> Result<(), BError> {
        match self {
            // An empty chunk would be the end of the body.
            _ if part.is_empty() => Ok(()),
            Self::Http1(stream) => stream.write_body(part, false).await,
            Self::Http2(stream) => stream.write_body(part, false).await,
        }
    }

    /// Writes the last part of the response's body, which may be empty, and what waits before it.
    ///
    /// # Errors
    /// The client has gone, or reads nothing.
    pub async fn write_last(&mut self, part: Bytes) -> Result<(), BError> {
        match self {
            Self::Http1(stream) => stream.write_body(part, true).await,
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
    pub fn tear(&mut self) {
        if let Self::Http1(stream) = self {
            stream.tear();
        }
    }
}
