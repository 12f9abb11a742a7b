//! Why an exchange with an upstream server failed: in words for the operator, as a reason for the client.

use std::time::Duration;

use pingora_error::{BError, ErrorType};
use thiserror::Error;

use crate::domain::decision::DenyReason;

/// What happened. No text quotes bytes that the server sent: they may hold secrets of users.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Failure {
    #[error("connection refused")]
    Refused,
    #[error("connect timed out after {0:?}")]
    ConnectTimedOut(Duration),
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("certificate not trusted: {0}; check `tls.ca`")]
    NotTrusted(String),
    #[error("certificate is not valid for `{0}`; check `tls.sni`")]
    WrongName(String),
    #[error("TLS handshake failed: {0}")]
    Tls(String),
    #[error("connection reset before the response")]
    Reset,
    #[error("connection closed before the response")]
    Closed,
    #[error("response timed out after {0:?}")]
    ResponseTimedOut(Duration),
    #[error("malformed response: {0}")]
    Malformed(&'static str),
    #[error("response broke off")]
    BrokeOff,
    #[error("HTTP/2 exchange failed: {0}")]
    Http2(String),
    #[error("the request cannot be written: {0}")]
    Request(&'static str),
    #[error("name does not resolve: {0}")]
    NotResolved(String),
    #[error("health check got status {0}, expected 200")]
    Status(u16),
    #[error("no server is healthy")]
    NoServer,
}

impl Failure {
    /// The reason in the response to the client.
    #[must_use]
    pub fn reason(&self) -> DenyReason {
        match self {
            Self::ResponseTimedOut(_) => DenyReason::UpstreamTimeout,
            _ => DenyReason::UpstreamUnavailable,
        }
    }

    /// Whether a connection could not be made, as opposed to an exchange on it.
    #[must_use]
    pub fn is_of_connecting(&self) -> bool {
        matches!(
            self,
            Self::Refused
                | Self::ConnectTimedOut(_)
                | Self::Connect(_)
                | Self::NotTrusted(_)
                | Self::WrongName(_)
                | Self::Tls(_)
        )
    }

    /// Why a connection could not be made. `sni` is the name that the server was asked for.
    #[must_use]
    pub fn of_connecting(error: &BError, within: Duration, sni: &str) -> Self {
        let text = error.context.as_ref().map(|context| context.as_str());
        match error.etype() {
            ErrorType::ConnectRefused => Self::Refused,
            ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => Self::ConnectTimedOut(within),
            ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert | ErrorType::HandshakeError => {
                of_handshake(text.unwrap_or_default(), sni)
            }
            kind => Self::Connect(in_words(kind)),
        }
    }

    /// Why an exchange over HTTP/2 failed.
    #[must_use]
    pub fn of_http2(error: &BError, within: Duration) -> Self {
        match error.etype() {
            ErrorType::ReadTimedout | ErrorType::WriteTimedout => Self::ResponseTimedOut(within),
            ErrorType::ConnectionClosed => Self::Closed,
            kind => Self::Http2(in_words(kind)),
        }
    }

    /// Why reading from or writing to a connection failed.
    #[must_use]
    pub fn of_io(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => Self::Reset,
            _ => Self::Closed,
        }
    }
}

/// The TLS library's reason within Pingora's text.
fn of_handshake(text: &str, sni: &str) -> Failure {
    const CERTIFICATE: &str = "invalid peer certificate: ";
    let text = text.split(", SNI").next().unwrap_or(text);
    match text.split_once(CERTIFICATE) {
        Some((_, why)) if why.contains("not valid for name") || why.contains("NotValidForName") => {
            Failure::WrongName(sni.to_owned())
        }
        Some((_, why)) => Failure::NotTrusted(why.trim().to_owned()),
        None => {
            let why = text.rsplit_once("failed: ").map_or(text, |(_, why)| why);
            Failure::Tls(why.trim().to_owned())
        }
    }
}

/// `ConnectNoRoute` as `connect no route`.
fn in_words(kind: &ErrorType) -> String {
    let mut words = String::new();
    for letter in kind.as_str().chars() {
        if letter.is_ascii_uppercase() && words.ends_with(|last: char| last.is_ascii_lowercase()) {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshake_failures_are_told_apart() {
        let text =
            |inner: &str| format!("TLS connect() failed:  TLSHandshakeFailure context: {inner}, SNI: a.test");
        let of = |inner: &str| of_handshake(&text(inner), "a.test").to_string();
        assert_eq!(
            of("invalid peer certificate: UnknownIssuer"),
            "certificate not trusted: UnknownIssuer; check `tls.ca`"
        );
        assert_eq!(
            of(
                "invalid peer certificate: certificate not valid for name \"a.test\"; certificate is only valid for b"
            ),
            "certificate is not valid for `a.test`; check `tls.sni`"
        );
        assert!(of("received corrupt message of type InvalidContentType").contains("corrupt message"));
    }

    #[test]
    fn error_types_are_words() {
        assert_eq!(in_words(&ErrorType::ConnectNoRoute), "connect no route");
    }
}
