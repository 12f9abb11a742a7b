//! Requests that block until their response came, for tests that run the built program.
//!
//! Each goes over a connection of its own, with exactly the headers it is given. The responses are read as
//! `client` reads them.

use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use serde_json::Value;
use tokio::io::{AsyncRead, BufReader, ReadBuf};

pub use super::answer::Answer;
use super::process::DEADLINE;

/// A reader that blocks, for the functions that read HTTP messages: no call of it is ever pending.
pub struct Blocking<R>(pub R);

impl<R: Read + Unpin> AsyncRead for Blocking<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let read = self.0.read(into.initialize_unfilled())?;
        into.advance(read);
        Poll::Ready(Ok(()))
    }
}

/// Reads the response to a request of this method. `None` if the connection ends, or nothing comes in time.
pub fn read_answer(from: impl Read + Unpin, method: &str) -> Option<Answer> {
    let mut from = BufReader::new(Blocking(from));
    let read = Answer::read(&mut from, method).now_or_never();
    read.expect("a reader that blocks is never pending")
}

/// A request in the making.
pub struct Request {
    method: &'static str,
    /// Where it goes, and what `Host` says unless told otherwise.
    host: String,
    named_host: Option<String>,
    target: String,
    headers: String,
    body: Vec<u8>,
}

pub fn get(url: &str) -> Request {
    Request::to("GET", url)
}

pub fn post(url: &str) -> Request {
    Request::to("POST", url)
}

impl Request {
    pub fn to(method: &'static str, url: &str) -> Self {
        let rest = url.strip_prefix("http://").unwrap();
        let (host, target) = rest
            .find('/')
            .map_or((rest, "/"), |slash| (&rest[..slash], &rest[slash..]));
        Self {
            method,
            host: host.to_owned(),
            named_host: None,
            target: target.to_owned(),
            headers: String::new(),
            body: Vec::new(),
        }
    }

    /// Says another host than the one it goes to.
    pub fn host(mut self, name: &str) -> Self {
        self.named_host = Some(name.to_owned());
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string().as_bytes())
    }

    pub fn body(mut self, kind: &str, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self.header("Content-Type", kind)
    }

    /// Sends it on a connection of its own and reads the answer.
    pub fn send(self) -> Answer {
        self.begin()
            .answer()
            .expect("an answer before the connection ends")
    }

    /// Sends it, and leaves the answer for later.
    pub fn begin(self) -> Pending {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let Self {
            method,
            host,
            named_host,
            target,
            headers,
            body,
        } = self;
        let host = named_host.unwrap_or(host);
        let length = match (method, body.len()) {
            ("GET", 0) => String::new(),
            (_, length) => format!("Content-Length: {length}\r\n"),
        };
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}{length}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
        Pending { stream, method }
    }
}

/// A request that was sent.
pub struct Pending {
    stream: TcpStream,
    method: &'static str,
}

impl Pending {
    /// Whether anything comes, or the connection ends, before this time is over.
    pub fn ends_within(&self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let came = self.stream.peek(&mut [0]).is_ok();
        self.stream.set_read_timeout(Some(DEADLINE)).unwrap();
        came
    }

    pub fn answer(self) -> Option<Answer> {
        read_answer(self.stream, self.method)
    }
}
