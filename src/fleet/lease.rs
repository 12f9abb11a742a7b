//! The lease: until when an instance may take its policy for current.
//!
//! Freshness is proved by question and answer. An instance sends a beat; the answer names the newest position that the
//! control plane knows, and how old that knowledge is. Where the position in force is that one, the instance is current
//! until `sent + max_age - age`. Only durations of one machine's clock enter; two machines' clocks are never compared.

use std::time::Duration;

use super::position::Position;

/// How far two clocks that count durations may drift apart: one part in a hundred.
const DRIFT_DIVISOR: u32 = 100;

/// The shortest `max_age` that a fleet may have: times are compared in whole seconds.
pub const MAX_AGE_MIN: Duration = Duration::from_secs(3);

/// The longest `max_age` that a fleet may have.
pub const MAX_AGE_MAX: Duration = Duration::from_secs(366 * 86_400);

/// What an instance asked with a beat. The answer is about this position, whatever came into force meanwhile: the
/// control plane renews the instance by the position in the beat, and both sides must agree on whether it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// What was in force when the beat was sent.
    pub position: Position,
    /// When the beat was sent, on the instance's clock since boot.
    pub sent: Duration,
}

/// What the answer to a [`Question`] shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The instance is current until this moment on its clock since boot.
    CurrentUntil(Duration),
    /// There is a later version, which the change stream brings.
    Behind,
    /// The control plane knows only an earlier version: it lags behind another one, or the store lost versions.
    Ahead,
    /// The control plane has other changes under the same version.
    OtherHistory,
}

impl Question {
    /// What an answer shows that names `newest` as the newest position, known for `age`.
    #[must_use]
    pub fn answered(self, newest: Position, age: Duration, max_age: Duration) -> Proof {
        if newest == self.position {
            return Proof::CurrentUntil(current_until(self.sent, age, max_age));
        }
        match newest.version.cmp(&self.position.version) {
            std::cmp::Ordering::Greater => Proof::Behind,
            std::cmp::Ordering::Less => Proof::Ahead,
            std::cmp::Ordering::Equal => Proof::OtherHistory,
        }
    }
}

/// Until when an instance is current: `sent` is when it sent its beat, on its own clock since boot. A clock that runs
/// slow by one in a hundred still ends the lease in time.
#[must_use]
pub fn current_until(sent: Duration, age: Duration, max_age: Duration) -> Duration {
    let lease = max_age.saturating_sub(age);
    sent + lease.saturating_sub(lease / DRIFT_DIVISOR)
}

/// Until when, at the latest, an instance takes itself for current whose beat the control plane answered at `answered`
/// on its own clock.
#[must_use]
pub fn lapses_at(answered: Duration, max_age: Duration) -> Duration {
    answered + max_age
}

/// How often an instance proves itself current: four times within `max_age`, and at least once in a `heartbeat`.
#[must_use]
pub fn beat_every(heartbeat: Duration, max_age: Duration) -> Duration {
    heartbeat.min(max_age / 4).max(Duration::from_millis(100))
}

/// When a policy must have been confirmed, in whole Unix seconds, so that it counts as stale no later than the lease
/// ends: `now_s` is the wall clock, `left` what is left of the lease, and a policy is stale once more than `max_age_s`
/// whole seconds have passed since it was confirmed. None where nothing is left.
#[must_use]
pub fn confirmed_at(now_s: u64, left: Duration, max_age_s: u64) -> Option<u64> {
    // The wall clock shows whole seconds: up to one of the present second has passed already.
    let whole = left.as_secs().checked_sub(1)?;
    (now_s + whole).checked_sub(max_age_s)
}

#[cfg(test)]
mod tests {
    use super::super::position::PolicyChain;
    use super::*;

    const MAX_AGE: Duration = Duration::from_secs(10);

    #[test]
    fn lease_counts_from_the_question_and_not_the_answer() {
        let sent = Duration::from_secs(100);
        assert_eq!(
            current_until(sent, Duration::ZERO, MAX_AGE),
            Duration::from_millis(109_900)
        );
        assert_eq!(
            current_until(sent, Duration::from_secs(4), MAX_AGE),
            Duration::from_millis(105_940)
        );
        assert_eq!(current_until(sent, MAX_AGE * 2, MAX_AGE), sent);
    }

    fn at(version: u64, body: &str) -> Position {
        let chain = PolicyChain::EMPTY.after(version, body);
        Position { version, chain }
    }

    #[test]
    fn answer_renews_only_the_position_that_was_asked_about() {
        let (sent, age) = (Duration::from_secs(100), Duration::from_secs(1));
        let question = Question {
            position: at(7, "[]"),
            sent,
        };
        let answered = |newest| question.answered(newest, age, MAX_AGE);
        assert_eq!(
            answered(at(7, "[]")),
            Proof::CurrentUntil(current_until(sent, age, MAX_AGE))
        );
        // A change that came into force after the beat was sent does not turn this into a renewal.
        assert_eq!(answered(at(8, "[]")), Proof::Behind);
        assert_eq!(answered(at(6, "[]")), Proof::Ahead);
        assert_eq!(answered(at(7, "[1]")), Proof::OtherHistory);
    }

    #[test]
    fn policy_is_stale_no_later_than_the_lease_ends() {
        // For every phase of the second in which the lease is written down.
        for phase_ms in (0..1_000).step_by(7) {
            for left_ms in (0..12_000_u64).step_by(13) {
                let now_s = 1_000_000;
                let Some(at) = confirmed_at(now_s, Duration::from_millis(left_ms), 10) else {
                    continue;
                };
                // The first whole second that is more than `max_age` after `at`.
                let stale_from_ms = (at + 10 + 1) * 1_000;
                let written_at_ms = now_s * 1_000 + phase_ms;
                assert!(stale_from_ms <= written_at_ms + left_ms, "{phase_ms} {left_ms}");
            }
        }
    }

    #[test]
    fn control_plane_expects_the_lapse_no_earlier_than_it_happens() {
        let (sent, answered) = (Duration::from_secs(50), Duration::from_secs(51));
        assert!(current_until(sent, Duration::ZERO, MAX_AGE) <= lapses_at(answered, MAX_AGE));
    }
}
