//! The bytes of a JSON text by what they are, 64 at a time: the first stage of the body scanner.
//!
//! Which bytes are inside strings follows from the quotes and backslashes of a block and one bit carried
//! from the block before; what is outside is classed by comparing whole blocks. The text's grammar is the
//! second stage's business, but a control byte in a string, a backslash outside one and an escape that
//! JSON does not have are refused here.

use wide::u8x32;

use super::scan_error::ScanError;

/// The bytes of one block. One bit a byte, the first byte lowest.
pub(crate) struct Block {
    /// Quotes that begin a string.
    pub(crate) opening: u64,
    /// Quotes that end one.
    pub(crate) closing: u64,
    /// From a string's opening quote to the byte before its closing one.
    pub(crate) in_string: u64,
    /// `{` and `[`.
    pub(crate) open: u64,
    /// `}` and `]`.
    pub(crate) close: u64,
    pub(crate) colon: u64,
    pub(crate) comma: u64,
    pub(crate) white: u64,
    /// Everything else: numbers, literals, and what has no place in JSON.
    pub(crate) scalar: u64,
}

/// Classes blocks, one after the other.
#[derive(Default)]
pub(crate) struct Classifier {
    /// The next byte is escaped by a backslash.
    escaped: u64,
    /// All ones inside a string.
    in_string: u64,
    /// Where the first block begins that is not ASCII.
    pub(crate) wide_from: Option<usize>,
    /// Where the last backslash stands of the blocks classed so far; 0 without one.
    pub(crate) last_backslash: usize,
}

/// What comparing finds, inside strings and outside.
#[derive(Default)]
struct Masks {
    quote: u64,
    open: u64,
    close: u64,
    colon: u64,
    comma: u64,
    space: u64,
    /// Whether there are backslashes or control bytes.
    is_special: bool,
    is_wide: bool,
}

#[inline(always)]
fn masks(block: &[u8; 64]) -> Masks {
    let mut out = Masks::default();
    let (mut special, mut any) = (u8x32::ZERO, u8x32::ZERO);
    let (lanes, _) = block.as_chunks::<32>();
    for (lane, bytes) in lanes.iter().enumerate() {
        let v = u8x32::new(*bytes);
        let is = |byte: u8| v.simd_eq(u8x32::splat(byte));
        let bits = |mask: u8x32| u64::from(mask.to_bitmask()) << (lane * 32);
        // `[` and `{`, `]` and `}` differ in one bit.
        let folded = v | u8x32::splat(0x20);
        out.quote |= bits(is(b'"'));
        out.open |= bits(folded.simd_eq(u8x32::splat(b'{')));
        out.close |= bits(folded.simd_eq(u8x32::splat(b'}')));
        out.colon |= bits(is(b':'));
        out.comma |= bits(is(b','));
        out.space |= bits(is(b' '));
        special |= is(b'\\') | v.min(u8x32::splat(0x1f)).simd_eq(v);
        any |= v;
    }
    out.is_special = special.to_bitmask() != 0;
    out.is_wide = any.to_bitmask() != 0;
    out
}

/// The backslashes of a block, and its bytes below 0x20.
fn specials(block: &[u8; 64]) -> (u64, u64) {
    let (mut backslash, mut control) = (0, 0);
    let (lanes, _) = block.as_chunks::<32>();
    for (lane, bytes) in lanes.iter().enumerate() {
        let v = u8x32::new(*bytes);
        let bits = |mask: u8x32| u64::from(mask.to_bitmask()) << (lane * 32);
        backslash |= bits(v.simd_eq(u8x32::splat(b'\\')));
        control |= bits(v.min(u8x32::splat(0x1f)).simd_eq(v));
    }
    (backslash, control)
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

impl Classifier {
    /// Classes the block that stands at `base` of `body`. Its last bytes may be spaces that the body has not.
    #[inline(always)]
    pub(crate) fn class(&mut self, block: &[u8; 64], body: &[u8], base: usize) -> Result<Block, ScanError> {
        let m = masks(block);
        if m.is_wide && self.wide_from.is_none() {
            self.wide_from = Some(base);
        }
        let mut escaped = std::mem::take(&mut self.escaped);
        let (mut backslash, mut control) = (0, 0);
        if m.is_special {
            (backslash, control) = specials(block);
            if backslash != 0 {
                self.last_backslash = base + backslash.ilog2() as usize;
                escaped = self.escapes(backslash, escaped, body.get(base..).unwrap_or_default())?;
            }
        }
        let quote = m.quote & !escaped;
        let in_string = prefix_xor(quote) ^ self.in_string;
        self.in_string = 0_u64.wrapping_sub(in_string >> 63);
        let mut white = m.space;
        if control != 0 {
            white |= blanks(block, control);
        }
        if control & in_string != 0 || backslash & !in_string != 0 {
            return Err(ScanError::Invalid);
        }
        let outside = !in_string;
        let operator = m.open | m.close | m.colon | m.comma;
        Ok(Block {
            opening: quote & in_string,
            closing: quote & outside,
            in_string,
            open: m.open & outside,
            close: m.close & outside,
            colon: m.colon & outside,
            comma: m.comma & outside,
            white: white & outside,
            scalar: outside & !(operator | white | quote),
        })
    }

    /// Which bytes are escaped, and whether each escape is one of JSON's. `text` begins with the block.
    fn escapes(&mut self, backslash: u64, mut escaped: u64, text: &[u8]) -> Result<u64, ScanError> {
        let mut rest = backslash;
        while rest != 0 {
            let at = rest.trailing_zeros();
            rest &= rest - 1;
            if escaped >> at & 1 == 1 {
                continue;
            }
            if at == 63 {
                self.escaped = 1;
            } else {
                escaped |= 2 << at;
            }
            match text.get(at as usize + 1..).unwrap_or_default() {
                [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => {}
                [b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) => {}
                _ => return Err(ScanError::Invalid),
            }
        }
        Ok(escaped)
    }
}

/// Tabs and line ends among the control bytes; the others are nobody's white space.
fn blanks(block: &[u8; 64], control: u64) -> u64 {
    let (mut blank, mut rest) = (0, control);
    while rest != 0 {
        let at = rest.trailing_zeros();
        rest &= rest - 1;
        let is_blank = matches!(block.get(at as usize), Some(b'\t' | b'\n' | b'\r'));
        blank |= u64::from(is_blank) << at;
    }
    blank
}
