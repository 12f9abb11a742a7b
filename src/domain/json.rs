//! Strict reading of the flat JSON objects inside tokens (RFC 8259; RFC 7515 section 4, RFC 7519 section 4).
//!
//! Two parsers that disagree about one token are an attack, so a repeated member is an error here, not "the last one
//! wins". Every member is read by type. Nested objects are checked by the same rules; their values are not read.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use thiserror::Error;

use super::cost;
use super::time::UnixSeconds;

/// The most members one object may have. Identity providers write a member for each role or client; the size of a token
/// bounds them further.
pub const MEMBERS_MAX: usize = 1024;

const REPEATED: &str = "repeated member";
const TOO_MANY: &str = "too many members";

/// Why a text is not an object we read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum JsonError {
    #[error("is not one JSON object with each member once")]
    Syntax,
    #[error("has an object with more than {MEMBERS_MAX} members")]
    TooManyMembers,
    #[error("lacks the member `{0}`")]
    Missing(&'static str),
    #[error("has the member `{0}` with a value of the wrong type")]
    Type(&'static str),
}

/// A JSON object: members in the order they came, each name once.
#[derive(Debug)]
pub struct Object<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

/// A member's value, as far as tokens distinguish it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    Text(Cow<'a, str>),
    /// A number without sign, fraction and exponent.
    Integer(u64),
    /// Any other number.
    Number(f64),
    /// An array of texts only.
    Texts(Vec<Cow<'a, str>>),
    Flag(bool),
    /// `null`, an object, or an array with anything but texts.
    Other,
}

impl<'a> Object<'a> {
    /// Reads one object that spans all of `bytes`.
    ///
    /// # Errors
    /// [`JsonError::Syntax`] for anything but one object, a repeated member, invalid UTF-8 or an unpaired surrogate;
    /// [`JsonError::TooManyMembers`] for an object with more than [`MEMBERS_MAX`] members.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, JsonError> {
        cost::count(bytes.len());
        serde_json::from_slice(bytes).map_err(|error| {
            // The reader's own errors have no type that survives serde_json, only their text.
            match error.to_string().starts_with(TOO_MANY) {
                true => JsonError::TooManyMembers,
                false => JsonError::Syntax,
            }
        })
    }

    /// The value of a member, or `None` where it is absent.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value<'a>> {
        self.0
            .iter()
            .find(|(held, _)| held == name)
            .map(|(_, value)| value)
    }

    /// Whether the member is present, of any type.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// A member that may be absent and must be a text otherwise.
    ///
    /// # Errors
    /// [`JsonError::Type`] when it is anything else.
    pub fn optional_text(&self, name: &'static str) -> Result<Option<&str>, JsonError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(JsonError::Type(name)),
        }
    }

    /// A member that must be a text.
    ///
    /// # Errors
    /// [`JsonError::Missing`] or [`JsonError::Type`].
    pub fn text(&self, name: &'static str) -> Result<&str, JsonError> {
        self.optional_text(name)?.ok_or(JsonError::Missing(name))
    }

    /// A member that must be a whole, non-negative number.
    ///
    /// # Errors
    /// [`JsonError::Missing`] or [`JsonError::Type`].
    pub fn integer(&self, name: &'static str) -> Result<u64, JsonError> {
        self.optional_integer(name)?.ok_or(JsonError::Missing(name))
    }

    /// A member that may be absent and must be a whole, non-negative number otherwise.
    ///
    /// # Errors
    /// [`JsonError::Type`] when it is anything else.
    pub fn optional_integer(&self, name: &'static str) -> Result<Option<u64>, JsonError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Integer(number)) => Ok(Some(*number)),
            Some(_) => Err(JsonError::Type(name)),
        }
    }

    /// A member that may be absent and must be a `NumericDate` otherwise (RFC 7519 section 2): seconds, with a
    /// fraction or an exponent too. A fraction is dropped; a date past the end of time is the end of time.
    ///
    /// # Errors
    /// [`JsonError::Type`] when it is anything else, or negative.
    pub fn optional_date(&self, name: &'static str) -> Result<Option<UnixSeconds>, JsonError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Integer(seconds)) => Ok(Some(UnixSeconds(*seconds))),
            Some(Value::Number(seconds)) if *seconds >= 0.0 =>
            {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "it is not negative, and the cast saturates"
                )]
                Ok(Some(UnixSeconds(*seconds as u64)))
            }
            Some(_) => Err(JsonError::Type(name)),
        }
    }

    /// A member that must be a `NumericDate`, as [`Self::optional_date`].
    ///
    /// # Errors
    /// [`JsonError::Missing`] or [`JsonError::Type`].
    pub fn date(&self, name: &'static str) -> Result<UnixSeconds, JsonError> {
        self.optional_date(name)?.ok_or(JsonError::Missing(name))
    }

    /// A member that must be one text or a non-empty array of texts, such as `aud`.
    ///
    /// # Errors
    /// [`JsonError::Missing`] or [`JsonError::Type`].
    pub fn texts(&self, name: &'static str) -> Result<Vec<&str>, JsonError> {
        match self.value(name) {
            None => Err(JsonError::Missing(name)),
            Some(Value::Text(text)) => Ok(vec![text.as_ref()]),
            Some(Value::Texts(texts)) if !texts.is_empty() => Ok(texts.iter().map(AsRef::as_ref).collect()),
            Some(_) => Err(JsonError::Type(name)),
        }
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;

        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(Cow<'de, str>, Value<'de>)> = Vec::with_capacity(12);
                while let Some((Text(name), value)) = map.next_entry::<Text<'de>, Value<'de>>()? {
                    if members.len() == MEMBERS_MAX {
                        return Err(serde::de::Error::custom(TOO_MANY));
                    }
                    members.push((name, value));
                }
                match are_distinct(members.iter().map(|(name, _)| name.as_ref())) {
                    true => Ok(Object(members)),
                    false => Err(serde::de::Error::custom(REPEATED)),
                }
            }
        }

        deserializer.deserialize_map(ObjectVisitor)
    }
}

/// Whether no two names are the same. Each name is hashed once, so long common prefixes cost no more.
fn are_distinct<'n>(names: impl ExactSizeIterator<Item = &'n str>) -> bool {
    let mut seen = HashSet::with_capacity_and_hasher(names.len(), foldhash::fast::RandomState::default());
    let mut names = names.inspect(|name| cost::count(name.len()));
    names.all(|name| seen.insert(name))
}

/// A text that borrows from the input where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Text(text) => Ok(Self(text)),
            _ => Err(serde::de::Error::custom("not a text")),
        }
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a negative date is refused by every caller"
        )]
        Ok(Value::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        let mut only_texts = true;
        while let Some(value) = seq.next_element::<Value<'de>>()? {
            match value {
                Value::Text(text) => texts.push(text),
                _ => only_texts = false,
            }
        }
        Ok(if only_texts {
            Value::Texts(texts)
        } else {
            Value::Other
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        // Nothing is ignored unread: skipping would let pass what is no UTF-8, and names given twice.
        let mut names: Vec<Cow<'de, str>> = Vec::new();
        while let Some((Text(name), _)) = map.next_entry::<Text<'de>, Value<'de>>()? {
            if names.len() == MEMBERS_MAX {
                return Err(serde::de::Error::custom(TOO_MANY));
            }
            names.push(name);
        }
        match are_distinct(names.iter().map(AsRef::as_ref)) {
            true => Ok(Value::Other),
            false => Err(serde::de::Error::custom(REPEATED)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_member_is_refused_even_when_escaped() {
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":1}"#,
            r#"{"x":{},"x":[]}"#,
            r#"{"cnf":{"jkt":"a","jkt":"b"}}"#,
            r#"{"a":[{"b":[{"c":1,"\u0063":2}]}]}"#,
        ] {
            assert_eq!(
                Object::parse(bad.as_bytes()).unwrap_err(),
                JsonError::Syntax,
                "{bad}"
            );
        }
    }

    #[test]
    fn anything_but_one_object_is_refused() {
        for bad in [
            "",
            "[]",
            "1",
            "{}{}",
            "{} x",
            "{\"a\":1,}",
            "\u{feff}{}",
            "{\"a\":\"\\ud800\"}",
            "{1:2}",
        ] {
            assert!(Object::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        for bad in [
            &b"{\"a\":\"\xff\"}"[..],
            b"{\"a\":{\"\xf9\":1}}",
            b"{\"a\":[{\"b\":\"\xff\"}]}",
        ] {
            assert!(Object::parse(bad).is_err());
        }
        assert!(Object::parse(br#"{"a":{"b":"\ud800"}}"#).is_err());
    }

    #[test]
    fn members_are_asked_for_by_type() {
        let text =
            r#"{"n":1,"neg":-1,"f":1.5,"s":"x","l":["a","b"],"mixed":["a",1],"o":{"n":{}},"none":null}"#;
        let object = Object::parse(text.as_bytes()).unwrap();
        assert_eq!(object.integer("n"), Ok(1));
        for wrong in ["neg", "f", "s", "l", "o", "none"] {
            assert!(
                object
                    .integer(Box::leak(wrong.to_owned().into_boxed_str()))
                    .is_err(),
                "{wrong}"
            );
        }
        assert_eq!(object.texts("s"), Ok(vec!["x"]));
        assert_eq!(object.texts("l"), Ok(vec!["a", "b"]));
        assert_eq!(object.texts("mixed"), Err(JsonError::Type("mixed")));
        assert_eq!(object.text("absent"), Err(JsonError::Missing("absent")));
        assert_eq!(object.optional_text("none"), Err(JsonError::Type("none")));
    }
}
