//! The bytes of a JSON text that matter, found 64 at a time: the first stage of the body scanner.
//!
//! Which bytes are inside strings follows from the quotes and backslashes of a block and one bit carried
//! from the block before; what is outside is classed by comparing whole blocks. The text's grammar is the
//! second stage's business, but a control byte in a string, a backslash outside one and an escape that
//! JSON does not have are refused here.

use wide::u8x16;

use super::scan::ScanError;

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

/// The bytes that matter, one after the other: operators outside strings, the opening quotes of strings,
/// the first bytes of numbers and literals. What stands between them was checked on the way.
pub(super) struct Tokens<'b> {
    body: &'b [u8],
    /// Tokens of the current block not yet given out.
    bits: u64,
    /// Where the current block begins.
    base: usize,
    /// Where the next one does.
    next: usize,
    carry: Carry,
    /// A backslash stood in a block that ends here or before.
    pub(super) last_backslash: usize,
}

impl<'b> Tokens<'b> {
    pub(super) fn new(body: &'b [u8]) -> Self {
        Self {
            body,
            bits: 0,
            base: 0,
            next: 0,
            carry: Carry::default(),
            last_backslash: 0,
        }
    }

    /// The next token's place and byte; at the end, the end and a zero byte, which is nobody's token.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Result<(usize, u8), ScanError> {
        while self.bits == 0 {
            if self.next >= self.body.len() {
                return match self.carry.in_string {
                    0 => Ok((self.body.len(), 0)),
                    _ => Err(ScanError::Invalid),
                };
            }
            self.block()?;
        }
        let at = self.base + self.bits.trailing_zeros() as usize;
        self.bits &= self.bits - 1;
        Ok((at, self.body.get(at).copied().unwrap_or(0)))
    }

    fn block(&mut self) -> Result<(), ScanError> {
        let mut padded = [b' '; 64];
        let rest = self.body.get(self.next..).unwrap_or_default();
        let block = match rest.first_chunk::<64>() {
            Some(block) => block,
            None => {
                // Spaces after the end change nothing.
                for (to, from) in padded.iter_mut().zip(rest) {
                    *to = *from;
                }
                &padded
            }
        };
        self.base = self.next;
        self.next += 64;
        let m = masks(block);
        let escaped = if m.backslash == 0 {
            std::mem::take(&mut self.carry.escaped)
        } else {
            self.last_backslash = self.base + 63;
            self.escapes(m.backslash)?
        };
        let quote = m.quote & !escaped;
        let in_string = prefix_xor(quote) ^ self.carry.in_string;
        self.carry.in_string = 0_u64.wrapping_sub(in_string >> 63);
        if m.control & in_string != 0 || m.backslash & !in_string != 0 {
            return Err(ScanError::Invalid);
        }
        let mut white = m.space;
        if m.control != 0 {
            white |= blank_controls(block, m.control);
        }
        let scalar = !(m.operator | white | quote | in_string);
        let scalar_start = scalar & !(scalar << 1 | self.carry.scalar);
        self.carry.scalar = scalar >> 63;
        self.bits = (m.operator & !in_string) | (quote & in_string) | scalar_start;
        Ok(())
    }

    /// Which bytes are escaped, and whether each escape is one of JSON's.
    #[cold]
    fn escapes(&mut self, backslash: u64) -> Result<u64, ScanError> {
        let mut escaped = std::mem::take(&mut self.carry.escaped);
        let mut rest = backslash;
        while rest != 0 {
            let at = rest.trailing_zeros();
            rest &= rest - 1;
            if escaped >> at & 1 == 1 {
                continue;
            }
            if at == 63 {
                self.carry.escaped = 1;
            } else {
                escaped |= 2 << at;
            }
            let tail = self.body.get(self.base + at as usize + 1..).unwrap_or_default();
            match tail {
                [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => {}
                [b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) => {}
                _ => return Err(ScanError::Invalid),
            }
        }
        Ok(escaped)
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
