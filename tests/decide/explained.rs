//! A decision that is watched is the same decision, and the checks that are written down say why.

use portcullis::domain::checks::Check;
use portcullis::domain::decide::{decide, decide_observed};
use portcullis::domain::decision::DenyReason;
use portcullis::domain::facts::RequestFacts;
use portcullis::domain::policy::Policy;
use portcullis::domain::time::UnixSeconds;
use portcullis::gateway::explain::explanation::CheckResult;
use portcullis::gateway::explain::recorder::Recorder;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases::cases;
use crate::model::Answer;
use crate::worlds::{WRITE_KEYS, request, world};

/// Decides twice, watched and not, and compares the checks with the answer. Answers the name of the check that failed.
fn assert_explained(policy: &Policy, facts: &RequestFacts<'_>, now: UnixSeconds) -> Option<Check> {
    let mut recorder = Recorder::of_every_decision();
    let watched: Answer = decide_observed(policy, facts, now, &mut recorder).into();
    let plain: Answer = decide(policy, facts, now).into();
    assert_eq!(watched, plain);
    let reason: Option<DenyReason> = match &plain {
        Answer::Deny(reason) => Some(*reason),
        Answer::Permit { would_deny, .. } => *would_deny,
    };
    let checks = recorder.checks();
    let order: Vec<Check> = checks.iter().map(|record| record.check).collect();
    assert_eq!(order, Check::ALL);
    // Passed checks, then at most one that failed, then skipped ones.
    let mut rest = checks
        .iter()
        .skip_while(|record| record.result == CheckResult::Pass)
        .peekable();
    let failed = rest.next_if(|record| record.result == CheckResult::Fail);
    assert!(
        rest.all(|record| record.result == CheckResult::Skipped),
        "{checks:?}"
    );
    assert_eq!(failed.is_some(), reason.is_some(), "{plain:?} {checks:?}");
    if let (Some(failed), Some(reason)) = (failed, reason) {
        let start = format!("{}: ", reason.as_str());
        assert!(failed.detail.starts_with(&start), "{failed:?}");
    }
    for record in &checks {
        assert!(!record.detail.is_empty(), "{record:?}");
        let shown = |key: &&str| record.detail.contains(&format!("`{key}`"));
        assert!(!WRITE_KEYS.iter().any(shown), "a write key is shown: {record:?}");
    }
    failed.map(|record| record.check)
}

#[test]
fn explain_agrees_with_decide_on_every_case() {
    let mut failed: Vec<Check> = Vec::new();
    for (_, case) in cases() {
        failed.extend(case.with_facts(assert_explained));
    }
    // Each check is the one that fails in some case. A token that was verified with this policy passes these two.
    let passed = [Check::Issuer, Check::Key];
    for check in Check::ALL.into_iter().filter(|check| !passed.contains(check)) {
        assert!(failed.contains(&check), "no case fails at {check:?}");
    }
}

proptest! {
    // 256 worlds of 40 requests: 10,240.
    #[test]
    fn explain_agrees_with_decide_on_random_requests(
        world in world(), requests in vec(request(), 40),
    ) {
        let policy = world.policy();
        for request in &requests {
            request.with_facts(|facts, now| assert_explained(&policy, facts, now));
        }
    }
}
