//! Finds every write key in a JSON body, while checking that the body is JSON to every parser alike.
//!
//! An upstream that reads another source out of the same bytes is the attack this file stands against.
//! So the whole text is checked against the grammar of RFC 8259, duplicate and differently spelt keys
//! are told, and nothing is accepted that some parser would forgive: comments, single quotes, trailing
//! commas, a byte order mark, data after the end.
//!
//! Two stages, block by block and without a buffer between them. The first turns 64 bytes into bit masks
//! of quotes, operators, white space and the rest. The second checks the grammar on whole masks: which
//! token may stand after which is the same everywhere but for what an object asks of its members, so
//! only brackets are walked over one by one, and the keys of those objects that may hold a write key.

use super::scan_error::ScanError;
use std::borrow::Cow;

use super::json_blocks::{Block, Classifier};
use crate::domain::ids::{WriteKeyDigest, is_write_key_text};

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

/// Scans a whole body.
///
/// # Errors
/// [`ScanError`] when the bytes are not one JSON object, or their keys contradict each other.
pub fn scan(body: &[u8]) -> Result<BodyKeys, ScanError> {
    let start = body.iter().position(|byte| !is_white(*byte));
    let start = start.ok_or(ScanError::Invalid)?;
    let Some((b'{', rest)) = body.get(start..).and_then(<[u8]>::split_first) else {
        return Err(ScanError::Invalid);
    };
    let mut scanner = Scanner::inside_object(body, start);
    let (blocks, tail) = rest.as_chunks::<64>();
    let mut base = start + 1;
    for block in blocks {
        scanner.block(block, base)?;
        base += 64;
    }
    if !tail.is_empty() {
        // Spaces after the end change nothing.
        let mut padded = [b' '; 64];
        padded.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
        scanner.block(&padded, base)?;
    }
    scanner.finish()
}

const fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The containers that are open.
#[derive(Clone, Copy)]
struct Open {
    /// Bit 0 is the innermost: set for an object.
    objects: u64,
    depth: u32,
    /// What is open at depth 2 is the batch, or may be one to somebody: some go over an object's members, too.
    in_batch: bool,
}

impl Open {
    fn push(&mut self, object: bool, batch: bool) -> Result<(), ScanError> {
        if self.depth == DEPTH_MAX {
            return Err(ScanError::Invalid);
        }
        if self.depth == 1 {
            self.in_batch = batch;
        }
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

    /// Whether keys here may be a write key's: those of the document, of the batch's events, and of a batch that
    /// is an object and may be the one event to somebody.
    const fn has_write_keys(&self) -> bool {
        self.in_object() && (self.depth == 1 || (self.in_batch && matches!(self.depth, 2 | 3)))
    }
}

/// What one block leaves to the next: what the token before it was, as a mask with its one bit lowest.
#[derive(Default)]
struct Carry {
    key_end: u64,
    colon: u64,
    comma: u64,
    open: u64,
    value_end: u64,
    /// The block ended inside a number or literal.
    scalar: u64,
    /// It ended inside a key.
    in_key: u64,
}

struct Scanner<'b> {
    classifier: Classifier,
    carry: Carry,
    body: &'b [u8],
    open: Open,
    /// Where the last key of a block before began.
    key_start: usize,
    /// The last key of the document was `batch`, or would be to somebody.
    is_batch: bool,
    /// The event under the cursor already had its own write key.
    event_has_key: bool,
    found: BodyKeys,
}

impl<'b> Scanner<'b> {
    /// Begins behind the brace at `start`.
    fn inside_object(body: &'b [u8], start: usize) -> Self {
        Self {
            classifier: Classifier::default(),
            carry: Carry {
                open: 1,
                ..Carry::default()
            },
            body,
            open: Open {
                objects: 1,
                depth: 1,
                in_batch: false,
            },
            key_start: start,
            is_batch: false,
            event_has_key: false,
            found: BodyKeys::default(),
        }
    }

    fn finish(self) -> Result<BodyKeys, ScanError> {
        let wide_from = self.classifier.wide_from.unwrap_or(self.body.len());
        let wide = self.body.get(wide_from..).unwrap_or_default();
        if self.open.depth > 0 || simdutf8::basic::from_utf8(wide).is_err() {
            return Err(ScanError::Invalid);
        }
        Ok(self.found)
    }

    #[inline(always)]
    fn block(&mut self, block: &[u8; 64], base: usize) -> Result<(), ScanError> {
        let b = self.classifier.class(block, self.body, base)?;
        if self.open.depth == 0 {
            return if b.white == u64::MAX {
                Ok(())
            } else {
                Err(ScanError::Invalid)
            };
        }
        let scalars = b.scalar & !(b.scalar << 1 | self.carry.scalar);
        self.carry.scalar = b.scalar >> 63;
        if b.in_string == u64::MAX && b.opening == 0 {
            // All of it is inside a string that began before.
            return Ok(());
        }
        let after_colon = next(b.colon, &mut self.carry.colon, b.white);
        let after_comma = next(b.comma, &mut self.carry.comma, b.white);
        let after_open = next(b.open, &mut self.carry.open, b.white);
        let keys = b.opening & (after_comma | after_open);
        let in_object = self.containers(&b, keys, base)?;
        let keys = keys & in_object;
        if keys != 0 {
            self.key_start = base + keys.ilog2() as usize;
        }
        // Adding a string's first bit to its bytes carries a bit to its closing quote.
        let (carried, in_key) = b.in_string.overflowing_add(keys | self.carry.in_key);
        self.carry.in_key = u64::from(in_key);
        let key_ends = carried & b.closing;
        let value_ends = (b.closing & !key_ends) | b.scalar | b.close;
        let after_key = next(key_ends, &mut self.carry.key_end, b.white);
        let after_value = next(value_ends, &mut self.carry.value_end, b.white);
        // A colon stands behind each key and nowhere else; and so on.
        let wrong = (b.colon ^ after_key)
            | (b.comma & !after_value)
            | (b.close & !(after_value | after_open))
            | ((b.opening | b.open | scalars) & !(after_colon | after_comma | after_open))
            | ((b.open | scalars) & in_object & !after_colon);
        if wrong != 0 {
            return Err(ScanError::Invalid);
        }
        self.scalars(scalars, base)
    }

    /// Walks over the brackets of a block, and says which bytes have an object for their container.
    #[inline(always)]
    fn containers(&mut self, b: &Block, keys: u64, base: usize) -> Result<u64, ScanError> {
        let (mut in_object, mut rest, mut brackets) = (0, u64::MAX, b.open | b.close);
        let suspects = self.suspects(b, keys, base);
        loop {
            // The next bracket, or none; and the bytes up to it.
            let bracket = brackets & brackets.wrapping_neg();
            let part = rest & (bracket | bracket.wrapping_sub(1));
            in_object |= part & 0_u64.wrapping_sub(self.open.objects & 1);
            if self.open.has_write_keys() {
                let suspects = if self.open.depth == 1 {
                    part
                } else {
                    part & suspects
                };
                self.keys(b.colon & suspects, keys, base)?;
            }
            if bracket == 0 {
                return Ok(in_object);
            }
            rest &= !part;
            brackets ^= bracket;
            let byte = self.body.get(base + bracket.trailing_zeros() as usize);
            if b.open & bracket != 0 {
                self.open.push(byte == Some(&b'{'), self.is_batch)?;
                self.event_has_key &= self.open.depth > 3;
                continue;
            }
            self.open.pop(byte == Some(&b'}'))?;
            if self.open.depth == 0 {
                return if rest & !b.white == 0 {
                    Ok(in_object)
                } else {
                    Err(ScanError::Invalid)
                };
            }
        }
    }

    /// Where the colon of a `writeKey` may stand: as far behind the start of its key as the two spellings take,
    /// or anywhere if the key began in the block before, has escapes, or white space behind it.
    #[inline(always)]
    fn suspects(&self, b: &Block, keys: u64, base: usize) -> u64 {
        /// The quotes and what is between them, from `writeKey` to the longest spelling without escapes.
        const LENGTHS: [u32; 4] = [10, 11, 12, 13];
        let [plain, one_i, one_k, both] = LENGTHS;
        // Written in escapes alone, the key is shorter than a block. One that somebody cuts off may be longer.
        let is_long = self.carry.in_key != 0 && self.classifier.last_backslash > self.key_start;
        if self.classifier.last_backslash + 64 >= base || is_long {
            return u64::MAX;
        }
        let mut suspects = keys << plain | ((1 << both) - 1) | !(b.closing << 1);
        // The other spellings have letters that are not ASCII.
        if self.classifier.wide_from.is_some() {
            suspects |= keys << one_i | keys << one_k | keys << both;
        }
        suspects
    }

    /// Looks at the keys before these colons.
    #[inline(always)]
    fn keys(&mut self, mut colons: u64, keys: u64, base: usize) -> Result<(), ScanError> {
        while colons != 0 {
            let colon = colons & colons.wrapping_neg();
            colons ^= colon;
            let start = (keys & (colon - 1)).checked_ilog2();
            let start = start.map_or(self.key_start, |at| base + at as usize);
            self.key(start, base + colon.trailing_zeros() as usize)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn key(&mut self, start: usize, colon: usize) -> Result<(), ScanError> {
        if self.open.depth == 1 {
            self.is_batch = false;
        }
        // Most keys have another length than those that matter or begin otherwise, and no backslash is near them.
        let is_plain = self.classifier.last_backslash < start && self.body.get(colon - 1) == Some(&b'"');
        let may_matter = match colon - start {
            7 => self.open.depth == 1,
            10..=13 => matches!(self.body.get(start + 1), Some(b'w' | b'W')),
            _ => false,
        };
        if is_plain && !may_matter {
            return Ok(());
        }
        self.key_text(start, colon)
    }

    #[cold]
    fn key_text(&mut self, start: usize, colon: usize) -> Result<(), ScanError> {
        let inside = self.body.get(start + 1..colon).unwrap_or_default();
        let end = memchr::memrchr(b'"', inside).ok_or(ScanError::Invalid)?;
        let key = text(inside.get(..end).unwrap_or_default())?;
        // Parsers whose texts end at a NUL see no further.
        let seen = key.split(|byte| *byte == 0).next().unwrap_or_default();
        if self.open.depth == 1 && seen.eq_ignore_ascii_case(b"batch") {
            self.is_batch = true;
        }
        if !is_write_key_to_somebody(seen) {
            return Ok(());
        }
        // The key of a batch that is one event to some and a table of events to others.
        if self.open.depth == 2 {
            return Err(ScanError::Ambiguous);
        }
        let repeated = if self.open.depth == 1 {
            self.found.top.is_some()
        } else {
            self.event_has_key
        };
        if *key != *b"writeKey" || repeated {
            return Err(ScanError::Ambiguous);
        }
        self.write_key(colon)
    }

    /// Takes the value of a `writeKey`, which must be a string.
    fn write_key(&mut self, colon: usize) -> Result<(), ScanError> {
        let after = self.body.get(colon + 1..).unwrap_or_default();
        let white = after.iter().take_while(|byte| is_white(**byte)).count();
        let Some((b'"', inside)) = after.get(white..).and_then(<[u8]>::split_first) else {
            return Err(ScanError::Invalid);
        };
        let key = text(until_quote(inside)?)?;
        if !is_write_key_text(&key) {
            return Err(ScanError::Ambiguous);
        }
        let digest = WriteKeyDigest::of(&key);
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

    #[inline(always)]
    fn scalars(&self, mut starts: u64, base: usize) -> Result<(), ScanError> {
        while starts != 0 {
            let at = base + starts.trailing_zeros() as usize;
            starts &= starts - 1;
            if !is_scalar(self.body.get(at..).unwrap_or_default()) {
                return Err(ScanError::Invalid);
            }
        }
        Ok(())
    }
}

/// Where the next token begins behind each of `ends`, with white space between them or not. `carry` comes from
/// the block before and goes to the one after.
#[inline(always)]
fn next(ends: u64, carry: &mut u64, white: u64) -> u64 {
    // Adding the first bit of a run of white space to the run carries it behind the run.
    let (behind, is_open) = (ends << 1 | *carry).overflowing_add(white);
    *carry = ends >> 63 | u64::from(is_open);
    behind & !white
}

/// Whether some parser takes this key for `writeKey`: many compare without letter case, and those that fold it
/// as Unicode does take the Kelvin sign for a `k` (Go's), and an `i` without its dot or with one too many for an
/// `i` (Java's).
fn is_write_key_to_somebody(mut key: &[u8]) -> bool {
    const KELVIN_SIGN: &[u8] = "\u{212a}".as_bytes();
    const DOTLESS_I: &[u8] = "\u{131}".as_bytes();
    const DOTTED_I: &[u8] = "\u{130}".as_bytes();
    for letter in *b"writekey" {
        let alike: &[&[u8]] = match letter {
            b'i' => &[DOTLESS_I, DOTTED_I],
            b'k' => &[KELVIN_SIGN],
            _ => &[],
        };
        let wide = alike.iter().find_map(|wide| key.strip_prefix(*wide));
        match (wide, key) {
            (Some(rest), _) => key = rest,
            (None, [first, rest @ ..]) if first.eq_ignore_ascii_case(&letter) => key = rest,
            _ => return false,
        }
    }
    key.is_empty()
}

/// The bytes up to the quote that ends a string.
fn until_quote(text: &[u8]) -> Result<&[u8], ScanError> {
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        at += memchr::memchr2(b'"', b'\\', rest).ok_or(ScanError::Invalid)?;
        if text.get(at) == Some(&b'"') {
            return text.get(..at).ok_or(ScanError::Invalid);
        }
        at += 2;
    }
}

/// A string's text, from what stands between its quotes.
fn text(raw: &[u8]) -> Result<Cow<'_, [u8]>, ScanError> {
    if memchr::memchr(b'\\', raw).is_none() {
        return Ok(Cow::Borrowed(raw));
    }
    unescape(raw).map(|text| Cow::Owned(text.into_bytes()))
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
    fn events_of_a_batch_that_is_an_object_are_looked_into() {
        for body in [
            r#"{"batch":{"0":{"writeKey":"e"}},"writeKey":"k"}"#,
            r#"{"writeKey":"k","batch":{"a":1,"0":{"b":{"writeKey":"x"}},"1":{"writeKey":"e"}}}"#,
        ] {
            let expected = BodyKeys {
                top: key("k"),
                events: key("e"),
            };
            assert_eq!(keys(body), Ok(expected), "{body}");
        }
        let none = BodyKeys {
            top: key("k"),
            events: None,
        };
        let deeper = r#"{"batch":{"0":[{"writeKey":"e"}]},"writeKey":"k"}"#;
        assert_eq!(keys(deeper), Ok(none));
    }

    /// A key that goes over several blocks, with the NUL anywhere.
    #[test]
    fn long_keys_are_seen_as_far_as_somebody_sees_them() {
        for length in (0..300).step_by(7) {
            let tail = "x".repeat(length);
            let body =
                format!(r#"{{"batch":[{{"a":"\\","b":1,"writeKey\u0000{tail}":"k"}}],"writeKey":"k"}}"#);
            assert_eq!(keys(&body), Err(ScanError::Ambiguous), "{length}");
            let body = format!(r#"{{"batch":[{{"writeKez\u0000{tail}":"k"}}],"writeKey":"k"}}"#);
            assert_eq!(keys(&body).map(|found| found.top), Ok(key("k")), "{length}");
        }
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
            "{\"write\u{212a}ey\":\"k\"}",
            "{\"WRITE\u{212a}EY\":\"k\",\"writeKey\":\"k\"}",
            r#"{"batch":[{"write\u212Aey":"k"}],"writeKey":"k"}"#,
            // To those whose texts end at a NUL.
            r#"{"writeKey\u0000":"k"}"#,
            r#"{"writeKey\u0000 and more of it":"k","writeKey":"k"}"#,
            r#"{"batch":[{"a":1,"WRITEKEY\u0000":"k"}],"writeKey":"k"}"#,
            r#"{"batch":[{"writeKey":"k","writeKey\u0000":"k"}],"writeKey":"k"}"#,
            r#"{"batch\u0000":[{"writekey":"k"}],"writeKey":"k"}"#,
            // Java folds each letter by itself.
            "{\"wr\u{131}teKey\":\"k\"}",
            "{\"wr\u{130}teKey\":\"k\",\"writeKey\":\"k\"}",
            r#"{"wr\u0131teKey":"k"}"#,
            r#"{"batch":[{"WR\u0130TE\u212aEY":"k"}],"writeKey":"k"}"#,
            "{\"batch\":[{\"a\":1,\"wr\u{131}teKey\":\"k\"}],\"writeKey\":\"k\"}",
            "{\"batch\":[{\"a\":1,\"wr\u{130}te\u{212a}ey\":\"k\"}],\"writeKey\":\"k\"}",
            // A batch may be an object to those who go over its members, and one event to others.
            r#"{"batch":{"0":{"WriteKey":"k"}},"writeKey":"k"}"#,
            r#"{"batch":{"0":{"writeKey":"k"},"1":{"writeKey":"l"}},"writeKey":"k"}"#,
            r#"{"batch":{"writeKey":"k"},"writeKey":"k"}"#,
            r#"{"batch":{"0":{},"writekey":"k"},"writeKey":"k"}"#,
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
