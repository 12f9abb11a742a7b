//! The response of an upstream server over HTTP/1: its head, and its body by the framing that the head says.
//!
//! What the server says about the length is checked here (RFC 9112 section 6.3), and what goes on to the client says
//! the same once, or nothing: [`Head::length`] is the only length that a response has from here on.

use std::future::Future;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, TRANSFER_ENCODING};
use http::{Method, StatusCode, Version};
use pingora_core::protocols::Stream;
use pingora_http::ResponseHeader;
use pingora_timeout::timeout;
use tokio::io::AsyncReadExt as _;

use super::failure::Failure;
use crate::domain::decimal::digits;
use crate::gateway::wire::head_lines::HeadLines;

/// The most bytes and lines of a response's head.
const HEAD_BYTES_MAX: usize = 256 << 10;
const HEADERS_MAX: usize = 256;

/// How many headers there is room for at first.
const HEADERS_USUAL: usize = 12;

/// How many bytes are read at once: of a head, and of a body.
const HEAD_READ: usize = 4 << 10;
pub(super) const BODY_READ: usize = 64 << 10;

/// The longest line of a chunk's size with its extensions, and all trailers together.
const CHUNK_LINE_MAX: usize = 4 << 10;
const TRAILERS_MAX: usize = 16 << 10;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// One exchange's response, as far as it was read.
pub(super) struct Http1Response {
    stream: Stream,
    read: BytesMut,
    body: Framing,
    /// Whether the server lets the connection be used again, as far as the head tells.
    is_kept: bool,
    keep_for: Option<Duration>,
    read_timeout: Duration,
    has_begun: bool,
    /// The lines of the final head as the server spelled them.
    lines: HeadLines,
}

/// Where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Done,
    Length(u64),
    /// Bytes left of the chunk at hand; a chunk's size comes next where there are none.
    Chunk(u64),
    /// Behind a chunk's bytes.
    ChunkEnd,
    /// Behind the last chunk, with the bytes of trailers so far.
    Trailers(usize),
    UntilClose,
}

impl Http1Response {
    /// Reads from `stream`, to which a whole request was written.
    pub(super) fn new(stream: Stream, read_timeout: Duration) -> Self {
        Self {
            stream,
            read: BytesMut::new(),
            body: Framing::Done,
            is_kept: false,
            keep_for: None,
            read_timeout,
            has_begun: false,
            lines: HeadLines::default(),
        }
    }

    /// Whether a byte of the response has come.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Takes the lines of the head that was read last, as the server spelled them.
    pub(super) fn take_lines(&mut self) -> HeadLines {
        std::mem::take(&mut self.lines)
    }

    /// Reads the next head: of an interim response, or of the final one.
    ///
    /// # Errors
    /// The server closed the connection, sent nothing in time, or sent what is no head.
    pub(super) async fn head(&mut self, method: &Method) -> Result<ResponseHeader, Failure> {
        let mut searched = 0;
        let length = loop {
            if let Some(length) = head_length(&self.read, &mut searched) {
                break length;
            }
            if self.read.len() > HEAD_BYTES_MAX {
                return Err(Failure::Malformed("its head is too large"));
            }
            if self.fill(HEAD_READ).await? == 0 {
                return Err(match self.has_begun {
                    true => Failure::Malformed("it ended in its head"),
                    false => Failure::Closed,
                });
            }
        };
        let (mut head, lines) = parse_head(&self.read.split_to(length).freeze())?;
        self.lines = lines;
        if !head.status.is_informational() {
            self.body = framing(&head, method)?;
            self.is_kept = is_kept(&head) && !has_both(&head.headers);
            self.keep_for = keep_for(&head.headers);
            normalize(&mut head, self.body);
        }
        Ok(head)
    }

    /// Whether bytes of the body, or its end, were read already.
    pub(super) fn has_part(&self) -> bool {
        !self.read.is_empty() || matches!(self.body, Framing::Done | Framing::Length(0))
    }

    /// Reads the next part of the body, `None` at its end.
    ///
    /// # Errors
    /// The server stopped before the end, or its chunks are malformed.
    pub(super) async fn part(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            match self.body {
                Framing::Done | Framing::Length(0) => return Ok(None),
                Framing::Length(left) => {
                    let part = self.take(left).await?;
                    self.body = Framing::Length(left.saturating_sub(part.len() as u64));
                    return Ok(Some(part));
                }
                Framing::UntilClose => {
                    if self.read.is_empty() && self.fill(BODY_READ).await? == 0 {
                        self.body = Framing::Done;
                        return Ok(None);
                    }
                    return Ok(Some(self.read.split().freeze()));
                }
                Framing::Chunk(0) => {
                    let line = self.line(CHUNK_LINE_MAX).await?;
                    self.body = match chunk_size(&line)? {
                        0 => Framing::Trailers(0),
                        size => Framing::Chunk(size),
                    };
                }
                Framing::Chunk(left) => {
                    let part = self.take(left).await?;
                    self.body = match left.saturating_sub(part.len() as u64) {
                        0 => Framing::ChunkEnd,
                        left => Framing::Chunk(left),
                    };
                    return Ok(Some(part));
                }
                Framing::ChunkEnd => {
                    if !self.line(2).await?.is_empty() {
                        return Err(Failure::Malformed("a chunk is longer than its size"));
                    }
                    self.body = Framing::Chunk(0);
                }
                Framing::Trailers(bytes) => {
                    // Trailers are not forwarded (RFC 9110 section 6.5.1).
                    let line = self.line(TRAILERS_MAX.saturating_sub(bytes)).await?;
                    self.body = match line.is_empty() {
                        true => Framing::Done,
                        false => Framing::Trailers(bytes + line.len() + 2),
                    };
                }
            }
        }
    }

    /// The connection, and for how long the server keeps it, where it may be used again: the response came to its
    /// end, and not a byte behind it.
    pub(super) fn into_reusable(self) -> Option<(Stream, Option<Duration>)> {
        let is_whole = matches!(self.body, Framing::Done | Framing::Length(0));
        let may = is_whole && self.is_kept && self.read.is_empty() && self.keep_for != Some(Duration::ZERO);
        may.then_some((self.stream, self.keep_for))
    }

    /// At most `left` bytes of the body, one at least.
    async fn take(&mut self, left: u64) -> Result<Bytes, Failure> {
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        if self.read.is_empty() && self.fill(left.min(BODY_READ)).await? == 0 {
            return Err(Failure::BrokeOff);
        }
        Ok(self.read.split_to(left.min(self.read.len())).freeze())
    }

    /// A line of the chunked framing, without its end.
    async fn line(&mut self, most: usize) -> Result<Bytes, Failure> {
        let mut searched = 0;
        loop {
            let new = self.read.get(searched..).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', new) {
                let mut line = self.read.split_to(searched + at).freeze();
                self.read.advance(1);
                if line.last() == Some(&b'\r') {
                    line.truncate(line.len() - 1);
                }
                return match line.len() > most {
                    true => Err(Failure::Malformed("a line of its chunks is too long")),
                    false => Ok(line),
                };
            }
            searched = self.read.len();
            if searched > most {
                return Err(Failure::Malformed("a line of its chunks is too long"));
            }
            if self.fill(BODY_READ).await? == 0 {
                return Err(Failure::BrokeOff);
            }
        }
    }

    async fn fill(&mut self, most: usize) -> Result<usize, Failure> {
        self.read.reserve(most);
        let reading = self.stream.read_buf(&mut self.read);
        let read = within(self.read_timeout, reading).await?;
        self.has_begun |= read > 0;
        Ok(read)
    }
}

async fn within(
    time: Duration,
    reading: impl Future<Output = std::io::Result<usize>>,
) -> Result<usize, Failure> {
    match timeout(time, reading).await {
        Err(_) => Err(Failure::ResponseTimedOut(time)),
        Ok(read) => read.map_err(|error| Failure::of_io(&error)),
    }
}

/// Where the empty line behind a head ends. `searched` is up to where there is none, and moves on.
fn head_length(bytes: &[u8], searched: &mut usize) -> Option<usize> {
    while let Some(at) = memchr::memchr(b'\n', bytes.get(*searched..)?) {
        let end = *searched + at + 1;
        match bytes.get(end..)? {
            [b'\n', ..] => return Some(end + 1),
            [b'\r', b'\n', ..] => return Some(end + 2),
            // More has to come until this line feed can be judged.
            [] | [b'\r'] => return None,
            _ => *searched = end,
        }
    }
    *searched = bytes.len();
    None
}

/// Takes a head apart. Lines may end with a bare line feed (RFC 9112 section 2.2); nothing else is repaired.
fn parse_head(text: &Bytes) -> Result<(ResponseHeader, HeadLines), Failure> {
    let mut rest = &text[..];
    let mut next = || {
        let (line, behind) = rest.split_at_checked(memchr::memchr(b'\n', rest)?)?;
        let at = text.len() - rest.len();
        rest = behind.get(1..)?;
        Some((at, line.strip_suffix(b"\r").unwrap_or(line)))
    };
    let (version, status) = next().and_then(|(_, line)| status_line(line)).ok_or(NO_STATUS)?;
    let mut head = ResponseHeader::build_no_case(status, Some(HEADERS_USUAL)).map_err(|_| NO_STATUS)?;
    head.set_version(version);
    let mut lines = HeadLines::new(text.clone());
    let mut count = 0;
    while let Some((at, line)) = next().filter(|(_, line)| !line.is_empty()) {
        if count >= HEADERS_MAX {
            return Err(Failure::Malformed("it has too many headers"));
        }
        count += 1;
        let (name, value) = lines.push(at, line).ok_or(BAD_HEADER)?;
        head.append_header(name, value).map_err(|_| BAD_HEADER)?;
    }
    Ok((head, lines))
}

const NO_STATUS: Failure = Failure::Malformed("it begins with no status line");
const BAD_HEADER: Failure = Failure::Malformed("a header line is none");

/// `HTTP/1.1 200 OK`, where the reason may be missing.
fn status_line(line: &[u8]) -> Option<(Version, StatusCode)> {
    let (version, rest) = match line.split_at_checked(b"HTTP/1.1 ".len())? {
        (b"HTTP/1.1 ", rest) => (Version::HTTP_11, rest),
        (b"HTTP/1.0 ", rest) => (Version::HTTP_10, rest),
        _ => return None,
    };
    let (code, reason) = rest.split_at_checked(3)?;
    if !reason.is_empty() && reason.first() != Some(&b' ') {
        return None;
    }
    Some((version, StatusCode::from_bytes(code).ok()?))
}

/// How the body of a response ends (RFC 9112 section 6.3).
///
/// # Errors
/// The lengths contradict each other, or the body is coded in a way that the client would not be told.
fn framing(head: &ResponseHeader, method: &Method) -> Result<Framing, Failure> {
    if is_bodiless(method, head.status) {
        return Ok(Framing::Done);
    }
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        return match codings.next().is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            true => Ok(Framing::Chunk(0)),
            false => Err(Failure::Malformed("its transfer coding is not `chunked`")),
        };
    }
    match length(&head.headers)? {
        Some(length) => Ok(Framing::Length(length)),
        None => Ok(Framing::UntilClose),
    }
}

/// Whether a response has no body, even if its headers name one (RFC 9112 section 6.3).
pub(super) fn is_bodiless(method: &Method, status: StatusCode) -> bool {
    *method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// The one length that all `Content-Length` values name.
fn length(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    const CONTRADICTION: Failure = Failure::Malformed("its lengths contradict each other or are no numbers");
    let mut found = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        for one in value.to_str().map_err(|_| CONTRADICTION)?.split(',') {
            let one: u64 = digits(one.trim()).ok_or(CONTRADICTION)?;
            if found.is_some_and(|found| found != one) {
                return Err(CONTRADICTION);
            }
            found = Some(one);
        }
    }
    Ok(found)
}

/// Leaves one length where a response names the same one more than once, as over HTTP/2 it may.
///
/// # Errors
/// The lengths contradict each other.
pub(super) fn keep_one_length(head: &mut ResponseHeader) -> Result<(), Failure> {
    if let Some(length) = length(&head.headers)?
        && head.headers.get_all(CONTENT_LENGTH).iter().count() > 1
    {
        // A number is a header value.
        let _ = head.insert_header(CONTENT_LENGTH, length);
    }
    Ok(())
}

/// A response with a length and a transfer coding is read by the coding, and its connection is not trusted further.
fn has_both(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH)
}

/// Leaves the one length that the body has. A bodiless response to `HEAD` or with status 304 may name the length that
/// the body would have; one with status 204 may not (RFC 9110 section 8.6).
fn normalize(head: &mut ResponseHeader, body: Framing) {
    let named = match body {
        Framing::Length(length) => Some(length),
        Framing::Done if head.status != StatusCode::NO_CONTENT => length(&head.headers).ok().flatten(),
        _ => None,
    };
    head.remove_header(&TRANSFER_ENCODING);
    head.remove_header(&CONTENT_LENGTH);
    if let Some(length) = named {
        // A number is a header value.
        let _ = head.insert_header(CONTENT_LENGTH, length);
    }
}

/// Whether the server keeps the connection open (RFC 9112 section 9.3). A bodiless response that names a body may be
/// followed by that body.
fn is_kept(head: &ResponseHeader) -> bool {
    let has = |option: &str| {
        let values = head.headers.get_all(CONNECTION).iter();
        let mut named = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        named.any(|named| named.trim().eq_ignore_ascii_case(option))
    };
    let may_lie = head.status == StatusCode::NO_CONTENT
        && (head.headers.contains_key(TRANSFER_ENCODING)
            || head
                .headers
                .get(CONTENT_LENGTH)
                .is_some_and(|length| length != "0"));
    let by_version = match head.version {
        Version::HTTP_10 => has("keep-alive") && !head.headers.contains_key(TRANSFER_ENCODING),
        _ => true,
    };
    by_version && !has("close") && !may_lie
}

/// How long the server keeps an unused connection: `Keep-Alive: timeout=5, max=100`. Zero where no further request
/// is taken.
fn keep_for(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(KEEP_ALIVE)?.to_str().ok()?;
    let mut seconds = None;
    for parameter in value.split(',') {
        let (name, number) = parameter.split_once('=')?;
        let number: u64 = digits(number.trim())?;
        match name.trim() {
            name if name.eq_ignore_ascii_case("timeout") => seconds = Some(number),
            name if name.eq_ignore_ascii_case("max") && number == 0 => return Some(Duration::ZERO),
            _ => {}
        }
    }
    seconds.map(Duration::from_secs)
}

/// The size at the beginning of a chunk's line; extensions are ignored.
fn chunk_size(line: &[u8]) -> Result<u64, Failure> {
    const BAD_SIZE: Failure = Failure::Malformed("a chunk's size is no number");
    let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let size = std::str::from_utf8(size.trim_ascii_end()).map_err(|_| BAD_SIZE)?;
    if size.is_empty() || size.len() > 15 || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(BAD_SIZE);
    }
    u64::from_str_radix(size, 16).map_err(|_| BAD_SIZE)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn head_of(text: &str) -> Result<ResponseHeader, Failure> {
        parse_head(&Bytes::copy_from_slice(text.as_bytes())).map(|(head, _)| head)
    }

    #[test]
    fn head_ends_at_the_first_empty_line_wherever_reads_end() {
        for head in ["HTTP/1.1 200 OK\r\nA: b\r\n\r\n", "HTTP/1.1 200 OK\nA: b\n\n"] {
            let whole = format!("{head}\n\nbody");
            for cut in 0..head.len() {
                let mut searched = 0;
                assert_eq!(
                    head_length(&whole.as_bytes()[..cut], &mut searched),
                    None,
                    "{cut}"
                );
                assert_eq!(
                    head_length(whole.as_bytes(), &mut searched),
                    Some(head.len()),
                    "{cut}"
                );
            }
        }
    }

    #[test]
    fn malformed_heads_are_rejected() {
        for bad in [
            "",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\r\n\r\n",
        ] {
            assert!(head_of(bad).is_err(), "{bad:?}");
        }
        assert!(head_of("HTTP/1.1 200\r\n\r\n").is_ok());
    }

    #[test]
    fn framing_is_decided_by_the_head() {
        let framing_of = |lines: &str, status: u16| {
            let head = head_of(&format!("HTTP/1.1 {status} X\r\n{lines}\r\n")).unwrap();
            framing(&head, &Method::POST)
        };
        assert_eq!(framing_of("Content-Length: 5\r\n", 200), Ok(Framing::Length(5)));
        let twice = "Content-Length: 5\r\nContent-Length: 5, 5\r\n";
        assert_eq!(framing_of(twice, 200), Ok(Framing::Length(5)));
        assert_eq!(framing_of("", 200), Ok(Framing::UntilClose));
        assert_eq!(framing_of("Content-Length: 5\r\n", 204), Ok(Framing::Done));
        assert_eq!(framing_of("Content-Length: x\r\n", 304), Ok(Framing::Done));
        let both = "Content-Length: 5\r\nTransfer-Encoding: Chunked\r\n";
        assert_eq!(framing_of(both, 200), Ok(Framing::Chunk(0)));
        for bad in [
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5, 6\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999999\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert!(framing_of(bad, 200).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn keep_alive_header_bounds_the_reuse() {
        let of = |value: &'static str| {
            keep_for(&HeaderMap::from_iter([(
                KEEP_ALIVE,
                HeaderValue::from_static(value),
            )]))
        };
        assert_eq!(of("timeout=5, max=100"), Some(Duration::from_secs(5)));
        assert_eq!(of("max=100,Timeout=1"), Some(Duration::from_secs(1)));
        assert_eq!(of("timeout=5, max=0"), Some(Duration::ZERO));
        assert_eq!(of("max=100"), None);
        assert_eq!(of("nonsense"), None);
    }

    #[test]
    fn chunk_sizes_are_hexadecimal_numbers() {
        assert_eq!(chunk_size(b"fF;a=b"), Ok(255));
        assert_eq!(chunk_size(b"10 "), Ok(16));
        for bad in [&b""[..], b";a", b"0x5", b"+5", b"-1", b" 5", b"1234567890abcdef"] {
            assert!(chunk_size(bad).is_err(), "{bad:?}");
        }
    }
}
