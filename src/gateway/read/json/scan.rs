//! Finds every write key in a JSON body, while checking that the body is JSON to every parser alike.
//!
//! The attack is an upstream that reads another source in the same bytes. So the scanner checks the whole text against
//! the grammar of RFC 8259, finds duplicate and differently spelt keys, and rejects what only some parsers accept:
//! comments, single quotes, trailing commas, a byte order mark, data after the end.
//!
//! Two stages, block by block and without a buffer between them. The first turns 64 bytes into bit masks
//! of quotes, operators, white space and the rest. The second checks the grammar on whole masks: which
//! token may stand after which is the same everywhere but for what an object asks of its members, so
//! only brackets are walked over one by one, and the keys of those objects that may hold a write key.

use super::blocks::{Block, Classifier};
pub use super::containers::DEPTH_MAX;
use super::containers::Open;
use super::key_spelling::{Letters, Spelling, spelling};
use super::scalars::{NUMBER_BYTES_MAX, scalar};
use super::scan_error::ScanError;
use crate::domain::cost;
use crate::domain::ids::{WRITE_KEY_BYTES_MAX, WriteKeyDigest, is_write_key_text};

/// The write keys of one body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodyKeys {
    /// The top-level `writeKey`.
    pub top: Option<WriteKeyDigest>,
    /// The `writeKey` that events of the top-level `batch` carry themselves, where they all agree.
    pub events: Option<WriteKeyDigest>,
}

/// The most white space between a `writeKey` and its value, in bytes.
const WHITE_BYTES_MAX: usize = 4096;

/// How much [`scan`] scans at once, in bytes.
const SLICE_BYTES: usize = 64 * 1024;

/// Scans a whole body.
///
/// # Errors
/// [`ScanError`] when the bytes are not one JSON object, or their keys contradict each other.
pub fn scan(body: &[u8]) -> Result<BodyKeys, ScanError> {
    let mut scan = BodyScan::new(body);
    loop {
        if let Some(keys) = scan.advance(SLICE_BYTES)? {
            return Ok(keys);
        }
    }
}

/// The scan of a body in steps, so that a long one lets others go first in between.
pub struct BodyScan<'b> {
    scanner: Scanner<'b>,
    /// Up to where the body was scanned.
    at: usize,
    /// The object that the body is has begun.
    has_begun: bool,
}

impl<'b> BodyScan<'b> {
    /// Scans nothing yet.
    #[must_use]
    pub fn new(body: &'b [u8]) -> Self {
        Self {
            scanner: Scanner::inside_object(body, 0),
            at: 0,
            has_begun: false,
        }
    }

    /// Scans about so many bytes more. Answers the keys when the body is at its end.
    ///
    /// # Errors
    /// As [`scan`]; the scan is over then.
    pub fn advance(&mut self, bytes: usize) -> Result<Option<BodyKeys>, ScanError> {
        let body = self.scanner.body;
        let part = body.get(self.at..).unwrap_or_default();
        let part = part.get(..bytes).unwrap_or(part);
        if !self.has_begun {
            let white = part.iter().take_while(|byte| is_white(**byte)).count();
            cost::count(white);
            self.at += white;
            match body.get(self.at) {
                Some(b'{') => {}
                Some(_) if white == part.len() && white > 0 => return Ok(None),
                _ => return Err(ScanError::Invalid),
            }
            self.scanner.key_start = self.at;
            self.at += 1;
            self.has_begun = true;
        }
        let from = self.at;
        let scanned = self.blocks(bytes / 64 + 1);
        // What was looked at before a fault was looked at, too.
        cost::count((self.at - from).max(64) + std::mem::take(&mut self.scanner.steps));
        let is_end = scanned?;
        self.scanner.check_utf8(self.at)?;
        if is_end {
            return self.scanner.finish().map(Some);
        }
        Ok(None)
    }

    /// Scans so many blocks. Answers whether the body is at its end.
    #[inline(always)]
    fn blocks(&mut self, count: usize) -> Result<bool, ScanError> {
        let body = self.scanner.body;
        let (blocks, tail) = body.get(self.at..).unwrap_or_default().as_chunks::<64>();
        let now = blocks.get(..count).unwrap_or(blocks);
        for block in now {
            self.scanner.block(block, self.at)?;
            self.at += 64;
        }
        let is_end = now.len() == blocks.len();
        if is_end && !tail.is_empty() {
            // Spaces after the end change nothing.
            let mut padded = [b' '; 64];
            padded.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
            self.scanner.block(&padded, self.at)?;
            self.at = body.len();
        }
        Ok(is_end)
    }
}

const fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
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
    /// It ended inside a string that stands where a key may.
    in_key: u64,
}

struct Scanner<'b> {
    classifier: Classifier,
    carry: Carry,
    body: &'b [u8],
    open: Open,
    /// Where the last key of a block before began.
    key_start: usize,
    /// The last key of the document was `batch`, or some parser takes it for that.
    is_batch: bool,
    /// The event under the cursor already had its own write key.
    event_has_key: bool,
    /// The write key that the events before this one carry.
    event_key: Option<Vec<u8>>,
    /// Bytes looked at in addition to the blocks.
    steps: usize,
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
            event_key: None,
            steps: 0,
            found: BodyKeys::default(),
        }
    }

    fn finish(&self) -> Result<BodyKeys, ScanError> {
        match self.open.depth {
            0 => Ok(self.found),
            _ => Err(ScanError::Invalid),
        }
    }

    /// Checks that what was scanned since the first byte that is not ASCII is UTF-8.
    fn check_utf8(&mut self, end: usize) -> Result<(), ScanError> {
        let Some(from) = self.classifier.wide_from else {
            return Ok(());
        };
        // A character may go on in the next slice.
        let goes_on = |at: usize| matches!(self.body.get(at), Some(0x80..=0xbf));
        let cut = (end.saturating_sub(3).max(from)..=end)
            .rev()
            .find(|at| !goes_on(*at));
        let cut = cut.unwrap_or(end);
        let wide = self.body.get(from..cut).unwrap_or_default();
        cost::count(wide.len());
        simdutf8::basic::from_utf8(wide).map_err(|_| ScanError::Invalid)?;
        self.classifier.wide_from = Some(cut);
        Ok(())
    }

    #[inline(always)]
    fn block(&mut self, block: &[u8; 64], base: usize) -> Result<(), ScanError> {
        let b = self.classifier.class(block, base)?;
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
        // Where a key may stand. Which of them are keys is known when the containers are, and those depend on keys.
        let keys = b.opening & (after_comma | after_open);
        // Adding a string's first bit to its bytes carries a bit to its closing quote.
        let (carried, in_key) = b.in_string.overflowing_add(keys | self.carry.in_key);
        let key_ends = carried & b.closing;
        let after_key = next(key_ends, &mut self.carry.key_end, b.white);
        // INVARIANT: a key is looked at for a colon of its own alone. More of them would look at it again and again.
        if b.colon & !after_key != 0 {
            return Err(ScanError::Invalid);
        }
        let in_object = self.containers(&b, keys, base)?;
        self.carry.in_key = u64::from(in_key);
        // A string and what stands behind it have one container.
        let (keys, key_ends, after_key) = (keys & in_object, key_ends & in_object, after_key & in_object);
        if keys != 0 {
            self.key_start = base + keys.ilog2() as usize;
        }
        let value_ends = (b.closing & !key_ends) | b.scalar | b.close;
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
            self.steps += 1;
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
        // Written in escapes alone, the key is shorter than a block. One that some parser cuts off at a NUL may be longer.
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
        let (spelling, read) = spelling(self.body.get(start + 1..).unwrap_or_default())?;
        self.steps += read;
        let is_exact = match spelling {
            Spelling::Other => return Ok(()),
            Spelling::Batch => {
                self.is_batch |= self.open.depth == 1;
                return Ok(());
            }
            Spelling::WriteKey { is_exact } => is_exact,
        };
        // The key of a batch that is one event to some and a table of events to others.
        if self.open.depth == 2 {
            return Err(ScanError::Ambiguous);
        }
        let is_repeated = if self.open.depth == 1 {
            self.found.top.is_some()
        } else {
            self.event_has_key
        };
        if !is_exact || is_repeated {
            return Err(ScanError::Ambiguous);
        }
        self.write_key(colon)
    }

    /// Takes the value of a `writeKey`, which must be a string.
    fn write_key(&mut self, colon: usize) -> Result<(), ScanError> {
        let after = self.body.get(colon + 1..).unwrap_or_default();
        let white = after.iter().take(WHITE_BYTES_MAX);
        let white = white.take_while(|byte| is_white(**byte)).count();
        self.steps += white;
        let Some((b'"', inside)) = after.get(white..).and_then(<[u8]>::split_first) else {
            return Err(ScanError::Invalid);
        };
        let short = inside.get(..=WRITE_KEY_BYTES_MAX).unwrap_or(inside);
        let decoded;
        let key = match memchr::memchr2(b'"', b'\\', short) {
            Some(end) if short.get(end) == Some(&b'"') => short.get(..end).unwrap_or_default(),
            Some(_) => {
                decoded = self.unescaped(inside)?;
                &decoded
            }
            None if short.len() == inside.len() => return Err(ScanError::Invalid),
            None => return Err(ScanError::Ambiguous),
        };
        self.steps += 2 * key.len();
        if self.open.depth == 1 {
            let key = Some(key).filter(|key| is_write_key_text(key));
            self.found.top = Some(WriteKeyDigest::of(key.ok_or(ScanError::Ambiguous)?));
            return Ok(());
        }
        self.event_has_key = true;
        match &self.event_key {
            // A digest for each of many events would cost more than all the rest.
            Some(earlier) if *earlier == key => Ok(()),
            Some(_) => Err(ScanError::Ambiguous),
            None if !is_write_key_text(key) => Err(ScanError::Ambiguous),
            None => {
                self.found.events = Some(WriteKeyDigest::of(key));
                self.event_key = Some(key.to_vec());
                Ok(())
            }
        }
    }

    /// A write key that has escapes in it. `text` begins behind its opening quote.
    fn unescaped(&mut self, text: &[u8]) -> Result<Vec<u8>, ScanError> {
        let mut letters = Letters::of(text);
        let mut key = Vec::new();
        while let Some(letter) = letters.next()? {
            let letter = u8::try_from(letter).ok().filter(u8::is_ascii_graphic);
            if key.len() == WRITE_KEY_BYTES_MAX {
                return Err(ScanError::Ambiguous);
            }
            key.push(letter.ok_or(ScanError::Ambiguous)?);
        }
        self.steps += letters.read();
        match letters.is_closed() {
            true => Ok(key),
            false => Err(ScanError::Invalid),
        }
    }

    #[inline(always)]
    fn scalars(&mut self, mut starts: u64, base: usize) -> Result<(), ScanError> {
        while starts != 0 {
            let at = base + starts.trailing_zeros() as usize;
            starts &= starts - 1;
            let text = self.body.get(at..).unwrap_or_default();
            let text = text.get(..=NUMBER_BYTES_MAX).unwrap_or(text);
            self.steps += scalar(text).ok_or(ScanError::Invalid)?;
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
    fn long_keys_are_read_up_to_a_nul() {
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
            // Java folds each letter alone.
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
        assert_eq!(keys(&deep(64)), Err(ScanError::TooDeep));
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
