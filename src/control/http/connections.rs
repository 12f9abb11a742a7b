//! Connection limits of the control plane, and its response to a connection that is refused.

use std::time::Duration;

use axum::body::Bytes;

use crate::config::ControlLimits;
use crate::http_server::Bounds;

/// The body of the response to a refused connection. It must serve every path: the form is that of RFC 6749
/// section 5.2, with members of RFC 9457.
const REFUSAL: &str = r#"{"error":"temporarily_unavailable","error_description":"too many connections are open; close idle ones and retry","title":"Too many connections","status":503,"code":"too-many-connections"}"#;

/// The whole response to a refused connection.
pub fn refusal() -> Bytes {
    let length = REFUSAL.len();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n\
         Retry-After: 1\r\nX-RateLimit-Reset: 1\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{REFUSAL}"
    )
    .into()
}

impl Default for Bounds {
    fn default() -> Self {
        Self::from(&ControlLimits::default())
    }
}

impl From<&ControlLimits> for Bounds {
    fn from(limits: &ControlLimits) -> Self {
        Self {
            connections: limits.connections,
            connections_per_client: limits.connections_per_client,
            header_timeout: limits.header_timeout,
            crowded_timeout: Duration::from_secs(5),
            idle: Duration::from_secs(60),
            drain: Duration::from_secs(30),
        }
    }
}
