//! Requests that cannot be read, for any operation.

use super::limiter::Wait;
use thiserror::Error;

/// A request that cannot be read, for any operation.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BadRequest {
    #[error("the body is larger than {} bytes", BODY_BYTES_MAX)]
    TooLarge,
    #[error("the report has more than 10000 tokens or 24 MiB; send it in parts")]
    ReportTooLarge,
    #[error("the body did not arrive whole")]
    Broken,
    #[error("the body did not arrive in time")]
    Timeout,
    #[error("send the body as application/json")]
    NotJson,
    #[error("send the body in UTF-8, without another charset in Content-Type")]
    Charset,
    #[error("the body is not well-formed JSON")]
    Malformed,
    #[error("nothing is served at this path")]
    Path,
    #[error("an If-Match header is * or a list of entity tags as ETag headers have them")]
    IfMatch,
    #[error("an Idempotency-Key header is one of 1 to 255 visible ASCII characters")]
    IdempotencyKey,
    #[error("this path does not serve the request's method")]
    Method,
    /// There is no memory for the request or its response.
    #[error("{0}")]
    Exhausted(Exhausted),
}

/// The longest body read, in bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// Which bound was reached.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Exhausted {
    /// All requests together hold as much memory as they may, or so much that this client's share is gone.
    #[error("the server holds as many requests and responses as it can; try again in {} s", Self::RETRY_AFTER.seconds())]
    Server,
    /// The client holds its share: requests in progress, or responses that it has not read.
    #[error(
        "too many requests of your address are in progress, or it has not read their responses; read them and try again in {} s",
        Self::RETRY_AFTER.seconds()
    )]
    Client,
}

impl Exhausted {
    /// When a client may try again.
    pub const RETRY_AFTER: Wait = Wait::SHORTEST;

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}
