//! A response as it came over the wire: what every client of the tests returns.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use serde_json::Value;
use tokio::io::AsyncBufRead;

use super::wire;

/// A response.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Statuses of the interim responses before it.
    pub interim: Vec<u16>,
    /// In order. The spelling is the wire's.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the body came to the end that its framing promises.
    pub complete: bool,
}

impl Answer {
    /// Reads the response to a request of this method. `None` if the connection ends before the head is complete.
    pub async fn read(from: &mut (impl AsyncBufRead + Unpin), method: &str) -> Option<Self> {
        let mut interim = Vec::new();
        loop {
            let head = wire::read_head(from).await?;
            let status = head.line.split(' ').nth(1)?.parse().ok()?;
            if (100..200).contains(&status) {
                interim.push(status);
                continue;
            }
            let framing = wire::response_framing(&head, method, status);
            let body = wire::read_body(from, framing).await;
            return Some(Self {
                status,
                interim,
                headers: head.headers,
                body: body.bytes,
                complete: body.complete,
            });
        }
    }

    /// The status, at the end of a chain of calls.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Every value of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        wire::all(&self.headers, name)
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// The only value of a header.
    #[track_caller]
    pub fn one(&self, name: &str) -> &str {
        match self.all(name).as_slice() {
            [one] => one,
            others => panic!("{} values of {name}: {:?}", others.len(), self.headers),
        }
    }

    /// Whether the server closes the connection after it.
    pub fn is_last(&self) -> bool {
        self.header("connection") == Some("close")
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, which must be JSON; `null` if it is empty.
    #[track_caller]
    pub fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The reason of a denial, in either of its forms; empty if there is none.
    pub fn reason(&self) -> String {
        let json: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let reason = json["reason"].as_str().or(json["errors"][0]["type"].as_str());
        reason.unwrap_or_default().to_owned()
    }

    /// Status and reason, for one comparison.
    pub fn verdict(&self) -> (u16, String) {
        (self.status, self.reason())
    }

    #[track_caller]
    pub fn assert_ok(&self) {
        assert_eq!((self.status, self.complete), (200, true), "{}", self.text());
    }

    #[track_caller]
    pub fn assert_denied(&self, status: u16, reason: &str) {
        assert_eq!(self.verdict(), (status, reason.to_owned()), "{self:?}");
        assert!(self.complete, "the denial was cut short");
    }

    /// The `type` of a problem document (RFC 9457), without its common prefix.
    #[track_caller]
    pub fn problem(&self) -> String {
        let media_type = self.header("content-type");
        assert_eq!(media_type, Some("application/problem+json"), "{self:?}");
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
