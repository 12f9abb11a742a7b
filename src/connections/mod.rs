//! Clients of both planes: whose address a request counts for, and how many connections may be open.
//!
//! Every accepted connection holds a [`ConnectionPermit`]. A client at its own limit is refused. When all permits
//! are taken, the connection that has been idle for longest ends in place of the new one being refused: first
//! among those of the client that has the most. A connection whose request is being served is never evicted.

mod client_address;
mod incoming;
mod limiter;
mod metrics;
mod order;
mod phase;
mod refusal;
mod request_id;
mod throttle;

pub use crate::connections::client_address::{X_FORWARDED_FOR, client_address, is_trusted};
pub use crate::connections::incoming::Incoming;
pub use crate::connections::limiter::{
    ConnectionGroup, ConnectionLimiter, ConnectionLimits, ConnectionPermit,
};
pub use crate::connections::metrics::ConnectionMetrics;
pub use crate::connections::metrics::Refused;
pub use crate::connections::phase::{ActiveRequest, Connection};
pub use crate::connections::refusal::RefusalAnswers;
pub use crate::connections::request_id::{RequestIds, X_REQUEST_ID, forwarded_id};
pub use crate::connections::throttle::LogThrottle;
