//! Durations and sizes as they are written in the YAML: a whole number and its unit.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use crate::domain::decimal::digits;

/// A duration written with its unit: `250ms`, `5s`, `10m`, `24h`, `7d`.
#[derive(Clone, Copy, Debug)]
pub struct Duration(pub std::time::Duration);

impl Duration {
    fn parse(text: &str) -> Option<Self> {
        let split = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at_checked(split)?;
        let number: u64 = digits(number)?;
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        Some(Self(std::time::Duration::from_millis(
            number.checked_mul(milliseconds)?,
        )))
    }
}

/// A text that is no duration.
#[derive(Clone, Copy, Debug)]
pub struct InvalidDuration;

impl std::str::FromStr for Duration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        Self::parse(text).ok_or(InvalidDuration)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DurationVisitor;
        impl Visitor<'_> for DurationVisitor {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit, such as `250ms`, `5s`, `10m`, `24h` or `7d`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
                Duration::parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(DurationVisitor)
    }
}

/// A size written with its unit: `512B`, `32KiB`, `1MiB`, `2GiB`.
#[derive(Clone, Copy, Debug)]
pub struct Size(pub usize);

impl Size {
    fn parse(text: &str) -> Option<Self> {
        let split = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at_checked(split)?;
        let number: usize = digits(number)?;
        let unit = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        Some(Self(number.checked_mul(unit)?))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;
        impl Visitor<'_> for SizeVisitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size with its unit, such as `512B`, `32KiB`, `1MiB` or `2GiB`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Size, E> {
                Size::parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(SizeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_need_their_unit() {
        assert_eq!(Duration::parse("5s").unwrap().0.as_secs(), 5);
        assert_eq!(Size::parse("32KiB").unwrap().0, 32 * 1024);
        for bad in ["", "5", "s", "-5s", "5 s", "5S", "1.5h", "99999999999999999999s"] {
            assert!(Duration::parse(bad).is_none(), "{bad}");
        }
        for bad in ["", "5", "KiB", "5kb", "5 MiB", "-1B"] {
            assert!(Size::parse(bad).is_none(), "{bad}");
        }
    }
}
