//! Strict parser of `application/x-www-form-urlencoded` (RFC 6749 appendix B), for bodies and queries.
//!
//! Released SDKs send raw `:` and raw spaces, shell samples percent-encode; both are accepted. What two parsers could
//! read differently is rejected: a repeated parameter, and a malformed escape.

use std::collections::HashSet;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use thiserror::Error;

use crate::domain::cost;
use crate::domain::hex;

/// The most parameters of a form, unless the caller sets another limit.
pub const PARAMETERS_MAX: usize = 64;

/// Every character but the unreserved ones (RFC 3986 section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Why a text is not a form.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidForm {
    #[error("the parameter `{0}` is repeated")]
    Repeated(String),
    #[error("a percent-escape in the parameters is malformed")]
    Escape,
    #[error("the parameters are not UTF-8")]
    Encoding,
    #[error("the parameters contain a NUL character")]
    Nul,
    #[error("there are more than {0} parameters")]
    TooMany(usize),
}

/// The parameters of a form, each once but for those that may be repeated.
#[derive(Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Parses a form.
    ///
    /// # Errors
    /// [`InvalidForm`] names the first problem.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidForm> {
        Self::parse_up_to(PARAMETERS_MAX, text)
    }

    /// Parses a form of at most `most` parameters.
    ///
    /// # Errors
    /// [`InvalidForm`] names the first problem.
    pub fn parse_up_to(most: usize, text: &[u8]) -> Result<Self, InvalidForm> {
        Self::parse_repeatable(most, &[], text)
    }

    /// Reads a form of at most so many parameters. Those named in `repeatable` may be repeated.
    ///
    /// # Errors
    /// [`InvalidForm`] names the first problem.
    pub fn parse_repeatable(most: usize, repeatable: &[&str], text: &[u8]) -> Result<Self, InvalidForm> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        let mut names = HashSet::new();
        cost::count(text.len());
        for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let name = decode(halves.next().unwrap_or_default())?;
            let value = decode(halves.next().unwrap_or_default())?;
            cost::count(name.len());
            if !names.insert(name.clone()) && !repeatable.contains(&name.as_str()) {
                return Err(InvalidForm::Repeated(name.chars().take(40).collect()));
            }
            if parameters.len() == most {
                return Err(InvalidForm::TooMany(most));
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    /// A parameter's value. An empty value counts as absent (RFC 6749 section 3.2).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(held, _)| held == name)?;
        (!value.is_empty()).then_some(value)
    }

    /// Every value of a parameter that may be repeated. One without a value counts as absent.
    pub fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        let named = self.0.iter().filter(move |(held, _)| held == name);
        named
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// Every parameter with its value.
    #[must_use]
    pub fn into_pairs(self) -> Vec<(String, String)> {
        self.0
    }

    /// The first parameter with an empty value.
    #[must_use]
    pub fn without_value(&self) -> Option<&str> {
        let empty = self.0.iter().find(|(_, value)| value.is_empty());
        empty.map(|(name, _)| name.as_str())
    }

    /// The first parameter that is not in `known`.
    #[must_use]
    pub fn unknown(&self, known: &[&str]) -> Option<&str> {
        self.0
            .iter()
            .map(|(name, _)| name.as_str())
            .find(|name| !known.contains(name))
    }
}

/// Encodes parameters as a form. Escapes every character of a value that is not unreserved.
#[must_use]
pub fn encode(parameters: &[(&str, &str)]) -> String {
    let mut form = String::new();
    for (name, value) in parameters {
        if !form.is_empty() {
            form.push('&');
        }
        form.push_str(name);
        form.push('=');
        form.push_str(&escape(value));
    }
    form
}

/// A text encoded for a form or a query.
#[must_use]
pub fn escape(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

fn decode(text: &[u8]) -> Result<String, InvalidForm> {
    cost::count(text.len());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let [high, low, after @ ..] = after else {
                    return Err(InvalidForm::Escape);
                };
                rest = after;
                hex_digit(*high)? << 4 | hex_digit(*low)?
            }
            other => *other,
        });
    }
    // No parameter needs NUL, and PostgreSQL cannot store it.
    if bytes.contains(&0) {
        return Err(InvalidForm::Nul);
    }
    String::from_utf8(bytes).map_err(|_| InvalidForm::Encoding)
}

fn hex_digit(digit: u8) -> Result<u8, InvalidForm> {
    hex::digit(digit).ok_or(InvalidForm::Escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(text: &str, name: &str) -> Option<String> {
        Form::parse(text.as_bytes()).unwrap().get(name).map(str::to_owned)
    }

    #[test]
    fn raw_and_escaped_values_are_equal() {
        for text in [
            "s=a:write b:write",
            "s=a%3Awrite%20b%3awrite",
            "s=a:write+b:write&",
            "&&s=a:write b%3Awrite",
        ] {
            assert_eq!(get(text, "s").as_deref(), Some("a:write b:write"), "{text}");
        }
        assert_eq!(get("s=a=b", "s").as_deref(), Some("a=b"));
        assert_eq!(get("s=&t", "s"), None);
        assert_eq!(get("s=&t", "t"), None);
    }

    #[test]
    fn encoded_form_is_parsed_back() {
        let value = "a b&c=d+e%f\u{e4}/:?";
        let form = encode(&[("one", value), ("two", "")]);
        assert_eq!(form, "one=a%20b%26c%3Dd%2Be%25f%C3%A4%2F%3A%3F&two=");
        assert_eq!(get(&form, "one").as_deref(), Some(value));
    }

    #[test]
    fn ambiguous_forms_are_rejected() {
        for text in ["a=1&a=1", "a=1&%61=2", "a&a=1"] {
            assert_eq!(
                Form::parse(text.as_bytes()).err(),
                Some(InvalidForm::Repeated("a".to_owned())),
                "{text}"
            );
        }
        for text in ["a=%", "a=%4", "a=%zz", "%=1"] {
            assert_eq!(
                Form::parse(text.as_bytes()).err(),
                Some(InvalidForm::Escape),
                "{text}"
            );
        }
        assert_eq!(Form::parse(b"a=%ff").err(), Some(InvalidForm::Encoding));
        for text in ["a=%00", "a%00=1", "a=\0"] {
            assert_eq!(
                Form::parse(text.as_bytes()).err(),
                Some(InvalidForm::Nul),
                "{text:?}"
            );
        }
        let many = (0..65).map(|n| format!("p{n}=1")).collect::<Vec<_>>().join("&");
        assert_eq!(
            Form::parse(many.as_bytes()).err(),
            Some(InvalidForm::TooMany(PARAMETERS_MAX))
        );
    }
}
