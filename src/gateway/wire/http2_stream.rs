//! One request on an HTTP/2 connection: a stream of h2 with what a request and its response need.
//!
//! Pingora's session of this kind cannot send `100 Continue`, so this one takes its place.

use std::future::poll_fn;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, DATE};
use http::{HeaderValue, Request, Response, StatusCode};
use pingora_core::protocols::http::date::get_cached_date;
use pingora_error::{BError, Error, ErrorType};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_timeout::timeout;

/// How many bytes of one stream's response wait in the codec for the client.
pub const WAITING_BYTES_MAX: usize = 64 * 1024;

/// Whom a connection comes from.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: IpAddr,
    /// The address as `X-Forwarded-For` names it.
    pub text: HeaderValue,
    pub is_tls: bool,
}

/// One request and its response.
pub struct Http2Stream {
    request: RequestHeader,
    body: RecvStream,
    has_read_body: bool,
    bytes_read: u64,
    bytes_sent: u64,
    respond: SendResponse<Bytes>,
    /// There once the head of the response was sent.
    sending: Option<SendStream<Bytes>>,
    has_ended: bool,
    peer: Peer,
    write_timeout: Duration,
}

impl Http2Stream {
    /// A stream that a client has opened. `write_timeout` bounds each wait for the client to take bytes.
    #[must_use]
    pub fn new(
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        peer: Peer,
        write_timeout: Duration,
    ) -> Self {
        let (head, body) = request.into_parts();
        Self {
            request: head.into(),
            body,
            has_read_body: false,
            bytes_read: 0,
            bytes_sent: 0,
            respond,
            sending: None,
            has_ended: false,
            peer,
            write_timeout,
        }
    }

    pub(super) fn req_header(&self) -> &RequestHeader {
        &self.request
    }

    pub(super) const fn body_bytes(&self) -> (u64, u64) {
        (self.bytes_read, self.bytes_sent)
    }

    pub(super) const fn peer(&self) -> &Peer {
        &self.peer
    }

    pub(super) fn is_body_empty(&self) -> bool {
        let declared = self.request.headers.get(CONTENT_LENGTH);
        let is_zero = declared.is_some_and(|length| length.as_bytes() == b"0");
        !self.has_read_body && (self.body.is_end_stream() || is_zero)
    }

    pub(super) fn is_body_done(&self) -> bool {
        self.is_body_empty() || self.body.is_end_stream()
    }

    pub(super) async fn read_body(&mut self) -> Result<Option<Bytes>, BError> {
        let Some(part) = self.body.data().await else {
            return Ok(None);
        };
        let part = part.map_err(|error| Error::because(ErrorType::ReadError, "reading a body", error))?;
        self.has_read_body |= !part.is_empty();
        self.bytes_read += part.len() as u64;
        // Fails only for more bytes than were received.
        let _ = self.body.flow_control().release_capacity(part.len());
        Ok(Some(part))
    }

    pub(super) fn write_interim(&mut self, status: StatusCode) -> Result<(), BError> {
        self.respond
            .send_informational(interim(status))
            .map_err(write_error)
    }

    pub(super) fn write_head(&mut self, mut head: ResponseHeader, is_last: bool) -> Result<(), BError> {
        if !head.headers.contains_key(DATE) {
            head.insert_header(DATE, get_cached_date())?;
        }
        let response = Response::from_parts(head.into(), ());
        let sending = self.respond.send_response(response, is_last);
        self.sending = Some(sending.map_err(write_error)?);
        self.has_ended = is_last;
        Ok(())
    }

    pub(super) async fn write_body(&mut self, mut part: Bytes, is_last: bool) -> Result<(), BError> {
        let Some(sending) = &mut self.sending else {
            return Err(Error::explain(ErrorType::WriteError, "a body before its head"));
        };
        while !part.is_empty() {
            sending.reserve_capacity(part.len());
            let room = timeout(self.write_timeout, poll_fn(|cx| sending.poll_capacity(cx))).await;
            let room = match room {
                Err(_) => return Err(Error::explain(ErrorType::WriteTimedout, "writing a body")),
                Ok(None) => return Err(Error::explain(ErrorType::WriteError, "the stream has ended")),
                Ok(Some(room)) => room.map_err(write_error)?,
            };
            let now = part.split_to(room.min(part.len()));
            let is_end = is_last && part.is_empty();
            self.bytes_sent += now.len() as u64;
            sending.send_data(now, is_end).map_err(write_error)?;
            self.has_ended |= is_end;
        }
        if is_last && !self.has_ended {
            sending.send_data(Bytes::new(), true).map_err(write_error)?;
            self.has_ended = true;
        }
        Ok(())
    }

    /// Resolves when the client resets the stream, or its connection ends.
    pub(super) async fn reset(&mut self) {
        let _ = match &mut self.sending {
            Some(sending) => poll_fn(|cx| sending.poll_reset(cx)).await,
            None => poll_fn(|cx| self.respond.poll_reset(cx)).await,
        };
    }

    /// Resets the stream if its response has not ended: the client must not take it for whole.
    pub(crate) fn abort(&mut self) {
        if !self.has_ended {
            self.respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

fn write_error(error: h2::Error) -> BError {
    Error::because(ErrorType::WriteError, "writing to an HTTP/2 stream", error)
}

/// An interim response without fields.
fn interim(status: StatusCode) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response
}
