//! Requests that cannot be read, whatever they ask for.

use crate::control::http::memory::Exhausted;
use thiserror::Error;

/// A request that cannot be read, whatever it asks for.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BadRequest {
    #[error("the body is larger than {} bytes", super::bad_request::BODY_BYTES_MAX)]
    TooLarge,
    #[error("the report has more than 10000 tokens or 24 MiB; send it in parts")]
    ReportTooLarge,
    #[error("the body did not arrive whole")]
    Broken,
    #[error("the body did not arrive in time")]
    Timeout,
    #[error("send the body as application/json")]
    NotJson,
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
