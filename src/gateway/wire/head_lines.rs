//! The header lines of an HTTP/1 head as its sender spelled them, in order.
//!
//! Header maps know names in lower case. What goes on over HTTP/1 keeps the spelling: some servers compare names letter
//! by letter.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

/// How many lines there is room for at first.
const LINES_USUAL: usize = 16;

/// The lines of one head.
#[derive(Default)]
pub struct HeadLines {
    text: Bytes,
    lines: Vec<HeadLine>,
}

/// One header line: where its parts are in the text.
struct HeadLine {
    name: HeaderName,
    spelled: Span,
    value: Span,
}

/// A part of a head, which has far less than 4 GiB.
#[derive(Clone, Copy)]
struct Span {
    at: u32,
    length: u32,
}

impl Span {
    fn new(at: usize, length: usize) -> Option<Self> {
        Some(Self {
            at: u32::try_from(at).ok()?,
            length: u32::try_from(length).ok()?,
        })
    }

    fn of(self, text: &[u8]) -> &[u8] {
        let at = usize::try_from(self.at).unwrap_or(usize::MAX);
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        text.get(at..)
            .and_then(|text| text.get(..length))
            .unwrap_or_default()
    }
}

impl HeadLines {
    /// No lines yet, of a head with this text.
    #[must_use]
    pub fn new(text: Bytes) -> Self {
        Self {
            text,
            lines: Vec::with_capacity(LINES_USUAL),
        }
    }

    /// Takes a header line apart, which begins at `at` in the text and is without its end, and adds it. `None` where it
    /// is no header line: no colon, a name that is no token, white space before the colon or a byte that no value may
    /// have (RFC 9112 section 5).
    pub fn push(&mut self, at: usize, line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
        let (spelled, value) = line.split_at_checked(memchr::memchr(b':', line)?)?;
        let name = HeaderName::from_bytes(spelled).ok()?;
        let value = value.get(1..)?;
        let blanks = value.iter().take_while(|byte| is_blank(**byte)).count();
        let (value_at, value) = (at + spelled.len() + 1 + blanks, without_blanks(value));
        let text = self.text.get(value_at..value_at + value.len())?;
        let shared = HeaderValue::from_maybe_shared(self.text.slice_ref(text)).ok()?;
        self.lines.push(HeadLine {
            name: name.clone(),
            spelled: Span::new(at, spelled.len())?,
            value: Span::new(value_at, value.len())?,
        });
        Some((name, shared))
    }

    /// How a name is spelled. `from` is where to look first, and moves behind the line that was found: headers are
    /// mostly asked for in the order of the lines.
    pub(super) fn spelled(&self, name: &HeaderName, from: &mut usize) -> Option<&[u8]> {
        let (before, behind) = self.lines.split_at_checked(*from).unwrap_or_default();
        let found = behind.iter().chain(before).position(|line| line.name == *name)?;
        let at = (*from + found) % self.lines.len();
        *from = at + 1;
        Some(self.lines.get(at)?.spelled.of(&self.text))
    }

    /// Each line: its name, its name as spelled, and its value.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &[u8], &[u8])> {
        let text = &self.text;
        self.lines
            .iter()
            .map(move |line| (&line.name, line.spelled.of(text), line.value.of(text)))
    }
}

/// Whether a byte is white space in a header line (RFC 9110 section 5.6.3). No other byte is: a carriage return that
/// one server drops is part of the value to the next.
const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// A value without the white space around it.
fn without_blanks(mut value: &[u8]) -> &[u8] {
    while let Some((b' ' | b'\t', rest)) = value.split_first() {
        value = rest;
    }
    while let Some((b' ' | b'\t', rest)) = value.split_last() {
        value = rest;
    }
    value
}
