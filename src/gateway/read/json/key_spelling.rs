//! What some parser would take a key of a JSON object for, known from its first bytes.
//!
//! A key may be as long as the body. But the keys that matter are short, and what follows them either ends the key
//! or makes it another one: so [`KEY_BYTES_READ`] bytes are always enough, escapes and all.

use super::scan_error::ScanError;

/// The most bytes of a key that are looked at. `writeKey` written in escapes has 48, and a surrogate pair or a NUL
/// behind it at most 12 more.
const KEY_BYTES_READ: usize = 64;

/// What some parser takes a key for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// None of those that matter.
    Other,
    Batch,
    WriteKey {
        /// Every parser reads exactly `writeKey`.
        is_exact: bool,
    },
}

/// What some parser takes a key for, and how many bytes were looked at to know it. `text` begins behind the key's
/// opening quote.
///
/// Many parsers compare without letter case, and those that fold it as Unicode does take the Kelvin sign for a `k`
/// (Go's), and an `i` without its dot or with one too many for an `i` (Java's). Those whose texts end at a NUL see
/// no further.
///
/// # Errors
/// Half of a surrogate pair stands where it matters: some parsers drop it and see one of the keys.
pub(crate) fn spelling(text: &[u8]) -> Result<(Spelling, usize), ScanError> {
    let mut letters = Letters::of(text.get(..KEY_BYTES_READ).unwrap_or(text));
    let (mut is_write_key, mut is_batch, mut is_exact) = (true, true, true);
    let mut at = 0;
    while is_write_key || is_batch {
        let letter = letters.next()?;
        let Some(letter) = letter.filter(|letter| *letter != '\0') else {
            let is_exact = is_exact && letter.is_none();
            let spelling = match at {
                8 if is_write_key => Spelling::WriteKey { is_exact },
                5 if is_batch => Spelling::Batch,
                _ => Spelling::Other,
            };
            return Ok((spelling, letters.read()));
        };
        let folded = folded(letter);
        is_write_key &= b"writekey".get(at).copied() == folded;
        is_batch &= b"batch".get(at).copied() == folded;
        is_exact &= b"writeKey".get(at).copied().map(char::from) == Some(letter);
        at += 1;
    }
    Ok((Spelling::Other, letters.read()))
}

/// The ASCII letter, in lower case, that some parser takes this one for.
fn folded(letter: char) -> Option<u8> {
    match letter {
        '\u{130}' | '\u{131}' => Some(b'i'),
        '\u{212a}' => Some(b'k'),
        letter => u8::try_from(letter).ok().map(|byte| byte.to_ascii_lowercase()),
    }
}

/// The characters of a JSON string one by one, from behind its opening quote to its closing one.
pub(crate) struct Letters<'t> {
    text: &'t [u8],
    rest: &'t [u8],
}

impl<'t> Letters<'t> {
    pub(crate) fn of(text: &'t [u8]) -> Self {
        Self { text, rest: text }
    }

    /// The next character, `None` at the string's end.
    ///
    /// # Errors
    /// No character of JSON, half of a surrogate pair among them.
    pub(crate) fn next(&mut self) -> Result<Option<char>, ScanError> {
        let (letter, rest) = match self.rest {
            [] | [b'"', ..] => return Ok(None),
            [b'\\', rest @ ..] => escape(rest).ok_or(ScanError::Invalid)?,
            [first, rest @ ..] if first.is_ascii() => (char::from(*first), rest),
            wide => {
                // No character is longer.
                let valid = wide.get(..4).unwrap_or(wide).utf8_chunks().next();
                let letter = valid.and_then(|chunk| chunk.valid().chars().next());
                let letter = letter.ok_or(ScanError::Invalid)?;
                (letter, wide.get(letter.len_utf8()..).unwrap_or_default())
            }
        };
        self.rest = rest;
        Ok(Some(letter))
    }

    /// Whether the closing quote is what comes next.
    pub(crate) fn is_closed(&self) -> bool {
        self.rest.first() == Some(&b'"')
    }

    /// How many bytes the characters so far have.
    pub(crate) fn read(&self) -> usize {
        self.text.len() - self.rest.len()
    }
}

/// The character of an escape that begins behind its backslash, and what follows it.
fn escape(text: &[u8]) -> Option<(char, &[u8])> {
    let (kind, rest) = text.split_first()?;
    let letter = match kind {
        b'"' | b'\\' | b'/' => char::from(*kind),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let (unit, rest) = unit(rest)?;
            let Some(low) = rest
                .strip_prefix(b"\\u")
                .filter(|_| (0xd800..0xdc00).contains(&unit))
            else {
                return Some((char::from_u32(unit)?, rest));
            };
            let (low, rest) = self::unit(low)?;
            let low = low.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
            return Some((char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + low)?, rest));
        }
        _ => return None,
    };
    Some((letter, rest))
}

/// Four hexadecimal digits, and what follows them.
fn unit(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(4)?;
    let digit = |sum: u32, digit: &u8| Some(sum << 4 | char::from(*digit).to_digit(16)?);
    Some((digits.iter().try_fold(0, digit)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelt(key: &str) -> Result<Spelling, ScanError> {
        spelling(format!("{key}\":1}}").as_bytes()).map(|(spelling, _)| spelling)
    }

    #[test]
    fn key_is_known_from_its_first_64_bytes() {
        let exact = r"\u0077\u0072\u0069\u0074\u0065\u004b\u0065\u0079";
        assert_eq!(spelt(exact), Ok(Spelling::WriteKey { is_exact: true }));
        for tail in [r"\u0000", r"\u0000\ud83d\ude00", "\0"] {
            let long = format!("{exact}{tail}{}", r"\n".repeat(100));
            assert_eq!(spelt(&long), Ok(Spelling::WriteKey { is_exact: false }), "{tail}");
        }
        for tail in ["x", r"\n", r"\ud83d\ude00", "\u{10ffff}", r"\u0001"] {
            let long = format!("{exact}{tail}{}", r"\n".repeat(1_000_000));
            let (spelling, read) = spelling(long.as_bytes()).unwrap();
            assert!(
                spelling == Spelling::Other && read <= KEY_BYTES_READ,
                "{tail} {read}"
            );
        }
    }

    #[test]
    fn half_of_a_surrogate_pair_is_refused_where_it_matters() {
        for bad in [
            r"\ud800writeKey",
            r"write\udc00Key",
            r"writeKey\ud800",
            r"bat\ud800\ud800ch",
            r"\ud800\n",
        ] {
            assert_eq!(spelt(bad), Err(ScanError::Invalid), "{bad}");
        }
        for other in [r"x\ud800", r"writeKez\ud800", r"\ud83d\ude00\ud800"] {
            assert_eq!(spelt(other), Ok(Spelling::Other), "{other}");
        }
    }

    #[test]
    fn escapes_are_the_characters_that_they_stand_for() {
        for other in [r"\batch", r"b\u0041tc", "", r"\u0000", "batc"] {
            assert_eq!(spelt(other), Ok(Spelling::Other), "{other}");
        }
        for batch in ["batch", r"\u0062atch", "BATCH", r"batch\u0000"] {
            assert_eq!(spelt(batch), Ok(Spelling::Batch), "{batch}");
        }
    }
}
