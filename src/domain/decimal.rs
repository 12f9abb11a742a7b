//! Whole numbers in untrusted text: ASCII digits and nothing else.
//!
//! `str::parse` also accepts a leading `+`, so `+5` would mean 5 here and something else, or nothing, to the next reader.

use std::str::FromStr;

/// Reads a number written as `1*DIGIT` (RFC 9110 section 5.6.2 and RFC 5234): no sign, no space. Leading zeros are allowed.
///
/// `None` for any other text and for a number that `T` cannot hold.
#[must_use]
pub fn digits<T: FromStr>(text: &str) -> Option<T> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Reads a number in the one form in which we write it: digits without leading zeros. For what is compared as a text
/// elsewhere, such as entity tags.
#[must_use]
pub fn canonical<T: FromStr>(text: &str) -> Option<T> {
    if text.len() > 1 && text.starts_with('0') {
        return None;
    }
    digits(text)
}

/// Whether a date begins with `YYYY-`, as RFC 3339 has it. Readers of ISO 8601 also accept signed and longer years.
#[must_use]
pub fn begins_with_year(text: &str) -> bool {
    text.get(..5)
        .and_then(|start| start.strip_suffix('-'))
        .is_some_and(|year| digits::<u16>(year).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_begins_with_four_digits_of_a_year() {
        assert!(begins_with_year("2030-01-31T12:00:00Z"));
        for text in [
            "+002030-01-31T12:00:00Z",
            "-002030-01-31",
            "+203-01-31",
            "20300131",
            "2030",
            "",
        ] {
            assert!(!begins_with_year(text), "{text}");
        }
    }

    #[test]
    fn only_digits_are_a_number() {
        for (text, expected) in [
            ("0", Some(0)),
            ("5", Some(5)),
            ("005", Some(5)),
            ("255", Some(255)),
            ("256", None),
            ("+5", None),
            ("-0", None),
            ("", None),
            (" 5", None),
            ("5 ", None),
            ("5\n", None),
            ("5_0", None),
            ("0x5", None),
            ("5.0", None),
            ("\u{0665}", None),
            ("\u{ff15}", None),
        ] {
            assert_eq!(digits::<u8>(text), expected, "{text:?}");
        }
    }

    #[test]
    fn canonical_number_has_no_leading_zero() {
        for (text, expected) in [
            ("0", Some(0_u64)),
            ("7", Some(7)),
            ("70", Some(70)),
            ("07", None),
            ("00", None),
            ("+7", None),
        ] {
            assert_eq!(canonical(text), expected, "{text:?}");
        }
    }
}
