//! What a control plane holds of one running instance: the version in force there, and until when it may accept by it.

use std::time::Duration;

use super::lease;
use super::position::Position;

/// The account of one instance, by the control plane's clock since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// The version in force at the instance; 0 before it named one that the store has.
    pub version: u64,
    /// When its lease ends at the latest.
    pub lapses: Duration,
}

impl Account {
    /// Notes a beat that names `position` and is answered with `newest` at `now`. The answer renews the lease only where
    /// the two are the same; the instance draws the same conclusion from it.
    pub fn heard(&mut self, position: Option<Position>, newest: Position, now: Duration, max_age: Duration) {
        // A position that this store never had is of another history: it is behind, whatever its number.
        let known = position.filter(|position| {
            position.version < newest.version
                || (position.version == newest.version && position.chain == newest.chain)
        });
        self.version = known.map_or(0, |position| position.version);
        if known == Some(newest) {
            // A lease that was granted under a longer `max_age` runs out first.
            self.lapses = self.lapses.max(lease::lapses_at(now, max_age));
        }
    }

    /// Whether the instance may accept at `now` by a version before this one.
    #[must_use]
    pub fn may_accept_before(&self, version: u64, now: Duration) -> bool {
        self.version < version && now < self.lapses
    }
}

#[cfg(test)]
mod tests {
    use super::super::position::PolicyChain;
    use super::*;

    fn at(version: u64, body: &str) -> Position {
        let chain = PolicyChain::EMPTY.after(version, body);
        Position { version, chain }
    }

    #[test]
    fn only_the_newest_position_renews_an_instance() {
        let (now, max_age) = (Duration::from_secs(100), Duration::from_secs(10));
        let fresh = Account {
            version: 0,
            lapses: now,
        };
        for (position, version, is_renewed) in [
            (Some(at(7, "[]")), 7, true),
            (Some(at(6, "[]")), 6, false),
            (Some(at(7, "[1]")), 0, false),
            (Some(at(8, "[]")), 0, false),
            (None, 0, false),
        ] {
            let mut account = fresh;
            account.heard(position, at(7, "[]"), now, max_age);
            assert_eq!(account.version, version);
            assert_eq!(account.lapses > now, is_renewed, "{position:?}");
        }
    }

    #[test]
    fn shorter_max_age_does_not_shorten_a_lease_that_was_granted() {
        let mut account = Account {
            version: 0,
            lapses: Duration::ZERO,
        };
        let newest = at(7, "[]");
        account.heard(
            Some(newest),
            newest,
            Duration::from_secs(100),
            Duration::from_secs(50),
        );
        account.heard(
            Some(newest),
            newest,
            Duration::from_secs(101),
            Duration::from_secs(5),
        );
        assert_eq!(account.lapses, Duration::from_secs(150));
    }
}
