//! The way back over the seam: what a gateway counted, as plain data.
//!
//! The control plane says what holds, in [`crate::snapshot`]; a gateway answers with the version it has in
//! force and with how many requests of each source it let through, refused, or would have refused. Nothing here
//! names a credential, and everything is bounded: a report has at most [`COUNTS_MAX`] counts, and what a client
//! says of itself is cut to [`AGENT_BYTES_MAX`] bytes of plain characters.

use serde::{Deserialize, Serialize};

/// Counts in one report. What does not fit goes into the next one.
pub const COUNTS_MAX: usize = 4_096;

/// The longest name of a client, in bytes.
pub const AGENT_BYTES_MAX: usize = 48;

/// What one gateway counted since its last report, and the policy it has in force.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The policy version in force; 0 before the first.
    pub policy_version: u64,
    /// When that policy was last confirmed as current, Unix seconds.
    pub confirmed_at: u64,
    pub counts: Vec<Count>,
}

/// Requests that are alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    pub source: String,
    /// The policy version that judged the requests, or an earlier one where too many were in force since the last report.
    pub policy_version: u64,
    pub verdict: Verdict,
    /// The reason of a denial, or of what would have been one; empty for `allow`.
    pub reason: String,
    /// The client's product, such as `analytics-node-next/latest`, for denials: [`agent`]. Empty for `allow`.
    pub agent: String,
    /// The client's address, for denials. Empty for `allow`, and where a source had too many to keep apart.
    pub address: String,
    pub requests: u64,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Allow,
    Deny,
    WouldDeny,
}

impl Verdict {
    /// The word, the same as in the metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::WouldDeny => "would_deny",
        }
    }

    /// The verdict with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Allow, Self::Deny, Self::WouldDeny]
            .into_iter()
            .find(|verdict| verdict.as_str() == word)
    }
}

/// The name under which clients with this `User-Agent` are counted: its first product, if it is short and plain.
#[must_use]
pub fn agent(user_agent: Option<&[u8]>) -> &str {
    let Some(text) = user_agent else { return "none" };
    let product = text.split(|byte| *byte == b' ').next().unwrap_or_default();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-/+".contains(byte);
    if product.is_empty() || product.len() > AGENT_BYTES_MAX || !product.iter().all(plain) {
        return "other";
    }
    std::str::from_utf8(product).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_named_by_its_first_plain_product() {
        assert_eq!(agent(Some(b"analytics-python/2.4.0")), "analytics-python/2.4.0");
        assert_eq!(agent(Some(b"Mozilla/5.0 (X11; Linux)")), "Mozilla/5.0");
        assert_eq!(agent(None), "none");
        assert_eq!(agent(Some(b"")), "other");
        assert_eq!(agent(Some(b"<script>")), "other");
        assert_eq!(agent(Some(&[0xff, 0xfe])), "other");
        assert_eq!(agent(Some("x".repeat(49).as_bytes())), "other");
    }
}
