//! Seconds since the Unix epoch, and the only arithmetic done on them.

use std::fmt;

/// A moment, in whole seconds since 1970-01-01T00:00:00Z (RFC 7519 section 2, `NumericDate`).
///
/// Arithmetic saturates: a hostile `exp` of 2^63 can make a moment far away, never wrap around.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub u64);

impl UnixSeconds {
    /// The moment `seconds` after this one.
    #[must_use]
    pub const fn plus(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// The moment `seconds` before this one.
    #[must_use]
    pub const fn minus(self, seconds: u64) -> Self {
        Self(self.0.saturating_sub(seconds))
    }

    /// Seconds from `earlier` to this moment; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for UnixSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How long an app's access tokens live. The product offers exactly seven periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenLifetime {
    OneDay,
    TwoDays,
    ThreeDays,
    OneWeek,
    TwoWeeks,
    ThreeWeeks,
    ThirtyDays,
}

impl TokenLifetime {
    /// Every lifetime, shortest first.
    pub const ALL: [Self; 7] = [
        Self::OneDay,
        Self::TwoDays,
        Self::ThreeDays,
        Self::OneWeek,
        Self::TwoWeeks,
        Self::ThreeWeeks,
        Self::ThirtyDays,
    ];

    /// The lifetime in seconds.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        const DAY: u64 = 86_400;
        match self {
            Self::OneDay => DAY,
            Self::TwoDays => 2 * DAY,
            Self::ThreeDays => 3 * DAY,
            Self::OneWeek => 7 * DAY,
            Self::TwoWeeks => 14 * DAY,
            Self::ThreeWeeks => 21 * DAY,
            Self::ThirtyDays => 30 * DAY,
        }
    }

    /// The name used by the API and the console: `1d 2d 3d 1w 2w 3w 30d`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OneDay => "1d",
            Self::TwoDays => "2d",
            Self::ThreeDays => "3d",
            Self::OneWeek => "1w",
            Self::TwoWeeks => "2w",
            Self::ThreeWeeks => "3w",
            Self::ThirtyDays => "30d",
        }
    }

    /// The lifetime with this name, or `None`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lifetime| lifetime.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(UnixSeconds(u64::MAX).plus(1), UnixSeconds(u64::MAX));
        assert_eq!(UnixSeconds(3).minus(4), UnixSeconds(0));
        assert_eq!(UnixSeconds(3).since(UnixSeconds(4)), 0);
    }

    #[test]
    fn every_lifetime_is_found_by_its_name() {
        for lifetime in TokenLifetime::ALL {
            assert_eq!(TokenLifetime::parse(lifetime.as_str()), Some(lifetime));
        }
        assert_eq!(TokenLifetime::parse("4d"), None);
    }
}
