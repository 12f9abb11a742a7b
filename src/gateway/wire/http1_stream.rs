//! One request on an HTTP/1 connection: its body, framed as its head says, and its response in as few writes as
//! possible.
//!
//! The head was read and checked before (`read/raw_head.rs`). This is the only reader of the bytes behind it, so what
//! belongs to the body and what begins the next request is decided once (RFC 9112 section 6).

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, EXPECT, HeaderMap, TRANSFER_ENCODING};
use http::{HeaderValue, Method, StatusCode, Version};
use pingora_core::protocols::http::date::get_cached_date;
use pingora_error::{BError, Error, ErrorType};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_timeout::timeout;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::chunks::Chunks;
use super::head_lines::HeadLines;
use super::own_fields::Fields;
use super::socket::Socket;
use crate::domain::decimal::digits;

/// How much room the head of a response has at first, in bytes.
const HEAD_ROOM: usize = 1024;

/// How many bytes of a chunked body are read from the connection at once.
const CHUNKED_READ: usize = 16 << 10;

/// A part of a body up to this size is copied behind the head, so that both leave in one write.
const JOINED_MAX: usize = 8 << 10;

/// How much room a body has that did not come with its head, in bytes.
const FIRST_ROOM: usize = 16 << 10;

/// The least room that is read into where more is to come, in bytes.
const ROOM_MIN: usize = 4 << 10;

/// The factor of the room to the bytes received.
const GROWTH: usize = 8;

/// How many bytes of an unread body are read at once.
const DISCARDED_READ: usize = 16 << 10;

/// Where a request's body ends.
#[derive(Debug)]
enum RequestBody {
    /// Bytes that are still to come.
    Length(u64),
    Chunks(Chunks),
    /// Chunks that ended, or that were malformed.
    Done,
    Fault,
}

/// How the body of the response is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ResponseBody {
    /// No head was written yet.
    NotBegun,
    /// Bytes that are still to be written.
    Length(u64),
    Chunked,
    /// The end of the connection is the end of the body.
    UntilClose,
    Done,
}

/// One request and its response.
pub struct Http1Stream {
    socket: Box<Socket>,
    /// Read from the connection and not consumed yet: the body, then the beginning of the next request.
    read: BytesMut,
    request: RequestHeader,
    lines: HeadLines,
    body: RequestBody,
    has_body: bool,
    bytes_read: u64,
    bytes_sent: u64,
    response: ResponseBody,
    /// The head of the response, until it is written with the first part of the body.
    out: BytesMut,
    /// Whether the client lets the connection serve another request, and nothing has spoken against it.
    is_kept: bool,
    write_timeout: Duration,
}

impl Http1Stream {
    /// A request whose head was checked, so that its framing has one reading: `read` is what was read behind the head.
    /// `write_timeout` bounds each wait for the client to take bytes.
    #[must_use]
    pub fn new(
        socket: Box<Socket>,
        read: BytesMut,
        (request, lines): (RequestHeader, HeadLines),
        write_timeout: Duration,
    ) -> Self {
        let body = request_body(&request.headers);
        Self {
            socket,
            read,
            has_body: !matches!(body, RequestBody::Length(0)),
            body,
            is_kept: keeps_connection(&request),
            request,
            lines,
            bytes_read: 0,
            bytes_sent: 0,
            response: ResponseBody::NotBegun,
            out: BytesMut::new(),
            write_timeout,
        }
    }

    pub(super) fn req_header(&self) -> &RequestHeader {
        &self.request
    }

    pub(super) fn lines(&self) -> &HeadLines {
        &self.lines
    }

    pub(super) fn is_tls(&self) -> bool {
        self.socket.is_tls()
    }

    pub(super) fn client_ip(&self) -> IpAddr {
        self.socket.client().ip()
    }

    pub(super) fn client_text(&self) -> &HeaderValue {
        self.socket.client_text()
    }

    pub(super) const fn body_bytes(&self) -> (u64, u64) {
        (self.bytes_read, self.bytes_sent)
    }

    pub(super) const fn is_body_empty(&self) -> bool {
        !self.has_body
    }

    pub(super) const fn is_body_done(&self) -> bool {
        matches!(self.body, RequestBody::Length(0) | RequestBody::Done)
    }

    /// Reads bytes of the body to the end of `into`, at least one and at most `most`. Returns how many; none at the
    /// body's end.
    ///
    /// # Errors
    /// The body is malformed, or the client has gone.
    pub(super) async fn read_body(&mut self, into: &mut BytesMut, most: usize) -> Result<usize, BError> {
        match &mut self.body {
            RequestBody::Length(0) | RequestBody::Done => Ok(0),
            RequestBody::Fault => Err(malformed_body()),
            RequestBody::Length(left) => {
                let most = usize::try_from(*left).map_or(most, |left| left.min(most));
                let read = match self.read.is_empty() {
                    false => take(&mut self.read, into, most),
                    true => {
                        make_room(into, most);
                        let mut room = into.limit(most);
                        self.socket.read_buf(&mut room).await.map_err(read_error)?
                    }
                };
                *left = left.saturating_sub(read as u64);
                self.bytes_read += read as u64;
                match read {
                    0 => Err(Error::explain(
                        ErrorType::ConnectionClosed,
                        "in the middle of a body",
                    )),
                    read => Ok(read),
                }
            }
            RequestBody::Chunks(chunks) => {
                let before = into.len();
                while !chunks.is_over() && into.len() == before {
                    if self.read.is_empty() {
                        self.read.reserve(CHUNKED_READ);
                        let read = self.socket.read_buf(&mut self.read).await.map_err(read_error)?;
                        if read == 0 {
                            self.body = RequestBody::Fault;
                            return Err(malformed_body());
                        }
                    }
                    if chunks.decode(&mut self.read, into, most).is_none() {
                        self.body = RequestBody::Fault;
                        return Err(malformed_body());
                    }
                }
                if chunks.is_over() {
                    self.body = RequestBody::Done;
                }
                self.bytes_read += (into.len() - before) as u64;
                Ok(into.len() - before)
            }
        }
    }

    /// Reads a part of the body that nobody needs. Returns its length; none at the body's end.
    ///
    /// # Errors
    /// As of [`read_body`](Self::read_body).
    pub(super) async fn discard_body(&mut self) -> Result<usize, BError> {
        let mut discarded = BytesMut::with_capacity(DISCARDED_READ);
        self.read_body(&mut discarded, DISCARDED_READ).await
    }

    pub(super) async fn write_continue(&mut self) -> Result<(), BError> {
        let writing = async {
            self.socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            self.socket.flush().await
        };
        within(self.write_timeout, writing).await
    }

    pub(super) fn close_after_response(&mut self) {
        self.is_kept = false;
    }

    /// Puts the head of the response before its body, with names as `lines` spells them. Nothing is written yet.
    pub(super) fn write_head(&mut self, head: &ResponseHeader, lines: &HeadLines) {
        self.begin_head(head.status, response_body(head, &self.request.method));
        let mut from = 0;
        for (name, value) in &head.headers {
            let spelled = lines.spelled(name, &mut from);
            let spelled = spelled.unwrap_or_else(|| name.as_str().as_bytes());
            self.put_field(spelled, value.as_bytes());
        }
        self.end_head(!head.headers.contains_key(DATE));
    }

    /// The same for a response of the gateway's own, with a body of this length.
    pub(super) fn write_own_head(&mut self, status: u16, fields: &Fields<'_>, length: usize) {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        self.begin_head(status, ResponseBody::Length(length as u64));
        for (name, value) in fields {
            self.put_field(name.as_bytes(), value.as_bytes());
        }
        self.end_head(true);
    }

    fn put_field(&mut self, name: &[u8], value: &[u8]) {
        for part in [name, b": ", value, b"\r\n"] {
            self.out.extend_from_slice(part);
        }
    }

    fn begin_head(&mut self, status: StatusCode, body: ResponseBody) {
        // A client that waits for `100 Continue` may keep its body and send the next request, which would be read in
        // its place.
        let may_be_misread = !self.is_body_done() && self.request.headers.contains_key(EXPECT);
        if may_be_misread || self.socket.has_stopped() || body == ResponseBody::UntilClose {
            self.is_kept = false;
        }
        self.response = body;
        let out = &mut self.out;
        out.reserve(HEAD_ROOM);
        out.put_slice(b"HTTP/1.1 ");
        out.put_slice(status.as_str().as_bytes());
        out.put_u8(b' ');
        out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
        out.put_slice(b"\r\n");
    }

    /// What each response of the gateway says about its connection, and the end of the head.
    fn end_head(&mut self, needs_date: bool) {
        if needs_date {
            self.out.put_slice(b"Date: ");
            self.out.put_slice(get_cached_date().as_bytes());
            self.out.put_slice(b"\r\n");
        }
        self.out.put_slice(match self.is_kept {
            true => b"Connection: keep-alive\r\n\r\n".as_slice(),
            false => b"Connection: close\r\n\r\n".as_slice(),
        });
    }

    /// Writes a part of the response's body, with what waits before it. An empty part that is not the last one is
    /// nothing.
    ///
    /// # Errors
    /// The client has gone, or reads nothing, or the body is shorter than announced.
    pub(super) async fn write_body(&mut self, mut part: Bytes, is_last: bool) -> Result<(), BError> {
        let mut behind = Bytes::new();
        let mut is_whole = true;
        match &mut self.response {
            ResponseBody::NotBegun | ResponseBody::Done => part.clear(),
            ResponseBody::Length(left) => {
                // More than was announced would be taken for the next response.
                part.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left = left.saturating_sub(part.len() as u64);
                is_whole = *left == 0;
            }
            ResponseBody::Chunked => {
                if !part.is_empty() {
                    let size = format!("{:x}\r\n", part.len());
                    self.out.put_slice(size.as_bytes());
                    behind = Bytes::from_static(b"\r\n");
                }
                if is_last {
                    behind = match part.is_empty() {
                        true => Bytes::from_static(b"0\r\n\r\n"),
                        false => Bytes::from_static(b"\r\n0\r\n\r\n"),
                    };
                }
            }
            ResponseBody::UntilClose => {}
        }
        if is_last {
            self.response = ResponseBody::Done;
        }
        let sent = part.len() as u64;
        self.write_out(part, behind).await?;
        self.bytes_sent += sent;
        match is_whole || !is_last {
            true => Ok(()),
            false => Err(Error::explain(
                ErrorType::WriteError,
                "a body is shorter than announced",
            )),
        }
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// The client has gone, or reads nothing.
    pub(super) async fn flush(&mut self) -> Result<(), BError> {
        self.write_out(Bytes::new(), Bytes::new()).await
    }

    async fn write_out(&mut self, part: Bytes, behind: Bytes) -> Result<(), BError> {
        if self.out.is_empty() && part.is_empty() && behind.is_empty() {
            return Ok(());
        }
        let socket = &mut self.socket;
        if part.len() <= JOINED_MAX {
            self.out.extend_from_slice(&part);
            self.out.extend_from_slice(&behind);
            let writing = async {
                socket.write_all(&self.out).await?;
                socket.flush().await
            };
            let written = within(self.write_timeout, writing).await;
            self.out.clear();
            return written;
        }
        let mut all = self.out.split().freeze().chain(part).chain(behind);
        let writing = async {
            socket.write_all_buf(&mut all).await?;
            socket.flush().await
        };
        within(self.write_timeout, writing).await
    }

    /// Makes the end of the connection a TCP reset, so that its client does not take a response that broke off for a
    /// whole one.
    pub(super) fn tear(&mut self) {
        self.socket.tear();
    }

    /// Ends the exchange. `Err` holds the connection where it serves no further request.
    ///
    /// # Errors
    /// The connection, which has to be closed.
    pub(crate) fn finish(self) -> Result<(Box<Socket>, BytesMut), Box<Socket>> {
        let is_written = self.response == ResponseBody::Done && self.out.is_empty();
        match self.is_kept && is_written && self.is_body_done() {
            true => Ok((self.socket, self.read)),
            false => Err(self.socket),
        }
    }
}

/// Makes room for a read of at most `most` bytes. The buffer grows by a factor with the bytes received, not to the
/// length that the client names: memory stays bounded by the bytes counted, and a body in small pieces is not copied
/// again and again.
fn make_room(into: &mut BytesMut, most: usize) {
    if into.capacity() - into.len() < most.min(ROOM_MIN) {
        into.reserve(most.min(into.len().saturating_mul(GROWTH).max(FIRST_ROOM)));
    }
}

/// Moves at most `most` bytes from one buffer to the end of another. Returns how many.
fn take(from: &mut BytesMut, into: &mut BytesMut, most: usize) -> usize {
    let taken = from.split_to(most.min(from.len()));
    let length = taken.len();
    match into.is_empty() {
        // Nearly always the whole body came with its head.
        true => *into = taken,
        false => into.extend_from_slice(&taken),
    }
    length
}

/// The framing of a request's body. Lengths that are no numbers and codings but `chunked` were rejected with the head.
fn request_body(headers: &HeaderMap) -> RequestBody {
    if headers.contains_key(TRANSFER_ENCODING) {
        return RequestBody::Chunks(Chunks::default());
    }
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok());
    RequestBody::Length(length.and_then(digits).unwrap_or(0))
}

/// Whether the client lets the connection serve another request (RFC 9112 section 9.3).
fn keeps_connection(request: &RequestHeader) -> bool {
    let mut is_kept = request.version == Version::HTTP_11;
    for value in request.headers.get_all(CONNECTION) {
        for option in value.as_bytes().split(|byte| *byte == b',') {
            let option = option.trim_ascii();
            if option.eq_ignore_ascii_case(b"close") {
                return false;
            }
            is_kept |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    is_kept
}

/// The framing of a response's body (RFC 9112 section 6.3).
fn response_body(head: &ResponseHeader, method: &Method) -> ResponseBody {
    if *method == Method::HEAD || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return ResponseBody::Done;
    }
    if head.headers.contains_key(TRANSFER_ENCODING) {
        return ResponseBody::Chunked;
    }
    let length = head
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok());
    length
        .and_then(digits)
        .map_or(ResponseBody::UntilClose, ResponseBody::Length)
}

async fn within(time: Duration, writing: impl Future<Output = io::Result<()>>) -> Result<(), BError> {
    match timeout(time, writing).await {
        Ok(written) => {
            written.map_err(|error| Error::because(ErrorType::WriteError, "writing a response", error))
        }
        Err(_) => Err(Error::explain(ErrorType::WriteTimedout, "writing a response")),
    }
}

fn read_error(error: io::Error) -> BError {
    Error::because(ErrorType::ReadError, "reading a body", error)
}

fn malformed_body() -> BError {
    Error::explain(ErrorType::InvalidHTTPHeader, "a chunked body is malformed")
}
