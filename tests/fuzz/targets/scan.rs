//! The body scanner against serde_json: the same texts are JSON objects, and the same write keys stand in them.

use std::borrow::Cow;
use std::fmt;

use portcullis::domain::ids::{WRITE_KEY_BYTES_MAX, WriteKeyDigest};
use portcullis::gateway::read::json::scalars::NUMBER_BYTES_MAX;
use portcullis::gateway::read::json::scan::{BodyKeys, DEPTH_MAX, scan};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::common::in_linear_work;

pub fn run(data: &[u8]) {
    let ours = in_linear_work(data.len(), || scan(data));
    // More white space than is looked at between a key and its value, to which the slow reading has no eye.
    if data.len() > 4_096 {
        return;
    }
    match (&ours, expected(data)) {
        (Ok(found), Some(keys)) => assert_eq!(*found, keys, "other keys than serde_json finds"),
        (Ok(_), None) => panic!("accepted, and serde_json refuses it or finds keys that contradict"),
        (Err(error), Some(_)) => panic!("refused as {error:?}, and serde_json finds keys that agree"),
        (Err(_), None) => {}
    }
}

/// The keys of a body that is acceptable, found the slow way.
fn expected(data: &[u8]) -> Option<BodyKeys> {
    let text = std::str::from_utf8(data).ok()?;
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let Members(document) = serde_json::from_str(text).ok()?;
    if depth(text) > DEPTH_MAX || longest_number(text) > NUMBER_BYTES_MAX {
        return None;
    }
    let mut found = BodyKeys {
        top: only_key(&document)?,
        events: None,
    };
    let batches = document.iter().filter(|(name, _)| folded(name) == "batch");
    for (_, batch) in batches {
        let events = match batch.get().as_bytes()[0] {
            b'[' => serde_json::from_str::<Vec<&RawValue>>(batch.get()).ok()?,
            // Events under names, or one event: that it is one must not show.
            b'{' => {
                let Members(events) = serde_json::from_str(batch.get()).ok()?;
                if events.iter().any(|(name, _)| folded(name) == "writekey") {
                    return None;
                }
                events.into_iter().map(|(_, event)| event).collect()
            }
            _ => continue,
        };
        for event in events.iter().filter(|event| event.get().starts_with('{')) {
            let Members(event) = serde_json::from_str(event.get()).ok()?;
            let key = only_key(&event)?;
            if found.events.is_some() && key.is_some() && found.events != key {
                return None;
            }
            found.events = found.events.or(key);
        }
    }
    Some(found)
}

/// The write key of one object. `None` where parsers could take another, or the one there is no text.
fn only_key(members: &[(Cow<'_, str>, &RawValue)]) -> Option<Option<WriteKeyDigest>> {
    let mut spelt = members.iter().filter(|(name, _)| folded(name) == "writekey");
    match (spelt.next(), spelt.next()) {
        (None, _) => Some(None),
        (Some((name, value)), None) if name == "writeKey" => {
            let text: String = serde_json::from_str(value.get()).ok()?;
            let is_one =
                text.len() <= WRITE_KEY_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
            is_one.then(|| Some(WriteKeyDigest::of(text.as_bytes())))
        }
        _ => None,
    }
}

/// A name as the most forgiving parser compares it: some end it at a NUL, and some fold letter case as Unicode
/// does, where the Kelvin sign is a `k`, and an `i` may have no dot, or another one.
fn folded(name: &str) -> String {
    let seen = name.split('\0').next().unwrap();
    seen.replace('\u{212a}', "k")
        .replace(['\u{130}', '\u{131}'], "i")
        .to_ascii_lowercase()
}

/// How deep a valid JSON text nests.
fn depth(text: &str) -> u32 {
    let (mut now, mut deepest, mut in_string, mut escaped) = (0_u32, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => now += 1,
            b'}' | b']' if !in_string => now -= 1,
            _ => {}
        }
        deepest = deepest.max(now);
    }
    deepest
}

/// How long the longest number of a valid JSON text is, in bytes.
fn longest_number(text: &str) -> usize {
    let (mut now, mut longest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            _ => {}
        }
        let is_part = byte.is_ascii_digit() || b"+-.eE".contains(&byte);
        now = if is_part && !in_string { now + 1 } else { 0 };
        longest = longest.max(now);
    }
    longest
}

/// The members of an object in their order, repeated ones too.
pub(super) struct Members<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_bytes<E: Error>(self, name: &'de [u8]) -> Result<Self::Value, E> {
                std::str::from_utf8(name).map_or_else(|_| torn(name), |name| Ok(Name(Cow::Borrowed(name))))
            }

            fn visit_bytes<E: Error>(self, name: &[u8]) -> Result<Self::Value, E> {
                std::str::from_utf8(name).map_or_else(|_| torn(name), |name| Ok(Name(name.to_owned().into())))
            }
        }

        // As bytes, a name may have half of a surrogate pair in it.
        deserializer.deserialize_bytes(NameVisitor)
    }
}

/// A name with half of a surrogate pair. Some parsers drop that: it must not stand in one of the names that matter.
fn torn<E: Error>(name: &[u8]) -> Result<Name<'static>, E> {
    let valid = name.utf8_chunks().next().unwrap().valid();
    let begins = |matters: &str| !valid.contains('\0') && matters.starts_with(&folded(valid));
    if begins("writekey") || begins("batch") {
        return Err(E::custom("half of a surrogate pair"));
    }
    Ok(Name(String::from_utf8_lossy(name).into_owned().into()))
}
