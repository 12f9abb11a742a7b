//! Request ids: made here, or taken over from a trusted proxy.

use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;
use uuid::Uuid;

/// The header in which a request id goes upstream and back to the client.
pub const X_REQUEST_ID: &str = "x-request-id";

/// The longest request id that is taken over, in bytes.
const BYTES_MAX: usize = 128;

/// Makes request ids: a counter behind a prefix that is random for each process.
#[derive(Debug)]
pub struct RequestIds {
    prefix: String,
    next: AtomicU64,
}

impl Default for RequestIds {
    /// Random enough that two processes, or two starts of one, never share an id.
    fn default() -> Self {
        let random = Uuid::now_v7().simple().to_string();
        Self {
            prefix: random.get(..20).unwrap_or(&random).to_owned(),
            next: AtomicU64::new(0),
        }
    }
}

impl RequestIds {
    /// A new id.
    #[must_use]
    pub fn next(&self) -> String {
        format!("{}-{:x}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// The request id that a trusted proxy sent: visible characters, once. Anything else would end up in logs and in other
/// services' headers. Ask only for requests of a trusted proxy.
#[must_use]
pub fn forwarded_id(headers: &HeaderMap) -> Option<&str> {
    let mut ids = headers.get_all(X_REQUEST_ID).iter();
    let (id, None) = (ids.next()?, ids.next()) else {
        return None;
    };
    let id = id.to_str().ok()?;
    let is_id = (1..=BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    is_id.then_some(id)
}
