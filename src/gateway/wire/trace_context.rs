//! W3C Trace Context: the trace that a request belongs to, and the gateway's place in it.
//!
//! The header `traceparent` is `00-TRACE-PARENT-FLAGS` in lower-case hex (W3C Trace Context section 3.2).

use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;

/// The header's name.
pub const TRACEPARENT: &str = "traceparent";

/// The length of the header in version 00.
const LENGTH: usize = 55;

/// A request's place in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// 32 hex digits, shared by all parts of the trace.
    pub trace_id: String,
    /// 16 hex digits: the caller's part of the trace.
    pub parent_id: String,
    /// 16 hex digits: the gateway's part of the trace.
    pub span_id: String,
    /// Bit 0: the caller may have recorded the trace.
    pub flags: u8,
}

impl TraceContext {
    /// Continues the trace that the request names. `None` where it names none, or more than one.
    #[must_use]
    pub fn continued(headers: &HeaderMap, ids: &SpanIds) -> Option<Self> {
        let mut named = headers.get_all(TRACEPARENT).iter();
        let (Some(one), None) = (named.next(), named.next()) else {
            return None;
        };
        let (trace_id, parent_id, flags) = parsed(one.to_str().ok()?)?;
        Some(Self {
            trace_id: trace_id.to_owned(),
            parent_id: parent_id.to_owned(),
            span_id: ids.next(),
            flags,
        })
    }

    /// The header for the upstream, whose caller is the gateway.
    #[must_use]
    pub fn header(&self) -> String {
        // Flags of later versions are not passed on (section 4.3).
        format!("00-{}-{}-{:02x}", self.trace_id, self.span_id, self.flags & 1)
    }
}

/// Trace, parent and flags of a header. A later version may have more behind them (section 3.2.2.3).
fn parsed(text: &str) -> Option<(&str, &str, u8)> {
    let is_longer = text.len() > LENGTH && text.as_bytes().get(LENGTH) == Some(&b'-');
    let head = text.get(..LENGTH)?;
    let mut parts = head.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_known = match version {
        "00" => text.len() == LENGTH,
        "ff" => false,
        _ => text.len() == LENGTH || is_longer,
    };
    let is_hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |part: &str, length| is_hex(part, length) && part.bytes().any(|byte| byte != b'0');
    let is_good = is_known && is_hex(version, 2) && is_id(trace, 32) && is_id(parent, 16) && is_hex(flags, 2);
    let flags = u8::from_str_radix(flags, 16).ok()?;
    (is_good && parts.next().is_none()).then_some((trace, parent, flags))
}

/// Makes ids of spans: numbers without a pattern, from a beginning that is random for each process.
pub struct SpanIds {
    next: AtomicU64,
}

/// An odd step visits every number before it comes back to one.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl SpanIds {
    /// Ids that begin at a random number.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            next: AtomicU64::new(seed),
        }
    }

    fn next(&self) -> String {
        let id = mixed(self.next.fetch_add(STEP, Ordering::Relaxed));
        // Zero is no id.
        format!("{:016x}", id.max(1))
    }
}

/// The output function of `SplitMix64`.
fn mixed(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    fn continued(values: &[&str]) -> Option<TraceContext> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, value.parse().unwrap());
        }
        TraceContext::continued(&headers, &SpanIds::new(7))
    }

    #[test]
    fn trace_is_continued_with_an_own_span() {
        let context = continued(&[&format!("00-{TRACE}-{PARENT}-01")]).unwrap();
        assert_eq!((&*context.trace_id, &*context.parent_id), (TRACE, PARENT));
        assert_ne!(context.span_id, PARENT);
        assert_eq!(context.header(), format!("00-{TRACE}-{}-01", context.span_id));
        let later = continued(&[&format!("cc-{TRACE}-{PARENT}-09-what-comes")]).unwrap();
        assert_eq!(later.header(), format!("00-{TRACE}-{}-01", later.span_id));
    }

    #[test]
    fn malformed_traceparent_begins_no_trace() {
        let zero = "0".repeat(32);
        let upper = TRACE.to_uppercase();
        for bad in [
            String::new(),
            "00".to_owned(),
            format!("00-{zero}-{PARENT}-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{upper}-{PARENT}-01"),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-01-more"),
            format!("cc-{TRACE}-{PARENT}-01more"),
            format!("00-{TRACE}-{PARENT}-0x"),
            format!("00_{TRACE}-{PARENT}-01"),
        ] {
            assert_eq!(continued(&[&bad]), None, "{bad}");
        }
        let good = format!("00-{TRACE}-{PARENT}-00");
        assert_eq!(continued(&[&good, &good]), None);
    }
}
