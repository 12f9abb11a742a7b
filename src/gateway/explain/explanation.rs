//! What became of one request, and why: a value that commands print and tests compare.

use crate::domain::checks::Check;
use crate::domain::decision::DenyReason;
use crate::domain::ids::{AppId, SourceId};
use crate::domain::policy::Enforcement;

/// What the gateway does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Allow,
    /// Allowed, since the source only observes.
    WouldDeny,
    Deny,
}

impl Outcome {
    /// The word in logs, metrics and output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::WouldDeny => "would_deny",
            Self::Deny => "deny",
        }
    }
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckResult {
    Pass,
    Fail,
    /// Not made: an earlier one failed, or the request does not need it.
    Skipped,
}

impl CheckResult {
    /// The word in the output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }
}

/// One check of `decide`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckRecord {
    pub check: Check,
    pub result: CheckResult,
    /// What was compared. It quotes no secret, and says `unverified` of what nobody has proved.
    pub detail: String,
}

/// The source that a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedSource {
    pub id: SourceId,
    pub enforcement: Enforcement,
}

/// What became of one request, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub outcome: Outcome,
    pub reason: Option<DenyReason>,
    /// The sentence that the client receives, or what the gateway does in place of a decision.
    pub sentence: Option<String>,
    /// The version of the policy in force; `None` where there is none.
    pub policy_version: Option<u64>,
    pub api: Option<String>,
    pub source: Option<NamedSource>,
    /// The app of a verified token.
    pub app: Option<AppId>,
    /// Every check of `decide`, in its order.
    pub checks: Vec<CheckRecord>,
    /// The issuer whose keys are needed, and not there yet.
    pub lacks_keys_of: Option<String>,
}
