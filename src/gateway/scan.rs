//! Finds every write key in a JSON body, while checking that the body is JSON to every parser alike.
//!
//! An upstream that reads another source out of the same bytes is the attack this file stands against.
//! So the whole text is checked against the grammar of RFC 8259, duplicate and differently spelt keys
//! are told, and nothing is accepted that some parser would forgive: comments, single quotes, trailing
//! commas, a byte order mark, data after the end.
//!
//! Two stages, block by block and without a buffer between them. The first turns 64 bytes into bit
//! masks and knows which bytes are inside strings; the second steps a state machine over the few bytes
//! that matter. Bytes inside strings cost nothing but their share of a mask.

use wide::u8x16;

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
    let mut machine = Machine::new(body);
    let mut carry = Carry::default();
    let mut blocks = body.chunks_exact(64);
    let mut base = 0;
    for block in &mut blocks {
        let block: &[u8; 64] = block.try_into().map_err(|_| ScanError::Invalid)?;
        machine.block(base, block, &mut carry)?;
        base += 64;
    }
    let rest = blocks.remainder();
    if !rest.is_empty() {
        // Spaces after the end change nothing.
        let mut block = [b' '; 64];
        for (to, from) in block.iter_mut().zip(rest) {
            *to = *from;
        }
        machine.block(base, &block, &mut carry)?;
    }
    if carry.in_string != 0 {
        return Err(ScanError::Invalid);
    }
    machine.finish()
}

/// What one block tells the next.
#[derive(Default)]
struct Carry {
    /// The next byte is escaped by a backslash.
    escaped: u64,
    /// All ones inside a string.
    in_string: u64,
    /// The last byte was part of a literal or number.
    scalar: u64,
}

/// One bit a byte, the first byte lowest.
struct Masks {
    quote: u64,
    backslash: u64,
    /// Below 0x20.
    control: u64,
    /// `{ } [ ] : ,`
    operator: u64,
    space: u64,
}

fn masks(block: &[u8; 64]) -> Masks {
    let mut out = Masks {
        quote: 0,
        backslash: 0,
        control: 0,
        operator: 0,
        space: 0,
    };
    let (lanes, _) = block.as_chunks::<16>();
    for (lane, bytes) in lanes.iter().enumerate() {
        let v = u8x16::new(*bytes);
        let is = |byte: u8| v.simd_eq(u8x16::splat(byte));
        let bits = |mask: u8x16| u64::from(mask.to_bitmask()) << (lane * 16);
        // `[` and `{`, `]` and `}` differ in one bit.
        let folded = v | u8x16::splat(0x20);
        let brackets = folded.simd_eq(u8x16::splat(b'{')) | folded.simd_eq(u8x16::splat(b'}'));
        out.quote |= bits(is(b'"'));
        out.backslash |= bits(is(b'\\'));
        out.control |= bits(v.min(u8x16::splat(0x1f)).simd_eq(v));
        out.operator |= bits(brackets | is(b':') | is(b','));
        out.space |= bits(is(b' '));
    }
    out
}

/// Bit `n` of the result is the parity of bits `0..=n`.
const fn prefix_xor(mut bits: u64) -> u64 {
    bits ^= bits << 1;
    bits ^= bits << 2;
    bits ^= bits << 4;
    bits ^= bits << 8;
    bits ^= bits << 16;
    bits ^ (bits << 32)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// The first `{`.
    Start,
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
    /// Nothing but white space.
    Nothing,
}

/// Where a string that matters began, and which it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Capture {
    None,
    /// The key under the cursor may be `writeKey`.
    Key(usize),
    /// The next value is that of a `writeKey`.
    ValueNext,
    /// The value of a `writeKey` began here.
    Value(usize),
}

struct Machine<'b> {
    body: &'b [u8],
    expect: Expect,
    /// Bit `d`: the container at depth `d` is an object.
    objects: u64,
    depth: u32,
    capture: Capture,
    /// The value of the last top-level key is the batch, or may be one to somebody.
    batch_next: bool,
    in_batch: bool,
    last_backslash: usize,
    /// The event under the cursor already had its own key.
    event_has_key: bool,
    found: BodyKeys,
}

impl<'b> Machine<'b> {
    fn new(body: &'b [u8]) -> Self {
        Self {
            body,
            expect: Expect::Start,
            objects: 0,
            depth: 0,
            capture: Capture::None,
            batch_next: false,
            in_batch: false,
            last_backslash: 0,
            event_has_key: false,
            found: BodyKeys::default(),
        }
    }

    fn block(&mut self, base: usize, block: &[u8; 64], carry: &mut Carry) -> Result<(), ScanError> {
        let m = masks(block);
        let escaped = if m.backslash == 0 {
            std::mem::take(&mut carry.escaped)
        } else {
            self.last_backslash = base + 63;
            self.escapes(base, m.backslash, carry)?
        };
        let quote = m.quote & !escaped;
        let in_string = prefix_xor(quote) ^ carry.in_string;
        carry.in_string = 0_u64.wrapping_sub(in_string >> 63);
        if m.control & in_string != 0 || m.backslash & !in_string != 0 {
            return Err(ScanError::Invalid);
        }
        let mut white = m.space;
        if m.control != 0 {
            white |= blank_controls(block, m.control);
        }
        let scalar = !(m.operator | white | quote | in_string);
        let scalar_start = scalar & !(scalar << 1 | carry.scalar);
        carry.scalar = scalar >> 63;
        let mut tokens = (m.operator & !in_string) | (quote & in_string) | scalar_start;
        while tokens != 0 {
            let at = base + tokens.trailing_zeros() as usize;
            tokens &= tokens - 1;
            self.step(at)?;
        }
        Ok(())
    }

    /// Which bytes are escaped, and whether each escape is one of JSON's.
    #[cold]
    fn escapes(&self, base: usize, backslash: u64, carry: &mut Carry) -> Result<u64, ScanError> {
        let mut escaped = std::mem::take(&mut carry.escaped);
        let mut rest = backslash;
        while rest != 0 {
            let at = rest.trailing_zeros();
            rest &= rest - 1;
            if escaped >> at & 1 == 1 {
                continue;
            }
            if at == 63 {
                carry.escaped = 1;
            } else {
                escaped |= 2 << at;
            }
            let tail = self.body.get(base + at as usize + 1..).unwrap_or_default();
            match tail {
                [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => {}
                [b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) => {}
                _ => return Err(ScanError::Invalid),
            }
        }
        Ok(escaped)
    }

    #[inline]
    fn step(&mut self, at: usize) -> Result<(), ScanError> {
        let byte = self.body.get(at).copied().unwrap_or(b' ');
        match (self.expect, byte) {
            (Expect::Colon, b':') => {
                if let Capture::Key(start) = self.capture {
                    self.key_ends(start, at)?;
                }
                self.expect = Expect::Value;
            }
            (Expect::CommaOrEnd, b',') => {
                if let Capture::Value(start) = self.capture {
                    self.value_ends(start, at)?;
                }
                self.expect = if self.objects & 1 == 1 {
                    Expect::Key
                } else {
                    Expect::Value
                };
            }
            (Expect::Key | Expect::KeyOrEnd, b'"') => {
                if self.depth == 1 || (self.in_batch && self.depth == 3) {
                    self.capture = Capture::Key(at);
                }
                self.expect = Expect::Colon;
            }
            (Expect::Value | Expect::ValueOrEnd, b'"') => {
                if self.capture == Capture::ValueNext {
                    self.capture = Capture::Value(at);
                }
                self.expect = Expect::CommaOrEnd;
            }
            (Expect::Value | Expect::ValueOrEnd | Expect::Start, b'{') => self.open(true)?,
            (Expect::Value | Expect::ValueOrEnd, b'[') => self.open(false)?,
            (Expect::CommaOrEnd | Expect::KeyOrEnd | Expect::ValueOrEnd, b'}' | b']') => {
                self.close(at, byte == b'}')?;
            }
            (Expect::Value | Expect::ValueOrEnd, _) => {
                if self.capture == Capture::ValueNext || !is_scalar(self.body.get(at..).unwrap_or_default()) {
                    return Err(ScanError::Invalid);
                }
                self.expect = Expect::CommaOrEnd;
            }
            _ => return Err(ScanError::Invalid),
        }
        Ok(())
    }

    fn open(&mut self, object: bool) -> Result<(), ScanError> {
        if self.depth == DEPTH_MAX || self.capture == Capture::ValueNext {
            return Err(ScanError::Invalid);
        }
        if self.depth == 1 {
            self.in_batch = self.batch_next && !object;
        }
        if self.depth == 2 {
            self.event_has_key = false;
        }
        // INVARIANT: bit 0 is the innermost container.
        self.objects = self.objects << 1 | u64::from(object);
        self.depth += 1;
        self.expect = if object {
            Expect::KeyOrEnd
        } else {
            Expect::ValueOrEnd
        };
        Ok(())
    }

    fn close(&mut self, at: usize, object: bool) -> Result<(), ScanError> {
        if let Capture::Value(start) = self.capture {
            self.value_ends(start, at)?;
        }
        if (self.objects & 1 == 1) != object || self.depth == 0 {
            return Err(ScanError::Invalid);
        }
        self.objects >>= 1;
        self.depth -= 1;
        self.in_batch &= self.depth > 1;
        self.expect = if self.depth == 0 {
            Expect::Nothing
        } else {
            Expect::CommaOrEnd
        };
        Ok(())
    }

    /// The string that began at `start` ends before the token at `at`.
    fn string(&self, start: usize, at: usize) -> Result<&'b [u8], ScanError> {
        let inside = self.body.get(start + 1..at).unwrap_or_default();
        let end = memchr::memrchr(b'"', inside).ok_or(ScanError::Invalid)?;
        inside.get(..end).ok_or(ScanError::Invalid)
    }

    fn key_ends(&mut self, start: usize, at: usize) -> Result<(), ScanError> {
        self.capture = Capture::None;
        // A key of another length, without a backslash near it, is neither of the two.
        let plain = self.last_backslash < start;
        if plain && self.body.get(at - 1) == Some(&b'"') && !matches!(at - start, 7 | 10) {
            self.batch_next = false;
            return Ok(());
        }
        let raw = self.string(start, at)?;
        let unescaped;
        let key = if memchr::memchr(b'\\', raw).is_some() {
            unescaped = unescape(raw)?;
            unescaped.as_bytes()
        } else {
            raw
        };
        if self.depth == 1 {
            self.batch_next = key.eq_ignore_ascii_case(b"batch");
        }
        if !key.eq_ignore_ascii_case(b"writekey") {
            return Ok(());
        }
        let repeated = if self.depth == 1 {
            self.found.top.is_some()
        } else {
            self.event_has_key
        };
        if key != b"writeKey" || repeated {
            return Err(ScanError::Ambiguous);
        }
        self.capture = Capture::ValueNext;
        Ok(())
    }

    fn value_ends(&mut self, start: usize, at: usize) -> Result<(), ScanError> {
        self.capture = Capture::None;
        let raw = self.string(start, at)?;
        let digest = if memchr::memchr(b'\\', raw).is_some() {
            WriteKeyDigest::of(unescape(raw)?.as_bytes())
        } else {
            WriteKeyDigest::of(raw)
        };
        if self.depth == 1 {
            self.found.top = Some(digest);
        } else {
            self.event_has_key = true;
            if self.found.events.is_some_and(|earlier| earlier != digest) {
                return Err(ScanError::Ambiguous);
            }
            self.found.events = Some(digest);
        }
        Ok(())
    }

    fn finish(self) -> Result<BodyKeys, ScanError> {
        if self.expect == Expect::Nothing {
            Ok(self.found)
        } else {
            Err(ScanError::Invalid)
        }
    }
}

/// Tabs and line ends among the control bytes; the others are nobody's white space.
#[cold]
fn blank_controls(block: &[u8; 64], control: u64) -> u64 {
    let mut blank = 0;
    for (at, byte) in block.iter().enumerate() {
        blank |= u64::from(matches!(byte, b'\t' | b'\n' | b'\r')) << at;
    }
    blank & control
}

#[cold]
fn unescape(raw: &[u8]) -> Result<String, ScanError> {
    let quoted = [b"\"", raw, b"\""].concat();
    serde_json::from_slice(&quoted).map_err(|_| ScanError::Invalid)
}

/// Whether `text` begins with a literal or number of JSON that ends where it must.
fn is_scalar(text: &[u8]) -> bool {
    let end = text
        .iter()
        .position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'))
        .unwrap_or(text.len());
    match text.get(..end).unwrap_or_default() {
        b"true" | b"false" | b"null" => true,
        number => is_number(number),
    }
}

fn is_number(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(text);
    if whole == 0 || (whole > 1 && text.first() == Some(&b'0')) {
        return false;
    }
    let mut rest = text.get(whole..).unwrap_or_default();
    if let [b'.', fraction @ ..] = rest {
        let count = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = fraction.get(count..).unwrap_or_default();
    }
    match rest {
        [] => true,
        [b'e' | b'E', b'+' | b'-', exponent @ ..] | [b'e' | b'E', exponent @ ..] => {
            !exponent.is_empty() && digits(exponent) == exponent.len()
        }
        _ => false,
    }
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
