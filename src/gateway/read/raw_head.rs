//! The head of an HTTP/1 request as bytes: read within time and size limits, and passed on only if every parser splits
//! it into the same lines.
//!
//! This is the only parser of HTTP/1 requests. It repairs nothing but one empty line before a request: what two servers
//! could read in two ways is rejected.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::Version;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use pingora_core::protocols::http::authority::validate_request_authority;
use pingora_http::RequestHeader;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::clock::instant;
use crate::config::Limits;
use crate::connections::Connection;
use crate::domain::cost;
use crate::domain::decimal::digits;
use crate::domain::decision::DenyReason;
use crate::gateway::wire::head_lines::HeadLines;
use crate::gateway::wire::socket::Socket;

/// The longest request target accepted, in bytes.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;

/// How HTTP/2 with prior knowledge begins (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How many headers there is room for at first.
const HEADERS_USUAL: usize = 16;

/// What a read asks for. Most heads fit, and so do most bodies behind them.
const READ_BYTES: usize = 4096;

/// A head, and what was read behind it.
pub struct RawHead {
    /// All of the head: its lines end with CR LF, and it with an empty one.
    pub head: BytesMut,
    pub behind: BytesMut,
}

/// Which head of its connection is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum HeadPosition {
    /// The first: a client that connects has a request, and `header_timeout` to send it.
    First,
    /// The same, or a beginning of HTTP/2.
    FirstOrHttp2,
    /// One after another request; the connection may wait for it for `idle_timeout`.
    Next,
}

/// Why there is no head.
pub enum HeadOutcome {
    /// The client closed the connection, or sent nothing: there is no one to answer.
    Silence,
    /// These bytes begin a connection that speaks HTTP/2.
    Http2(BytesMut),
    Refused {
        reason: DenyReason,
        /// The value of `Host` as far as it was read, or nothing.
        host: String,
    },
}

/// Reads one head. `bytes` is what was read behind the request before it (RFC 9112 section 9.3.2). `deadline` is the
/// connection's one timer. The first byte moves the connection out of its idle state.
///
/// # Errors
/// [`HeadOutcome`], with nothing written to the client yet.
pub async fn read(
    socket: &mut Socket,
    mut bytes: BytesMut,
    mut deadline: Pin<&mut Sleep>,
    limits: &Limits,
    awaited: HeadPosition,
    connection: &Connection,
) -> Result<RawHead, HeadOutcome> {
    let mut has_begun = false;
    let silent_for = match awaited {
        HeadPosition::First | HeadPosition::FirstOrHttp2 => limits.header_timeout,
        HeadPosition::Next => limits.idle_timeout,
    };
    set(deadline.as_mut(), silent_for);
    let mut lines = Lines::default();
    let mut is_preface = awaited == HeadPosition::FirstOrHttp2;
    loop {
        if !bytes.is_empty() {
            is_preface = is_preface && starts_alike(&bytes, PREFACE);
            if is_preface && bytes.len() >= PREFACE.len() {
                return Err(HeadOutcome::Http2(bytes));
            }
            if !is_preface
                && let Some(length) = lines
                    .end(&bytes, limits)
                    .map_err(|reason| refused(reason, &bytes))?
            {
                let behind = bytes.split_off(length);
                return Ok(RawHead { head: bytes, behind });
            }
            if !has_begun {
                set(deadline.as_mut(), limits.header_timeout);
                connection.head_began();
                has_begun = true;
            }
        }
        match read_some(socket, deadline.as_mut(), &mut bytes).await {
            Some(Ok(0)) if has_begun => return Err(refused(DenyReason::RequestMalformed, &bytes)),
            Some(Ok(0) | Err(_)) => return Err(HeadOutcome::Silence),
            None if has_begun => return Err(refused(DenyReason::RequestTimeout, &bytes)),
            None => return Err(HeadOutcome::Silence),
            Some(Ok(_)) => {}
        }
    }
}

/// Takes a head apart that [`read`] has read (RFC 9112 sections 3 and 5).
///
/// # Errors
/// The denial for a header line that is none, or a coding whose end is not certain.
pub fn parse(head: BytesMut) -> Result<(RequestHeader, HeadLines), DenyReason> {
    let malformed = DenyReason::RequestMalformed;
    let text = head.freeze();
    // The line, and the names and values in it.
    cost::count(2 * text.len());
    let begins_at = if text.starts_with(b"\r\n") { 2 } else { 0 };
    let mut rest = text.get(begins_at..).unwrap_or_default();
    let mut request = request_line(next_line(&mut rest).ok_or(malformed)?).ok_or(malformed)?;
    let mut lines = HeadLines::new(text.clone());
    loop {
        let line_at = text.len() - rest.len();
        let line = next_line(&mut rest).ok_or(malformed)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = lines.push(line_at, line).ok_or(malformed)?;
        request.append_header(name, value).map_err(|_| malformed)?;
    }
    check_end(&request)?;
    Ok((request, lines))
}

/// Where the request ends must be certain, or what is read behind it would be taken for the next one.
fn check_end(request: &RequestHeader) -> Result<(), DenyReason> {
    let malformed = DenyReason::RequestMalformed;
    if let Some(length) = request.headers.get(CONTENT_LENGTH) {
        let length: Option<u64> = length.to_str().ok().and_then(digits);
        length.ok_or(malformed)?;
    }
    let mut codings = request.headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    let is_certain = codings.next().is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    match is_certain && request.version == Version::HTTP_11 {
        true => Ok(()),
        false => Err(malformed),
    }
}

/// Takes a line, without its end.
fn next_line<'t>(rest: &mut &'t [u8]) -> Option<&'t [u8]> {
    let (line, behind) = rest.split_at_checked(memchr::memchr(b'\n', rest)?)?;
    *rest = behind.get(1..)?;
    line.strip_suffix(b"\r")
}

/// The request without its headers.
fn request_line(line: &[u8]) -> Option<RequestHeader> {
    let (version, line) = match line.split_at_checked(line.len().checked_sub(b" HTTP/1.1".len())?)? {
        (line, b" HTTP/1.1") => (Version::HTTP_11, line),
        (line, b" HTTP/1.0") => (Version::HTTP_10, line),
        _ => return None,
    };
    let (method, target) = line.split_at_checked(memchr::memchr(b' ', line)?)?;
    let mut request = RequestHeader::build_no_case(method, target.get(1..)?, Some(HEADERS_USUAL)).ok()?;
    request.set_version(version);
    // A second opinion on targets that name a host, or seem to.
    if !request.raw_path().starts_with(b"/") {
        validate_request_authority(&request).ok()?;
    }
    Some(request)
}

/// A refusal, with the host that the answer is written for.
fn refused(reason: DenyReason, bytes: &[u8]) -> HeadOutcome {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let named = lines.find_map(|line| {
        let (name, value) = line.split_at_checked("host:".len())?;
        name.eq_ignore_ascii_case(b"host:").then(|| value.trim_ascii())
    });
    let host = String::from_utf8_lossy(named.unwrap_or_default()).into_owned();
    HeadOutcome::Refused { reason, host }
}

/// Moves the timer. Later, as from one request to the next, that is a store and nothing more.
fn set(deadline: Pin<&mut Sleep>, after: Duration) {
    deadline.reset(Instant::from_std(instant() + after));
}

/// Reads what is there, `None` when the time is over first. Nothing is held until something is there.
async fn read_some(
    socket: &mut Socket,
    deadline: Pin<&mut Sleep>,
    bytes: &mut BytesMut,
) -> Option<std::io::Result<usize>> {
    let reading = poll_fn(|cx| {
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *socket).poll_read(cx, &mut read))?;
        bytes.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    });
    tokio::select! {
        biased;
        read = reading => Some(read),
        () = deadline => None,
    }
}

fn starts_alike(bytes: &[u8], with: &[u8]) -> bool {
    bytes.iter().zip(with).all(|(one, other)| one == other)
}

/// The lines of a head as far as they were seen.
#[derive(Default)]
struct Lines {
    /// Where the line that has not ended begins.
    from: usize,
    /// Up to where there is no further line feed.
    searched: usize,
    /// Lines that ended, the request line among them.
    ended: usize,
    has_length: bool,
    has_coding: bool,
}

impl Lines {
    /// Where the head ends, `None` where more of it has to come.
    fn end(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, DenyReason> {
        while let Some(at) = memchr::memchr(b'\n', bytes.get(self.searched..).unwrap_or_default()) {
            cost::count(at + 1);
            let end = self.searched + at;
            let line = bytes
                .get(self.from..end)
                .and_then(|line| line.strip_suffix(b"\r"));
            // Some parsers also take a bare line feed, and not every server behind us does.
            let line = line.ok_or(DenyReason::RequestMalformed)?;
            self.from = end + 1;
            self.searched = self.from;
            match (self.ended, line.is_empty()) {
                // RFC 9112 section 2.2: an empty line before a request is to be ignored. One.
                (0, true) if end == 1 => continue,
                (0, _) => check_request_line(line)?,
                (_, true) if self.from > head_bytes_max(limits) => return Err(DenyReason::HeadersTooLarge),
                (_, true) => return Ok(Some(self.from)),
                (_, false) => self.header(line, limits)?,
            }
            self.ended += 1;
        }
        cost::count(bytes.len() - self.searched);
        self.searched = bytes.len();
        let max = match self.ended {
            0 => TARGET_BYTES_MAX + 64,
            _ => head_bytes_max(limits),
        };
        if bytes.len() > max {
            return Err(DenyReason::HeadersTooLarge);
        }
        Ok(None)
    }

    fn header(&mut self, line: &[u8], limits: &Limits) -> Result<(), DenyReason> {
        if self.ended > limits.headers {
            return Err(DenyReason::HeadersTooLarge);
        }
        let is = |name: &[u8]| {
            line.get(..name.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(name))
        };
        match line.first() {
            // A line that goes on with the one before it (RFC 9112 section 5.2).
            Some(b' ' | b'\t') => return Err(DenyReason::RequestMalformed),
            Some(b'c' | b'C') if is(b"content-length:") => {
                // Two that are equal have one reading here, and at a server behind us perhaps not.
                if self.has_length {
                    return Err(DenyReason::RequestMalformed);
                }
                self.has_length = true;
            }
            Some(b't' | b'T') if is(b"transfer-encoding:") => self.has_coding = true,
            _ => {}
        }
        // RFC 9112 section 6.3 lets a proxy drop the length. Its sender meant something else.
        if self.has_length && self.has_coding {
            return Err(DenyReason::RequestMalformed);
        }
        Ok(())
    }
}

/// Where the head ends that comes in pieces, as [`read`] finds it.
///
/// # Errors
/// The denial for a head that is none, or too large.
#[cfg(feature = "test-util")]
pub fn end_of_head<'p>(
    pieces: impl Iterator<Item = &'p [u8]>,
    limits: &Limits,
) -> Result<Option<usize>, DenyReason> {
    let (mut lines, mut bytes) = (Lines::default(), Vec::new());
    for piece in pieces {
        bytes.extend_from_slice(piece);
        if let Some(end) = lines.end(&bytes, limits)? {
            return Ok(Some(end));
        }
    }
    Ok(None)
}

/// More bytes than any head within the limits has; the exact check is made on the parsed head.
fn head_bytes_max(limits: &Limits) -> usize {
    const AROUND_A_HEADER: usize = ": \r\n".len();
    limits.header_bytes + limits.headers * AROUND_A_HEADER + TARGET_BYTES_MAX + 64
}

/// `METHOD target HTTP/1.x`, one space between each. Many parsers repair others, and not all the same way.
fn check_request_line(line: &[u8]) -> Result<(), DenyReason> {
    // The space, the visible bytes, the fragment.
    cost::count(3 * line.len());
    let malformed = DenyReason::RequestMalformed;
    let line = line
        .strip_suffix(b" HTTP/1.1")
        .or_else(|| line.strip_suffix(b" HTTP/1.0"))
        .ok_or(malformed)?;
    let space = memchr::memchr(b' ', line).ok_or(malformed)?;
    let (method, target) = line.split_at_checked(space).ok_or(malformed)?;
    let target = target.get(1..).unwrap_or_default();
    // Bytes beyond ASCII are left to the check of the path, which has its own reason.
    let visible = |byte: &u8| *byte > b' ' && *byte != 0x7f;
    if method.is_empty()
        || !method.iter().all(u8::is_ascii_uppercase)
        || target.is_empty()
        || !target.iter().all(visible)
    {
        return Err(malformed);
    }
    if target.len() > TARGET_BYTES_MAX {
        return Err(DenyReason::HeadersTooLarge);
    }
    // Some parsers cut a fragment off; no client may send one (RFC 9110 section 7.1).
    if memchr::memchr(b'#', target).is_some() {
        return Err(DenyReason::PathInvalid);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(bytes: &[u8]) -> Result<Option<usize>, DenyReason> {
        Lines::default().end(bytes, &Limits::default())
    }

    #[test]
    fn end_is_found_wherever_the_bytes_were_cut() {
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let behind = [head.as_slice(), b"5\r\nhello"].concat();
        for cut in 1..head.len() {
            let mut lines = Lines::default();
            assert_eq!(lines.end(&behind[..cut], &Limits::default()), Ok(None), "{cut}");
            assert_eq!(
                lines.end(&behind, &Limits::default()),
                Ok(Some(head.len())),
                "{cut}"
            );
            assert!(lines.has_coding && !lines.has_length);
        }
    }

    #[test]
    fn one_empty_line_before_a_request_is_ignored() {
        assert_eq!(end(b"\r\nGET / HTTP/1.1\r\n\r\n"), Ok(Some(20)));
        assert_eq!(
            end(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
            Err(DenyReason::RequestMalformed)
        );
    }

    #[test]
    fn head_without_an_end_is_refused_at_its_bound() {
        let limits = Limits::default();
        let line = vec![b'a'; TARGET_BYTES_MAX + 65];
        assert_eq!(end(&line), Err(DenyReason::HeadersTooLarge));
        let mut head = b"GET / HTTP/1.1\r\nX: ".to_vec();
        head.resize(head_bytes_max(&limits), b'a');
        assert_eq!(end(&head), Ok(None));
        head.push(b'a');
        assert_eq!(end(&head), Err(DenyReason::HeadersTooLarge));
    }
}
