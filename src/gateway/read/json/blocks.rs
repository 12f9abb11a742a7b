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
    /// The first bytes of the next block that must be the digits of a `\u`.
    hex_wanted: u64,
    /// All ones inside a string.
    in_string: u64,
    /// Where the first block begins that is not ASCII, or what was not yet checked to be UTF-8 since then.
    pub(crate) wide_from: Option<usize>,
    /// Where the last backslash stands of the blocks classed so far; 0 without one.
    pub(crate) last_backslash: usize,
}

/// So many escapes of a block are looked at one by one.
const ESCAPES_FEW: usize = 4;

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
        let is = |byte: u8| is(v, byte);
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

/// One bit for each byte of a block for which `is` holds.
#[inline(always)]
fn bits(block: &[u8; 64], is: impl Fn(u8x32) -> u8x32) -> u64 {
    let (lanes, _) = block.as_chunks::<32>();
    let lanes = lanes.iter().enumerate();
    lanes.fold(0, |all, (lane, bytes)| {
        all | u64::from(is(u8x32::new(*bytes)).to_bitmask()) << (lane * 32)
    })
}

#[inline(always)]
fn is(v: u8x32, byte: u8) -> u8x32 {
    v.simd_eq(u8x32::splat(byte))
}

#[inline(always)]
fn is_at_most(v: u8x32, byte: u8) -> u8x32 {
    v.min(u8x32::splat(byte)).simd_eq(v)
}

/// The letters that may follow a backslash (RFC 8259 section 7).
fn escapable(block: &[u8; 64]) -> u64 {
    bits(block, |v| {
        let simple = is(v, b'"') | is(v, b'\\') | is(v, b'/') | is(v, b'b') | is(v, b'f');
        simple | is(v, b'n') | is(v, b'r') | is(v, b't') | is(v, b'u')
    })
}

fn hex_digits(block: &[u8; 64]) -> u64 {
    bits(block, |v| {
        let letter = (v | u8x32::splat(0x20)) - u8x32::splat(b'a');
        is_at_most(v - u8x32::splat(b'0'), 9) | is_at_most(letter, 5)
    })
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
    /// Classes the block that stands at `base` of the body. Its last bytes may be spaces that the body has not.
    #[inline(always)]
    pub(crate) fn class(&mut self, block: &[u8; 64], base: usize) -> Result<Block, ScanError> {
        let m = masks(block);
        if m.is_wide && self.wide_from.is_none() {
            self.wide_from = Some(base);
        }
        let (mut escaped, mut control, mut backslash, mut white) = (0, 0, 0, m.space);
        if m.is_special || self.escaped | self.hex_wanted != 0 {
            control = bits(block, |v| is_at_most(v, 0x1f));
            if control != 0 {
                // The other control bytes are nobody's white space.
                white |= bits(block, |v| is(v, b'\t') | is(v, b'\n') | is(v, b'\r'));
            }
            backslash = bits(block, |v| is(v, b'\\'));
            if backslash != 0 {
                self.last_backslash = base + backslash.ilog2() as usize;
            }
            if backslash | self.escaped | self.hex_wanted != 0 {
                escaped = self.escapes(block, backslash)?;
            }
        }
        let quote = m.quote & !escaped;
        let in_string = prefix_xor(quote) ^ self.in_string;
        self.in_string = 0_u64.wrapping_sub(in_string >> 63);
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

    /// Which bytes are escaped, where each escape is one of JSON's. The work is the same for any number of them.
    fn escapes(&mut self, block: &[u8; 64], backslash: u64) -> Result<u64, ScanError> {
        const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
        let carried = std::mem::take(&mut self.escaped);
        // In a run of backslashes every other one escapes. Subtracting a run's first bit from the odd bits finds
        // which, with a borrow that goes to the run's end.
        let escaping = backslash & !carried;
        let alternating = ((escaping << 1) | ODD).wrapping_sub(escaping) ^ ODD;
        let escaped = alternating ^ (backslash | carried);
        self.escaped = (alternating & backslash) >> 63;
        let (mut unicode, mut rest) = (0, escaped);
        // A text has few of them in a block: those are quicker to look at one by one.
        for _ in 0..ESCAPES_FEW {
            if rest == 0 {
                break;
            }
            match block.get(rest.trailing_zeros() as usize) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                Some(b'u') => unicode |= rest & rest.wrapping_neg(),
                _ => return Err(ScanError::Invalid),
            }
            rest &= rest - 1;
        }
        if rest != 0 {
            if rest & !escapable(block) != 0 {
                return Err(ScanError::Invalid);
            }
            unicode |= rest & bits(block, |v| is(v, b'u'));
        }
        if unicode | self.hex_wanted != 0 {
            let unicode = u128::from(unicode);
            let digits = unicode << 1 | unicode << 2 | unicode << 3 | unicode << 4;
            #[expect(clippy::cast_possible_truncation, reason = "the half that is meant")]
            let (here, behind) = (digits as u64 | self.hex_wanted, (digits >> 64) as u64);
            self.hex_wanted = behind;
            if here & !hex_digits(block) != 0 {
                return Err(ScanError::Invalid);
            }
        }
        Ok(escaped)
    }
}
