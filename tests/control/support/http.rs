//! Requests to the control plane, each on a connection of its own. The secrets in them and in their responses are noted.

use std::fmt::Write as _;
use std::net::SocketAddr;

pub use crate::answer::Answer;
use crate::client::H1;
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
    let length = (!body.is_empty() || method != "GET").then_some(body.len());
    note_secrets(headers, body);
    let mut client = H1::connect(address).await;
    client
        .send(head(address, method, target, length, headers).as_bytes())
        .await;
    client.send(body).await;
    noted(client.answer_to(method).await)
}

/// The head of a request that ends its connection.
fn head(
    address: SocketAddr,
    method: &str,
    target: &str,
    length: Option<usize>,
    headers: &[(&str, &str)],
) -> String {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    if let Some(length) = length {
        write!(head, "Content-Length: {length}\r\n").unwrap();
    }
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    head.push_str("\r\n");
    head
}

/// Writes down the secrets that a response carries.
fn noted(answer: Answer) -> Answer {
    answer
        .all("set-cookie")
        .into_iter()
        .for_each(secrets::note_cookies);
    if let Ok(body) = serde_json::from_slice(&answer.body) {
        secrets::note_members(&body);
    }
    answer
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

/// A request whose handler has begun and waits for the second half of the body.
pub struct HalfSent {
    client: H1,
    method: String,
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
        let headers = [&[("Expect", "100-continue")], headers].concat();
        let mut client = H1::connect(address).await;
        let head = head(address, method, target, Some(body.len()), &headers);
        client.send(head.as_bytes()).await;
        // The server asks for the body when it reads it, and it reads it after it looked at everything else.
        assert_eq!(client.interim().await, 100);
        let (half, rest) = body.as_bytes().split_at(body.len() / 2);
        client.send(half).await;
        Self {
            client,
            method: method.to_owned(),
            rest: rest.to_vec(),
        }
    }

    pub async fn finish(mut self) -> Answer {
        self.client.send(&self.rest).await;
        noted(self.client.answer_to(&self.method).await)
    }
}
