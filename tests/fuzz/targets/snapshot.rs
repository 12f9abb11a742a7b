//! What passes over the seam: decoded, compiled and applied without a panic, whole or not at all.

use std::sync::LazyLock;

use portcullis::domain::policy::Policy;
use portcullis::domain::time::UnixSeconds;
use portcullis::snapshot;
use portcullis::snapshot::Update;

use super::common::{FRESHNESS, policy_of};

static BASE: LazyLock<Policy> = LazyLock::new(|| policy_of(&[]));

/// One update a line, one after the other.
pub fn run(data: &[u8]) {
    let mut policy = BASE.clone();
    for line in data.split(|byte| *byte == b'\n') {
        let Ok(update) = serde_json::from_slice::<Update>(line) else {
            continue;
        };
        let again = serde_json::from_slice(&serde_json::to_vec(&update).unwrap()).unwrap();
        let next = step(&policy, &update);
        let second = step(&policy, &again);
        assert_eq!(
            next.as_ref().map(|next| (next.version(), next.confirmed_at())),
            second.as_ref().map(|next| (next.version(), next.confirmed_at())),
            "written and read again, it is another update"
        );
        policy = next.unwrap_or(policy);
    }
}

fn step(policy: &Policy, update: &Update) -> Option<Policy> {
    match update {
        Update::Snapshot(whole) => match snapshot::compile(whole, &[], FRESHNESS) {
            Ok(next) => {
                assert_eq!(next.version(), whole.version);
                Some(next)
            }
            Err(error) => {
                assert!(!error.field.is_empty() && !error.problem.is_empty());
                None
            }
        },
        Update::Changes(changes) => {
            let before = (policy.version(), policy.confirmed_at());
            let next = snapshot::apply(policy, changes);
            assert_eq!(before, (policy.version(), policy.confirmed_at()));
            match next {
                Ok(next) => {
                    assert_eq!(policy.version().checked_add(1), Some(next.version()));
                    assert!(next.confirmed_at() >= policy.confirmed_at());
                    Some(next)
                }
                Err(error) => {
                    assert!(!error.field.is_empty() && !error.problem.is_empty());
                    None
                }
            }
        }
        Update::Confirmed { at, .. } => Some(snapshot::confirm(policy, UnixSeconds(*at))),
        #[allow(unreachable_patterns, reason = "kinds of update that come later")]
        _ => None,
    }
}
