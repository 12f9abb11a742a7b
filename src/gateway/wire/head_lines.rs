//! Header lines: those of an HTTP/1 head as its sender spelled them, in order, and those of the gateway's own responses.
//!
//! Header maps know names in lower case. What goes on over HTTP/1 keeps the spelling: some servers compare names letter
//! by letter.

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderName;
use smallvec::SmallVec;

/// Header fields of a response of the gateway's own.
pub type Fields<'a> = SmallVec<[(&'static str, Cow<'a, str>); 8]>;

/// The lines of one head.
#[derive(Default)]
pub struct HeadLines {
    text: Bytes,
    lines: SmallVec<[HeadLine; 16]>,
}

/// One header line: where its parts are in the text.
struct HeadLine {
    name: HeaderName,
    starts_at: usize,
    name_length: usize,
    value_at: usize,
    value_length: usize,
}

impl HeadLines {
    /// No lines yet, of a head with this text.
    #[must_use]
    pub fn new(text: Bytes) -> Self {
        Self {
            text,
            lines: SmallVec::new(),
        }
    }

    /// Adds a line. `line_at` is where it begins in the text; the value, without white space around it, begins
    /// `value_from` bytes behind that.
    pub fn push(&mut self, name: HeaderName, line_at: usize, name_length: usize, value: (usize, usize)) {
        let (value_from, value_length) = value;
        self.lines.push(HeadLine {
            name,
            starts_at: line_at,
            name_length,
            value_at: line_at + value_from,
            value_length,
        });
    }

    /// Each line: its name, its name as spelled, and its value.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &[u8], &[u8])> {
        let text = |at: usize, length: usize| self.text.get(at..at + length).unwrap_or_default();
        self.lines.iter().map(move |line| {
            (
                &line.name,
                text(line.starts_at, line.name_length),
                text(line.value_at, line.value_length),
            )
        })
    }
}

/// Whether a byte is white space in a header line (RFC 9110 section 5.6.3). No other byte is: a carriage return that
/// one server drops is part of the value to the next.
#[must_use]
pub const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// A value without the white space around it.
#[must_use]
pub fn without_blanks(mut value: &[u8]) -> &[u8] {
    while let Some((b' ' | b'\t', rest)) = value.split_first() {
        value = rest;
    }
    while let Some((b' ' | b'\t', rest)) = value.split_last() {
        value = rest;
    }
    value
}
