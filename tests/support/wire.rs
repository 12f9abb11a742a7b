//! HTTP/1.1 messages read off a socket byte by byte: the one reader of the tests, which shares nothing with the gateway.
//!
//! A test compares what really went over the wire, so headers keep their order and spelling, and a
//! message that ends too early is distinguished from a complete one.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

/// The first line of a message and its headers, in order.
#[derive(Clone, Debug, Default)]
pub struct MessageHead {
    pub line: String,
    pub headers: Vec<(String, String)>,
}

impl MessageHead {
    /// Every value of a header, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        all(&self.headers, name)
    }
}

/// Every value of `name` in `headers`, in order.
pub fn all<'h>(headers: &'h [(String, String)], name: &str) -> Vec<&'h str> {
    let named = headers.iter().filter(|(held, _)| held.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.as_str()).collect()
}

/// How a message's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(usize),
    Chunked,
    UntilClose,
}

/// A body as far as it came, and whether it came to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    pub bytes: Vec<u8>,
    pub complete: bool,
}

/// Reads the head of a message, `None` where the connection ends before one.
pub async fn read_head(from: &mut (impl AsyncBufRead + Unpin)) -> Option<MessageHead> {
    let mut head = MessageHead {
        line: read_line(from).await?,
        headers: Vec::new(),
    };
    loop {
        let line = read_line(from).await?;
        if line.is_empty() {
            return Some(head);
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        head.headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

async fn read_line(from: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    let read = from.read_until(b'\n', &mut line).await.ok()?;
    let line = line.strip_suffix(b"\r\n")?;
    (read > 0).then(|| String::from_utf8_lossy(line).into_owned())
}

/// How the body of a request with this head ends (RFC 9112 section 6.3).
pub fn request_framing(head: &MessageHead) -> Framing {
    framing(head).unwrap_or(Framing::None)
}

/// How the body of a response with this head ends.
pub fn response_framing(head: &MessageHead, method: &str, status: u16) -> Framing {
    if method == "HEAD" || matches!(status, 100..=199 | 204 | 304) {
        return Framing::None;
    }
    framing(head).unwrap_or(Framing::UntilClose)
}

fn framing(head: &MessageHead) -> Option<Framing> {
    if !head.all("transfer-encoding").is_empty() {
        return Some(Framing::Chunked);
    }
    let length = head.all("content-length").first()?.parse().unwrap();
    Some(Framing::Length(length))
}

/// Reads a body as far as it comes.
pub async fn read_body(from: &mut (impl AsyncBufRead + Unpin), framing: Framing) -> Body {
    let mut body = Body::default();
    body.complete = match framing {
        Framing::None => true,
        Framing::Length(length) => read_exactly(from, length, &mut body.bytes).await,
        Framing::Chunked => read_chunks(from, &mut body.bytes).await.is_some(),
        Framing::UntilClose => from.read_to_end(&mut body.bytes).await.is_ok(),
    };
    body
}

async fn read_exactly(from: &mut (impl AsyncBufRead + Unpin), length: usize, to: &mut Vec<u8>) -> bool {
    let read = from.take(length as u64).read_to_end(to).await;
    read.is_ok_and(|read| read == length)
}

async fn read_chunks(from: &mut (impl AsyncBufRead + Unpin), to: &mut Vec<u8>) -> Option<()> {
    loop {
        let size = usize::from_str_radix(&read_line(from).await?, 16).ok()?;
        if !read_exactly(from, size, to).await {
            return None;
        }
        if !read_line(from).await?.is_empty() {
            return None;
        }
        if size == 0 {
            return Some(());
        }
    }
}

/// `body` in chunks of an odd size, ended.
pub fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + body.len() / size * 8 + 16);
    for chunk in body.chunks(size) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

/// SHA-256 in hex, so that a failed comparison prints a line and not a megabyte.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
