//! Names that people give to things.

use std::fmt;

use thiserror::Error;
use unicode_normalization::UnicodeNormalization as _;

/// The longest name, in characters.
pub const NAME_CHARS_MAX: usize = 256;

/// Why a text is not a name. The sentences continue "the name ..".
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidName {
    #[error("is empty")]
    Empty,
    #[error("is longer than {NAME_CHARS_MAX} characters")]
    TooLong,
    #[error("has a control character")]
    ControlCharacter,
    #[error("has a character that changes the direction of text or cannot be seen")]
    Invisible,
}

/// A name: 1 to 256 characters, not only spaces, none of them a control character or one that makes a name
/// look like another one. Composed (Unicode NFC), so that what looks the same is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Composes and checks `text`.
    ///
    /// # Errors
    /// [`InvalidName`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        // Composing shortens: what is far too long is not worth the work.
        if text.len() > NAME_CHARS_MAX * 16 {
            return Err(InvalidName::TooLong);
        }
        let text = composed(text);
        // Line and paragraph separators end a line in a log or a terminal just as a newline does.
        if text
            .chars()
            .any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
        {
            return Err(InvalidName::ControlCharacter);
        }
        if text.chars().any(is_deceptive) {
            return Err(InvalidName::Invisible);
        }
        Self::kept(&text)
    }

    /// A name that was taken earlier: only its length is checked, since the rules may have been other ones.
    ///
    /// # Errors
    /// [`InvalidName`] for an empty text and one that is too long.
    pub fn kept(text: &str) -> Result<Self, InvalidName> {
        if text.trim().is_empty() {
            return Err(InvalidName::Empty);
        }
        if text.chars().count() > NAME_CHARS_MAX {
            return Err(InvalidName::TooLong);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The composed form (Unicode NFC) of a text: one sequence for what people see as one text.
#[must_use]
pub fn composed(text: &str) -> String {
    text.nfc().collect()
}

/// Whether a character changes the direction of what follows or shows as nothing at all. The joiners that
/// scripts and emoji need stay.
#[must_use]
pub const fn is_deceptive(c: char) -> bool {
    matches!(
        c,
        '\u{61c}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_in_characters() {
        assert!(Name::parse(&"ä".repeat(256)).is_ok());
        assert_eq!(Name::parse(&"ä".repeat(257)), Err(InvalidName::TooLong));
    }

    #[test]
    fn blank_names_and_control_characters_are_refused() {
        assert_eq!(Name::parse(" \u{a0}"), Err(InvalidName::Empty));
        for bad in ["a\nb", "a\0", "a\u{7f}", "a\u{85}", "a\u{2028}b"] {
            assert_eq!(Name::parse(bad), Err(InvalidName::ControlCharacter), "{bad:?}");
        }
    }

    #[test]
    fn what_looks_the_same_is_the_same() {
        assert_eq!(Name::parse("Cafe\u{301}"), Name::parse("Caf\u{e9}"));
        // 256 composed characters of two code points each are no longer than 256 characters.
        assert!(Name::parse(&"e\u{301}".repeat(256)).is_ok());
    }

    #[test]
    fn deceptive_characters_are_refused_in_names() {
        for bad in [
            "pay\u{202e}lap",
            "a\u{2066}b",
            "a\u{200b}b",
            "\u{feff}a",
            "a\u{61c}",
            "a\u{e0041}",
        ] {
            assert_eq!(Name::parse(bad), Err(InvalidName::Invisible), "{bad:?}");
            assert!(Name::kept(bad).is_ok(), "it was taken before the rule");
        }
        for good in ["👩\u{200d}💻", "می\u{200c}خواهم", "日本語", "Ωμέγα"] {
            assert!(Name::parse(good).is_ok(), "{good:?}");
        }
    }
}
