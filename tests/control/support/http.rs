//! An HTTP/1.1 client that sends exactly what it is given, and its responses.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::DEADLINE;
use crate::secrets;

/// The cookie of the session that an answer opens.
#[track_caller]
pub fn session_cookie(answer: &Answer) -> String {
    let cookies = answer.all("set-cookie");
    let session = cookies.iter().find(|set| set.starts_with("__Host-portcullis="));
    let session = session.unwrap_or_else(|| panic!("no session: {answer:?}"));
    session.split(';').next().unwrap().to_owned()
}

/// One request to a server on a connection of its own.
pub async fn send_to(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    if !body.is_empty() || method != "GET" {
        write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    head.push_str("\r\n");
    note_secrets(headers, body);
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // A server that refuses by the head alone may close before it has read the body.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        Answer::parse(&answer)
    };
    tokio::time::timeout(DEADLINE, exchange).await.unwrap()
}

/// Writes down the secrets that a request carries.
fn note_secrets(headers: &[(&str, &str)], body: &[u8]) {
    for (_, value) in headers.iter().filter(|(name, _)| *name == "Cookie") {
        secrets::note_cookies(value);
    }
    if let Ok(body) = serde_json::from_slice(body) {
        secrets::note_members(&body);
    } else if let Some((_, form)) = std::str::from_utf8(body)
        .ok()
        .and_then(|body| body.split_once("client_assertion="))
    {
        secrets::note(form.split('&').next());
    }
}

/// A response, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .expect("a whole head");
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<_> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        for (_, value) in headers.iter().filter(|(name, _)| name == "set-cookie") {
            secrets::note_cookies(value);
        }
        let body = bytes[end + 4..].to_vec();
        if let Ok(body) = serde_json::from_slice(&body) {
            secrets::note_members(&body);
        }
        Self {
            status,
            headers,
            body,
        }
    }

    /// Every value of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let held = self.headers.iter().filter(|(held, _)| held == name);
        held.map(|(_, value)| value.as_str()).collect()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(held, _)| held == name)
            .map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }

    /// The `type` of a problem document, without its common prefix.
    #[track_caller]
    pub fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert!(
            problem["title"].is_string() && problem["detail"].is_string(),
            "{problem}"
        );
        problem["type"]
            .as_str()
            .unwrap()
            .strip_prefix("urn:portcullis:problem:")
            .unwrap()
            .to_owned()
    }
}

/// A request whose handler has begun and waits for the second half of the body.
pub struct HalfSent {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl HalfSent {
    pub async fn begin(
        address: SocketAddr,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Self {
        let mut head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nExpect: 100-continue\r\n\
             Content-Length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head.push_str("\r\n");
        let begun = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            // The body is asked for when it is read, and it is read after everything else was looked at.
            let mut interim = [0; 25];
            stream.read_exact(&mut interim).await.unwrap();
            assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
            let (half, rest) = body.as_bytes().split_at(body.len() / 2);
            stream.write_all(half).await.unwrap();
            Self {
                stream,
                rest: rest.to_vec(),
            }
        };
        tokio::time::timeout(DEADLINE, begun).await.unwrap()
    }

    pub async fn finish(mut self) -> Answer {
        let answered = async {
            self.stream.write_all(&self.rest).await.unwrap();
            let mut answer = Vec::new();
            let _ = self.stream.read_to_end(&mut answer).await;
            Answer::parse(&answer)
        };
        tokio::time::timeout(DEADLINE, answered).await.unwrap()
    }
}
