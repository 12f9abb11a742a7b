//! Why a value of a YAML text cannot be read, without the value: it may be a secret.

use std::fmt;

use serde::de;
use serde::de::{Expected, Unexpected};

use super::complaint::{is_word, without_quoted};
use super::nearest::nearest;

/// Why a value cannot be read.
#[derive(Debug, Default)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) hint: String,
    /// The key that its section lacks.
    pub(super) missing: Option<&'static str>,
    pub(super) is_noted: bool,
    pub(super) is_left_out: bool,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
            ..Self::default()
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(without_quoted(&message.to_string()), "correct the value")
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match unexpected {
            Unexpected::Bool(_) => "`true` or `false`",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "a number",
            Unexpected::Seq => "a list",
            Unexpected::Map => "a section",
            Unexpected::Unit | Unexpected::Option => "nothing",
            _ => "a text",
        };
        Self::new(
            format!("expected {expected}, found {found}"),
            format!("write {expected}"),
        )
    }

    /// The value may be a secret, and is not shown.
    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {expected}"), format!("write {expected}"))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let message = match is_word(field) {
            true => format!("unknown key `{field}`"),
            false => "unknown key".to_owned(),
        };
        let hint = match nearest(field, expected.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known keys: {}", expected.join(", ")),
        };
        Self::new(message, hint)
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        let known: Vec<String> = expected.iter().map(|word| format!("`{word}`")).collect();
        Self::new(
            "the value is not a choice here",
            format!("write {}", known.join(" or ")),
        )
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            missing: Some(field),
            ..Self::default()
        }
    }
}
