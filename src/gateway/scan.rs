//! Finds every write key in a JSON body, while checking that the body is JSON to every parser alike.
//!
//! An upstream that reads another source out of the same bytes is the attack this file stands against.
//! So the whole text is checked against the grammar of RFC 8259, duplicate and differently spelt keys
//! are told, and nothing is accepted that some parser would forgive: comments, single quotes, trailing
//! commas, a byte order mark, data after the end.
//!
//! Two stages, block by block and without a buffer between them. The first turns 64 bytes into bit
//! masks and knows which bytes are inside strings; the second walks over the few bytes that matter, in
//! the order the grammar wants them. Bytes inside strings cost nothing but their share of a mask.

use std::borrow::Cow;

use super::json_tokens::Tokens;
use crate::domain::ids::WriteKeyDigest;

/// The deepest nesting accepted. Events of real clients stay below ten.
pub const DEPTH_MAX: u32 = 64;

/// The write keys of one body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodyKeys {
    /// The top-level `writeKey`.
    pub top: Option<WriteKeyDigest>,
    /// The `writeKey` that events of the top-level `batch` carry themselves, where they all agree.
    pub events: Option<WriteKeyDigest>,
}

/// Why a body names no source that everybody would agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanError {
    /// Not one JSON object, or nested too deep.
    Invalid,
    /// A key given twice, in another letter case, or events that disagree among themselves.
    Ambiguous,
}

/// Scans a whole body.
///
/// # Errors
/// [`ScanError`] when the bytes are not one JSON object, or their keys contradict each other.
pub fn scan(body: &[u8]) -> Result<BodyKeys, ScanError> {
    simdutf8::basic::from_utf8(body).map_err(|_| ScanError::Invalid)?;
    let mut parser = Parser {
        tokens: Tokens::new(body),
        body,
        open: Open::default(),
        event_has_key: false,
        found: BodyKeys::default(),
    };
    parser.document()?;
    Ok(parser.found)
}

/// The containers that are open.
#[derive(Clone, Copy, Default)]
struct Open {
    /// Bit 0 is the innermost: set for an object.
    objects: u64,
    depth: u32,
    /// The array at depth 2 is the batch, or may be one to somebody.
    in_batch: bool,
}

impl Open {
    fn push(&mut self, object: bool, batch: bool) -> Result<(), ScanError> {
        if self.depth == DEPTH_MAX {
            return Err(ScanError::Invalid);
        }
        self.in_batch = if self.depth == 1 {
            batch && !object
        } else {
            self.in_batch
        };
        self.objects = self.objects << 1 | u64::from(object);
        self.depth += 1;
        Ok(())
    }

    fn pop(&mut self, object: bool) -> Result<(), ScanError> {
        if self.depth == 0 || self.in_object() != object {
            return Err(ScanError::Invalid);
        }
        self.objects >>= 1;
        self.depth -= 1;
        Ok(())
    }

    const fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    /// Whether keys here may be a write key's: those of the document, and of the batch's events.
    const fn has_write_keys(&self) -> bool {
        self.depth == 1 || (self.depth == 3 && self.in_batch)
    }
}

/// What a key says about the value after it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    Other,
    Batch,
    WriteKey,
}

/// What comes next in the text.
#[derive(Clone, Copy)]
enum Next {
    /// The members of an object that was just opened.
    Members,
    /// The elements of an array that was just opened.
    Elements,
    /// A comma or an end, after a value.
    After,
    /// Nothing: the document is over.
    End,
}

struct Parser<'b> {
    tokens: Tokens<'b>,
    body: &'b [u8],
    open: Open,
    /// The event under the cursor already had its own write key.
    event_has_key: bool,
    found: BodyKeys,
}

impl Parser<'_> {
    /// One object, and nothing but white space after it.
    fn document(&mut self) -> Result<(), ScanError> {
        if self.tokens.next()?.1 != b'{' {
            return Err(ScanError::Invalid);
        }
        let mut next = self.nest(b'{', KeyKind::Other)?;
        loop {
            let (at, byte) = self.tokens.next()?;
            next = match (next, byte) {
                (Next::Members, b'"') => {
                    self.event_has_key &= self.open.depth > 3;
                    self.members(at)?
                }
                (Next::Elements, b'"') => Next::After,
                (Next::Elements, b'{' | b'[') => self.nest(byte, KeyKind::Other)?,
                // A comma before an end never gets here: it wants its member or element first.
                (Next::Members | Next::Elements | Next::After, b'}' | b']') => self.close(byte == b'}')?,
                (Next::After, b',') => self.after_comma()?,
                (Next::Elements, _) => self.scalar(at)?,
                _ => return Err(ScanError::Invalid),
            };
            if matches!(next, Next::End) {
                return Ok(());
            }
        }
    }

    /// What follows a comma: another member, or another element, but no end.
    #[inline(always)]
    fn after_comma(&mut self) -> Result<Next, ScanError> {
        let (at, byte) = self.tokens.next()?;
        match (self.open.in_object(), byte) {
            (true, b'"') => self.members(at),
            (false, b'"') => Ok(Next::After),
            (false, b'{' | b'[') => self.nest(byte, KeyKind::Other),
            (false, b'}' | b']' | b',' | b':') | (true, _) => Err(ScanError::Invalid),
            (false, _) => self.scalar(at),
        }
    }

    /// Members of an object, from the quote of a key on, for as long as their values are no containers.
    /// This is where nearly all bytes of an event go, so it looks at its tokens in the one order they
    /// can have.
    #[inline(always)]
    fn members(&mut self, first: usize) -> Result<Next, ScanError> {
        let mut key_at = first;
        let matters = self.open.has_write_keys();
        loop {
            let (colon, byte) = self.tokens.next()?;
            if byte != b':' {
                return Err(ScanError::Invalid);
            }
            let key = if matters {
                self.key(key_at, colon)?
            } else {
                KeyKind::Other
            };
            let (at, byte) = self.tokens.next()?;
            match byte {
                b'"' if key == KeyKind::WriteKey => {
                    let (end, byte) = self.tokens.next()?;
                    self.write_key(at, end)?;
                    match byte {
                        b',' => {}
                        b'}' => return self.close(true),
                        _ => return Err(ScanError::Invalid),
                    }
                    key_at = self.next_key()?;
                    continue;
                }
                _ if key == KeyKind::WriteKey => return Err(ScanError::Invalid),
                b'"' => {}
                b'{' | b'[' => return self.nest(byte, key),
                _ => {
                    self.scalar(at)?;
                }
            }
            match self.tokens.next()?.1 {
                b',' => key_at = self.next_key()?,
                b'}' => return self.close(true),
                _ => return Err(ScanError::Invalid),
            }
        }
    }

    #[inline(always)]
    fn next_key(&mut self) -> Result<usize, ScanError> {
        let (at, byte) = self.tokens.next()?;
        if byte == b'"' {
            Ok(at)
        } else {
            Err(ScanError::Invalid)
        }
    }

    fn close(&mut self, object: bool) -> Result<Next, ScanError> {
        self.open.pop(object)?;
        if self.open.depth > 0 {
            return Ok(Next::After);
        }
        if self.tokens.next()?.1 == 0 {
            Ok(Next::End)
        } else {
            Err(ScanError::Invalid)
        }
    }

    fn nest(&mut self, byte: u8, key: KeyKind) -> Result<Next, ScanError> {
        self.open.push(byte == b'{', key == KeyKind::Batch)?;
        Ok(if byte == b'{' {
            Next::Members
        } else {
            Next::Elements
        })
    }

    fn scalar(&self, at: usize) -> Result<Next, ScanError> {
        if is_scalar(self.body.get(at..).unwrap_or_default()) {
            Ok(Next::After)
        } else {
            Err(ScanError::Invalid)
        }
    }

    /// The string that began at `start` and ends before the token at `at`.
    fn string(&self, start: usize, at: usize) -> Result<Cow<'_, [u8]>, ScanError> {
        let inside = self.body.get(start + 1..at).unwrap_or_default();
        let end = memchr::memrchr(b'"', inside).ok_or(ScanError::Invalid)?;
        let raw = inside.get(..end).ok_or(ScanError::Invalid)?;
        if memchr::memchr(b'\\', raw).is_none() {
            return Ok(Cow::Borrowed(raw));
        }
        unescape(raw).map(|text| Cow::Owned(text.into_bytes()))
    }

    /// What the key between `start` and its colon is.
    #[inline(always)]
    fn key(&mut self, start: usize, colon: usize) -> Result<KeyKind, ScanError> {
        // Most keys have another length than the two that matter, and no backslash near them.
        let plain = self.tokens.last_backslash < start && self.body.get(colon - 1) == Some(&b'"');
        if plain && !matches!(colon - start, 7 | 10) {
            return Ok(KeyKind::Other);
        }
        self.key_text(start, colon)
    }

    fn key_text(&mut self, start: usize, colon: usize) -> Result<KeyKind, ScanError> {
        let key = self.string(start, colon)?;
        if self.open.depth == 1 && key.eq_ignore_ascii_case(b"batch") {
            return Ok(KeyKind::Batch);
        }
        if !key.eq_ignore_ascii_case(b"writekey") {
            return Ok(KeyKind::Other);
        }
        let repeated = if self.open.depth == 1 {
            self.found.top.is_some()
        } else {
            self.event_has_key
        };
        if *key != *b"writeKey" || repeated {
            Err(ScanError::Ambiguous)
        } else {
            Ok(KeyKind::WriteKey)
        }
    }

    /// Takes the value of a `writeKey`.
    fn write_key(&mut self, start: usize, end: usize) -> Result<(), ScanError> {
        let digest = WriteKeyDigest::of(&self.string(start, end)?);
        if self.open.depth == 1 {
            self.found.top = Some(digest);
            return Ok(());
        }
        self.event_has_key = true;
        if self.found.events.is_some_and(|earlier| earlier != digest) {
            return Err(ScanError::Ambiguous);
        }
        self.found.events = Some(digest);
        Ok(())
    }
}

#[cold]
fn unescape(raw: &[u8]) -> Result<String, ScanError> {
    let quoted = [b"\"", raw, b"\""].concat();
    serde_json::from_slice(&quoted).map_err(|_| ScanError::Invalid)
}

/// Whether `text` begins with a literal or number of JSON that ends where it must.
fn is_scalar(text: &[u8]) -> bool {
    let after = match text {
        [b't', b'r', b'u', b'e', rest @ ..]
        | [b'n', b'u', b'l', b'l', rest @ ..]
        | [b'f', b'a', b'l', b's', b'e', rest @ ..] => Some(rest),
        _ => after_number(text),
    };
    matches!(
        after,
        Some([] | [b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r', ..])
    )
}

/// What follows the number that `text` begins with.
fn after_number(text: &[u8]) -> Option<&[u8]> {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let mut rest = match text {
        [b'0', rest @ ..] => rest,
        _ => after_digits(text)?,
    };
    if let [b'.', fraction @ ..] = rest {
        rest = after_digits(fraction)?;
    }
    match rest {
        [b'e' | b'E', b'+' | b'-', exponent @ ..] | [b'e' | b'E', exponent @ ..] => after_digits(exponent),
        _ => Some(rest),
    }
}

/// What follows at least one digit.
fn after_digits(text: &[u8]) -> Option<&[u8]> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 { None } else { text.get(digits..) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Option<WriteKeyDigest> {
        Some(WriteKeyDigest::of(text.as_bytes()))
    }

    fn keys(body: &str) -> Result<BodyKeys, ScanError> {
        // At every offset against the block borders.
        let at_zero = scan(body.as_bytes());
        for pad in 1..130 {
            let padded = format!("{}{body}", " ".repeat(pad));
            assert_eq!(scan(padded.as_bytes()), at_zero, "{pad} {body}");
        }
        at_zero
    }

    #[test]
    fn the_key_is_found_first_last_and_escaped() {
        for body in [
            r#"{"writeKey":"k","batch":[]}"#,
            r#"{"batch":[{"type":"track","p":{"writeKey":"other"}},{"a":[{"writeKey":"x"}]}],"writeKey":"k"}"#,
            r#"{"batch":[],"writeKey" : "k" , "sentAt":"now"}"#,
            r#"{"batch":[],"write\u004bey":"\u006b"}"#,
            "{\r\n\t\"batch\": [ ],\n\"writeKey\"\n:\n\"k\"\n}\n",
            r#"{"a\\":"\"","writeKey":"k"}"#,
        ] {
            assert_eq!(
                keys(body),
                Ok(BodyKeys {
                    top: key("k"),
                    events: None
                }),
                "{body}"
            );
        }
    }

    #[test]
    fn events_of_the_batch_are_looked_into() {
        let body = r#"{"batch":[{"writeKey":"e"},{"a":1},{"writeKey":"e"}],"writeKey":"k"}"#;
        assert_eq!(
            keys(body),
            Ok(BodyKeys {
                top: key("k"),
                events: key("e")
            })
        );
        let body = r#"{"batch":[{"writeKey":"e"},{"writeKey":"f"}],"writeKey":"k"}"#;
        assert_eq!(keys(body), Err(ScanError::Ambiguous));
    }

    #[test]
    fn keys_that_parsers_disagree_about_are_ambiguous() {
        for body in [
            r#"{"writeKey":"k","writeKey":"k"}"#,
            r#"{"writeKey":"k","write\u004bey":"k"}"#,
            r#"{"writekey":"k"}"#,
            r#"{"WRITEKEY":"k","writeKey":"k"}"#,
            r#"{"batch":[{"writeKey":"k","writeKey":"k"}],"writeKey":"k"}"#,
            r#"{"Batch":[{"WriteKey":"k"}],"writeKey":"k"}"#,
        ] {
            assert_eq!(keys(body), Err(ScanError::Ambiguous), "{body}");
        }
    }

    #[test]
    fn what_is_not_one_json_object_is_invalid() {
        for body in [
            "",
            " ",
            "[]",
            "1",
            "\"a\"",
            "{",
            "}",
            "{}}",
            "{}{}",
            "{} x",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "{\"a\":1 \"b\":2}",
            "{\"a\" 1}",
            "{a:1}",
            "{'a':1}",
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":.5}",
            "{\"a\":+1}",
            "{\"a\":NaN}",
            "{\"a\":tru}",
            "{\"a\":truely}",
            "{\"a\":[1,]}",
            "{\"a\":[}",
            "{\"a\":{]}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u12g4\"}",
            "{\"a\":\"\t\"}",
            "{\"a\":\"b}",
            "{\"a\":\"\\\"}",
            "\u{feff}{}",
            "{/**/}",
            "{\"a\":1}//",
            "{\"a\":1\u{0}}",
            "{\"a\":\"b\"c}",
            "{\"writeKey\":1}",
            "{\"writeKey\":null}",
            "{\"writeKey\":{}}",
            "{\"writeKey\":[\"k\"]}",
            "{\"a\":1:2}",
            "{\"a\"\\:1}",
            "{\"a\":-}",
            "{\"a\":1e}",
        ] {
            assert_eq!(keys(body), Err(ScanError::Invalid), "{body}");
        }
        assert_eq!(scan(b"{\"a\":\"\xff\"}"), Err(ScanError::Invalid));
        assert_eq!(
            scan(
                &"{\"a\":1}"
                    .encode_utf16()
                    .flat_map(u16::to_le_bytes)
                    .collect::<Vec<_>>()
            ),
            Err(ScanError::Invalid)
        );
        let deep = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
        assert_eq!(keys(&deep(63)), Ok(BodyKeys::default()));
        assert_eq!(keys(&deep(64)), Err(ScanError::Invalid));
    }

    #[test]
    fn valid_json_of_every_kind_is_accepted() {
        for body in [
            "{}",
            " { } ",
            r#"{"a":[true,false,null,-0,0.5,1e9,1E-2,-1.25e+3,"",{},[]]}"#,
            r#"{"":{"":[[[]]]}}"#,
            r#"{"a":"\"\\\/\b\f\n\r\t\u00e9\\"}"#,
            "{\"a\":\"\u{10ffff}é{}[]:,\"}",
        ] {
            assert_eq!(keys(body), Ok(BodyKeys::default()), "{body}");
        }
    }
}
