//! A minimal HTTP/1.1 client that sends exactly what it is given, and the message parser that the
//! recording upstream shares with it.

use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::process::DEADLINE;

/// A message as it came: first line, headers, and the body without its framing.
#[derive(Clone)]
pub struct Message {
    pub first_line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the whole body came.
    pub complete: bool,
}

impl Message {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(held, _)| held.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn status(&self) -> u16 {
        self.first_line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// `reason` of a denial.
    pub fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// Status and reason, for one comparison.
    pub fn verdict(&self) -> (u16, String) {
        (self.status(), self.reason())
    }
}

/// Reads one message, or `None` where the connection ended before one began.
pub fn read_message(from: &mut impl BufRead, is_response: bool) -> Option<Message> {
    let first_line = line(from).filter(|line| !line.is_empty())?;
    let mut message = Message {
        first_line,
        headers: Vec::new(),
        body: Vec::new(),
        complete: true,
    };
    loop {
        let line = line(from)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        message.headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let chunked = message
        .header("transfer-encoding")
        .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    let length = message
        .header("content-length")
        .and_then(|length| length.parse().ok());
    match (chunked, length) {
        (true, _) => message.complete = read_chunks(from, &mut message.body).is_some(),
        (false, Some(length)) => message.complete = read_exactly(from, length, &mut message.body).is_some(),
        (false, None) if is_response => message.complete = from.read_to_end(&mut message.body).is_ok(),
        (false, None) => {}
    }
    Some(message)
}

fn line(from: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    let read = from.read_line(&mut line).ok()?;
    (read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
}

fn read_exactly(from: &mut impl BufRead, length: usize, to: &mut Vec<u8>) -> Option<()> {
    let start = to.len();
    to.resize(start + length, 0);
    from.read_exact(&mut to[start..]).ok()
}

fn read_chunks(from: &mut impl BufRead, to: &mut Vec<u8>) -> Option<()> {
    loop {
        let size = line(from)?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            while !line(from)?.is_empty() {}
            return Some(());
        }
        read_exactly(from, size, to)?;
        line(from)?;
    }
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
    pub fn send(self) -> Message {
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
        Pending(stream)
    }
}

/// A request that was sent.
pub struct Pending(TcpStream);

impl Pending {
    /// Whether anything comes, or the connection ends, before this time is over.
    pub fn ends_within(&self, time: Duration) -> bool {
        self.0.set_read_timeout(Some(time)).unwrap();
        let came = self.0.peek(&mut [0]).is_ok();
        self.0.set_read_timeout(Some(DEADLINE)).unwrap();
        came
    }

    pub fn answer(self) -> Option<Message> {
        read_message(&mut BufReader::new(self.0), true)
    }
}
