//! What gateways counted.

use crate::domain::time::UnixSeconds;
use crate::report::Verdict;

/// Requests of one source that had the same fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    pub verdict: Verdict,
    /// Empty for `allow`.
    pub reason: String,
    /// Empty where too many clients were seen to keep them apart, and for `allow`.
    pub agent: String,
    pub address: String,
    pub requests: u64,
    /// When the last of them was counted, to the span.
    pub last: UnixSeconds,
}

/// Requests of a workspace in one span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanTraffic {
    /// When the span begins; it lasts [`SPAN_S`] seconds.
    pub begins: UnixSeconds,
    pub verdict: Verdict,
    pub requests: u64,
}
