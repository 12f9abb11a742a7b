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

/// What else a block has that holds a backslash, a control byte or the rest of an escape.
struct Specials {
    backslash: u64,
    /// Bytes below 0x20.
    control: u64,
    /// Tabs and line ends; the other control bytes are nobody's white space.
    blank: u64,
    /// The letters that may follow a backslash (RFC 8259 section 7).
    escapable: u64,
    unicode: u64,
    hex: u64,
}

#[inline(never)]
fn specials(block: &[u8; 64]) -> Specials {
    let mut out = Specials {
        backslash: 0,
        control: 0,
        blank: 0,
        escapable: 0,
        unicode: 0,
        hex: 0,
    };
    let (lanes, _) = block.as_chunks::<32>();
    for (lane, bytes) in lanes.iter().enumerate() {
        let v = u8x32::new(*bytes);
        let is = |byte: u8| v.simd_eq(u8x32::splat(byte));
        let at_most = |v: u8x32, byte: u8| v.min(u8x32::splat(byte)).simd_eq(v);
        let bits = |mask: u8x32| u64::from(mask.to_bitmask()) << (lane * 32);
        let digit = at_most(v - u8x32::splat(b'0'), 9);
        let letter = at_most((v | u8x32::splat(0x20)) - u8x32::splat(b'a'), 5);
        let simple = is(b'"') | is(b'\\') | is(b'/') | is(b'b') | is(b'f') | is(b'n') | is(b'r') | is(b't');
        out.backslash |= bits(is(b'\\'));
        out.control |= bits(at_most(v, 0x1f));
        out.blank |= bits(is(b'\t') | is(b'\n') | is(b'\r'));
        out.escapable |= bits(simple | is(b'u'));
        out.unicode |= bits(is(b'u'));
        out.hex |= bits(digit | letter);
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

impl Classifier {
    /// Classes the block that stands at `base` of the body. Its last bytes may be spaces that the body has not.
    #[inline(always)]
    pub(crate) fn class(&mut self, block: &[u8; 64], base: usize) -> Result<Block, ScanError> {
        let m = masks(block);
        if m.is_wide && self.wide_from.is_none() {
            self.wide_from = Some(base);
        }
        let (mut escaped, mut control, mut blank, mut backslash) = (0, 0, 0, 0);
        if m.is_special || self.escaped | self.hex_wanted != 0 {
            let special = specials(block);
            escaped = self.escapes(&special)?;
            (control, blank, backslash) = (special.control, special.blank, special.backslash);
            if backslash != 0 {
                self.last_backslash = base + backslash.ilog2() as usize;
            }
        }
        let quote = m.quote & !escaped;
        let in_string = prefix_xor(quote) ^ self.in_string;
        self.in_string = 0_u64.wrapping_sub(in_string >> 63);
        if control & in_string != 0 || backslash & !in_string != 0 {
            return Err(ScanError::Invalid);
        }
        let white = m.space | blank;
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
    fn escapes(&mut self, special: &Specials) -> Result<u64, ScanError> {
        const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
        let carried = std::mem::take(&mut self.escaped);
        // In a run of backslashes every other one escapes. Subtracting a run's first bit from the odd bits finds
        // which, with a borrow that goes to the run's end.
        let escaping = special.backslash & !carried;
        let alternating = ((escaping << 1) | ODD).wrapping_sub(escaping) ^ ODD;
        let escaped = alternating ^ (special.backslash | carried);
        self.escaped = (alternating & special.backslash) >> 63;
        let unicode = u128::from(special.unicode & escaped);
        let digits = unicode << 1 | unicode << 2 | unicode << 3 | unicode << 4;
        #[expect(clippy::cast_possible_truncation, reason = "the half that is meant")]
        let (here, behind) = (digits as u64 | self.hex_wanted, (digits >> 64) as u64);
        self.hex_wanted = behind;
        if escaped & !special.escapable != 0 || here & !special.hex != 0 {
            return Err(ScanError::Invalid);
        }
        Ok(escaped)
    }
}
