//! Names that people give to things.

use std::fmt;

use thiserror::Error;

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
}

/// A name: 1 to 256 characters, not only spaces, none of them a control character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`InvalidName`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if text.trim().is_empty() {
            return Err(InvalidName::Empty);
        }
        if text.chars().count() > NAME_CHARS_MAX {
            return Err(InvalidName::TooLong);
        }
        // Line and paragraph separators end a line in a log or a terminal just as a newline does.
        if text
            .chars()
            .any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
        {
            return Err(InvalidName::ControlCharacter);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
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
}
