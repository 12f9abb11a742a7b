//! Parameters of a query or a form: every value of one, and whether some servers find it where others do not.

use std::cmp::Ordering;

use zeroize::Zeroizing;

use crate::domain::cost;
use crate::domain::hex;

/// The name of an access token outside `Authorization` (RFC 6750 section 2.3).
const TOKEN_NAME: &[u8] = b"access_token";

/// The most white space around a name that is looked at, in bytes. No client sends so much; a name with more counts as
/// found.
const BLANKS_MAX: usize = 256;

/// Whether some server takes one of these `name=value` pairs for an access token.
#[must_use]
pub fn has_token_parameter(pairs: &[u8]) -> bool {
    cost::count(pairs.len());
    pairs
        .split(|byte| is_separator(*byte))
        .map(|pair| pair.split(|byte| *byte == b'=').next().unwrap_or_default())
        // No spelling is shorter than the name, and most names are.
        .any(|spelt| spelt.len() >= TOKEN_NAME.len() && may_be_read_as(spelt, TOKEN_NAME))
}

/// The search for a token in a form, in steps, so that a long form lets others go first in between.
pub(crate) struct FormSearch<'f> {
    rest: &'f [u8],
    /// The rest begins inside a pair whose name was looked at.
    is_inside: bool,
}

impl<'f> FormSearch<'f> {
    pub(crate) fn new(form: &'f [u8]) -> Self {
        Self {
            rest: form,
            is_inside: false,
        }
    }

    /// Goes through at most so many bytes more. Answers whether there is a token once that is known.
    pub(crate) fn advance(&mut self, bytes: usize) -> Option<bool> {
        let Some(slice) = self.rest.get(..bytes) else {
            return Some(has_token_parameter(self.pairs_of(self.rest)));
        };
        // A pair that is longer than the slice is known from its beginning.
        let end = memchr::memrchr2(b'&', b';', slice).map_or(bytes, |at| at + 1);
        let (some, rest) = self.rest.split_at_checked(end)?;
        let pairs = self.pairs_of(some);
        self.is_inside = !some.last().copied().is_some_and(is_separator);
        self.rest = rest;
        has_token_parameter(pairs).then_some(true)
    }

    /// The pairs that begin in this part.
    fn pairs_of(&self, part: &'f [u8]) -> &'f [u8] {
        if !self.is_inside {
            return part;
        }
        let first = memchr::memchr2(b'&', b';', part);
        first.and_then(|at| part.get(at..)).unwrap_or_default()
    }
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'&' | b';')
}

/// Every value of a parameter, percent-decoded. `+` stays itself: no write key has a space.
pub(crate) fn values<'q>(
    query: Option<&'q str>,
    name: &'q str,
) -> impl Iterator<Item = Zeroizing<Vec<u8>>> + 'q {
    raw_values(query, name).map(decoded)
}

/// Every value of a parameter, as it was sent.
pub(crate) fn raw_values<'q>(query: Option<&'q str>, name: &'q str) -> impl Iterator<Item = &'q str> + 'q {
    cost::count(query.map_or(0, str::len));
    query.unwrap_or_default().split('&').filter_map(move |pair| {
        let (held, value) = pair.split_once('=').unwrap_or((pair, ""));
        is_exactly(held, name).then_some(value)
    })
}

/// A value, percent-decoded.
pub(crate) fn decoded(value: &str) -> Zeroizing<Vec<u8>> {
    cost::count(value.len());
    Zeroizing::new(Decoded::of(value.as_bytes()).collect())
}

/// The longest value that is decoded, in bytes. A write key has a third of it where every byte of it is encoded.
const VALUE_BYTES_MAX: usize = 8192;

/// The search for values that some server takes for one of these parameters, in steps, so that a long form lets
/// others go first in between.
pub(crate) struct ValueSearch<'f, 'n> {
    rest: Option<&'f [u8]>,
    names: &'n [&'n str],
}

impl<'f, 'n> ValueSearch<'f, 'n> {
    pub(crate) fn new(pairs: &'f [u8], names: &'n [&'n str]) -> Self {
        Self {
            rest: Some(pairs),
            names,
        }
    }

    /// Goes through about so many bytes more, and hands each value to `found`: percent-decoded and without white space
    /// around it, `None` for one that is too long. Answers whether the end was reached.
    pub(crate) fn advance(&mut self, bytes: usize, mut found: impl FnMut(Option<&[u8]>)) -> bool {
        let mut done = 0;
        while let Some(rest) = self.rest {
            if done >= bytes {
                return false;
            }
            let end = memchr::memchr2(b'&', b';', rest);
            let (pair, rest) = match end.and_then(|at| rest.split_at_checked(at)) {
                Some((pair, rest)) => (pair, rest.get(1..)),
                None => (rest, None),
            };
            self.rest = rest;
            // The separator, the equals sign, and what a short pair costs apart from its bytes.
            cost::count(2 * pair.len() + 1);
            done += pair.len() + PAIR_BYTES;
            let Some((name, value)) = memchr::memchr(b'=', pair).and_then(|at| pair.split_at_checked(at))
            else {
                continue;
            };
            if self.names.iter().any(|wanted| is_named(name, wanted.as_bytes())) {
                hand_over(value.get(1..).unwrap_or_default(), &mut found);
            }
        }
        true
    }
}

/// What going through a pair costs, in bytes that could have been gone through meanwhile.
const PAIR_BYTES: usize = 16;

fn hand_over(value: &[u8], found: &mut impl FnMut(Option<&[u8]>)) {
    if value.len() > VALUE_BYTES_MAX {
        return found(None);
    }
    cost::count(value.len());
    let decoded: Zeroizing<Vec<u8>> = Zeroizing::new(Decoded::of(value).collect());
    let before_nul = decoded.split(|byte| *byte == 0).next().unwrap_or_default();
    found(Some(trimmed(before_nul)));
}

/// Whether some server takes a parameter of this spelling for `name`.
fn is_named(spelt: &[u8], name: &[u8]) -> bool {
    // No spelling is shorter than the name. Most names are of plain letters, and nothing has to be decoded to compare
    // them.
    match spelt.len().cmp(&name.len()) {
        Ordering::Less => false,
        Ordering::Equal if spelt.iter().all(u8::is_ascii_alphanumeric) => spelt.eq_ignore_ascii_case(name),
        _ => may_be_read_as(spelt, name),
    }
}

/// All such values of a text that is short.
#[cfg(test)]
fn values_in_any_spelling(pairs: &[u8], name: &str) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    ValueSearch::new(pairs, &[name]).advance(usize::MAX, |value| all.extend(value.map(<[u8]>::to_vec)));
    all
}

/// A value without the white space around it.
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [0..=b' ', rest @ ..] | [rest @ .., 0..=b' '] = value {
        value = rest;
    }
    value
}

/// Whether some servers find a parameter where others do not: behind a `;`, or under a name that is not
/// exactly this one and is read as it.
pub(crate) fn has_odd_spelling(query: Option<&str>, name: &str) -> bool {
    cost::count(query.map_or(0, |query| 2 * query.len()));
    query.unwrap_or_default().split('&').any(|pair| {
        let is_exact = is_exactly(name_of(pair), name);
        let has_semicolon = pair.contains(';');
        let mut parts = pair.split(';');
        (!is_exact || has_semicolon)
            && parts.any(|part| may_be_read_as(name_of(part).as_bytes(), name.as_bytes()))
    })
}

/// Whether some server takes a parameter of this spelling for `name`. They differ in letter case, in whether
/// the name ends at a NUL or a bracket, and in what they do with white space around it; and one makes `_` of
/// what its variables cannot have in their names.
fn may_be_read_as(spelt: &[u8], name: &[u8]) -> bool {
    let mut decoded = Decoded {
        rest: spelt,
        plus_is_space: true,
    };
    let is_it = decodes_to(&mut decoded, name);
    cost::count(spelt.len() - decoded.rest.len());
    is_it
}

/// Reads no further than needed: a name may be as long as the body.
fn decodes_to(decoded: &mut Decoded<'_>, name: &[u8]) -> bool {
    let as_variable = |byte: u8| match byte {
        b' ' | b'.' | b'[' => b'_',
        other => other.to_ascii_lowercase(),
    };
    let mut letters = decoded.take_while(|byte| *byte != 0);
    let Some(mut next) = behind_blanks(&mut letters, None) else {
        return true;
    };
    // The name up to a bracket, and the name of a variable.
    let (mut is_name, mut is_variable, mut is_ended_by_blank) = (true, true, false);
    for wanted in name.iter().map(u8::to_ascii_lowercase) {
        let Some(letter) = next else { return false };
        is_name &= letter.to_ascii_lowercase() == wanted && letter != b'[';
        is_variable &= as_variable(letter) == wanted;
        if !is_name && !is_variable {
            return false;
        }
        // One at the end of a name is none of its letters.
        is_ended_by_blank = is_blank(letter);
        next = letters.next();
    }
    match behind_blanks(&mut letters, next) {
        None => true,
        Some(None) => is_name || (is_variable && !is_ended_by_blank),
        Some(Some(b'[')) => is_name,
        Some(Some(_)) => false,
    }
}

/// Spaces and control bytes: servers differ in which of them they take for white space.
const fn is_blank(byte: u8) -> bool {
    byte <= b' '
}

/// The first byte that is no blank from `next` on, or the end of the text. `None` where there are too many blanks.
fn behind_blanks(letters: &mut impl Iterator<Item = u8>, next: Option<u8>) -> Option<Option<u8>> {
    match next.or_else(|| letters.next()) {
        Some(byte) if is_blank(byte) => letters
            .take(BLANKS_MAX + 1)
            .enumerate()
            .find(|(at, byte)| *at == BLANKS_MAX || !is_blank(*byte))
            .map_or(Some(None), |(at, byte)| (at < BLANKS_MAX).then_some(Some(byte))),
        other => Some(other),
    }
}

/// What stands before the first `=`.
fn name_of(pair: &str) -> &str {
    pair.split('=').next().unwrap_or_default()
}

/// Whether a name is this one, percent-decoded.
fn is_exactly(spelt: &str, name: &str) -> bool {
    let mut decoded = Decoded::of(spelt.as_bytes());
    let is_it = decoded.by_ref().eq(name.bytes());
    cost::count(spelt.len() - decoded.rest.len());
    is_it
}

/// The bytes of a percent-encoded text, one by one.
struct Decoded<'t> {
    rest: &'t [u8],
    /// A plus sign that stands in the text, not an encoded one.
    plus_is_space: bool,
}

impl<'t> Decoded<'t> {
    fn of(text: &'t [u8]) -> Self {
        Self {
            rest: text,
            plus_is_space: false,
        }
    }
}

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (byte, rest) = match self.rest {
            [b'%', high, low, rest @ ..]
                if let (Some(high), Some(low)) = (hex::digit(*high), hex::digit(*low)) =>
            {
                (high << 4 | low, rest)
            }
            [b'+', rest @ ..] if self.plus_is_space => (b' ', rest),
            [byte, rest @ ..] => (*byte, rest),
            [] => return None,
        };
        self.rest = rest;
        Some(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slow reading: everything is decoded first.
    fn may_be_read_as_slowly(spelt: &[u8], name: &[u8]) -> bool {
        fn trimmed(mut name: &[u8]) -> &[u8] {
            while let [0..=b' ', rest @ ..] | [rest @ .., 0..=b' '] = name {
                name = rest;
            }
            name
        }
        let spaced: Vec<u8> = spelt
            .iter()
            .map(|byte| if *byte == b'+' { b' ' } else { *byte })
            .collect();
        let decoded: Vec<u8> = Decoded::of(&spaced).collect();
        let held = trimmed(decoded.split(|byte| *byte == 0).next().unwrap());
        let before_bracket = trimmed(held.split(|byte| *byte == b'[').next().unwrap());
        let as_variable = |byte: &u8| match byte {
            b' ' | b'.' | b'[' => b'_',
            other => other.to_ascii_lowercase(),
        };
        before_bracket.eq_ignore_ascii_case(name)
            || held
                .iter()
                .map(as_variable)
                .eq(name.iter().map(u8::to_ascii_lowercase))
    }

    /// Every text of up to five pieces, of those that the rules tell apart.
    #[test]
    fn names_are_told_as_if_everything_was_decoded() {
        const PIECES: [&str; 9] = ["a", "_", "+", "%00", "%1f", "[", ".", "%41", "%5f"];
        for name in ["a", "a_", "a_a", "_a", "A"] {
            for mut number in 0..9_usize.pow(5) {
                let mut text = String::new();
                while number > 0 {
                    text.push_str(PIECES[number % 9]);
                    number /= 9;
                }
                assert_eq!(
                    may_be_read_as(text.as_bytes(), name.as_bytes()),
                    may_be_read_as_slowly(text.as_bytes(), name.as_bytes()),
                    "{text} {name}"
                );
            }
        }
    }

    #[test]
    fn name_behind_endless_blanks_counts_as_found() {
        for blank in ["+", "%20", "%0a"] {
            let blanks = blank.repeat(BLANKS_MAX);
            assert!(has_odd_spelling(Some(&format!("{blanks}b=x")), "b"));
            assert!(has_odd_spelling(Some(&format!("b{blanks}=x")), "b"));
            assert!(!has_odd_spelling(Some(&format!("{blanks}c=x")), "b"));
            let more = blank.repeat(BLANKS_MAX + 1);
            assert!(has_odd_spelling(Some(&format!("{more}c=x")), "b"));
            assert!(!has_odd_spelling(Some(&format!("c{more}=x")), "b"));
        }
    }

    #[test]
    fn form_is_searched_alike_in_steps_of_any_size() {
        for form in [
            "a=1&access_token=x&b=2",
            "access_token",
            "a;b;;access_token=",
            "a=access_token&b",
            "access_tokenaccess_token&c&",
            "++access_token[0]=x&c",
            "",
            "a=1&b=access_token;c",
        ] {
            let whole = has_token_parameter(form.as_bytes());
            // Shorter than a name, a step would not tell a pair from its beginning.
            for bytes in 18..40 {
                let mut search = FormSearch::new(form.as_bytes());
                let found = std::iter::repeat_with(|| search.advance(bytes)).find_map(|found| found);
                assert_eq!(found, Some(whole), "{form} {bytes}");
            }
        }
    }

    #[test]
    fn values_are_decoded_and_all_of_them_seen() {
        let values: Vec<_> = values(Some("a=1&b=x%3D%3d&%62=y&bb=z"), "b")
            .map(|v| v.to_vec())
            .collect();
        assert_eq!(values, [b"x==".to_vec(), b"y".to_vec()]);
    }

    #[test]
    fn parameters_that_only_some_servers_find_are_odd() {
        for odd in [
            "B=x",
            "b[]=x",
            "b%5b0%5d=x",
            "a=1;b=x",
            "b=x;a=1",
            "%20b=x",
            "+b=x",
            "++b=x",
            "+%20b=x",
            "%20+b=x",
            "b+=x",
            "%0bb=x",
            "b%00=x",
            "b%00[]=x",
            "a&%42=x",
        ] {
            assert!(has_odd_spelling(Some(odd), "b"), "{odd}");
        }
        for plain in [
            "", "b=x", "%62=x", "a=b", "bb=x", "a;c", "c=b;d", "b", "%2bb=x", ".b=x", "b_=x",
        ] {
            assert!(!has_odd_spelling(Some(plain), "b"), "{plain}");
        }
    }

    #[test]
    fn values_under_any_spelling_are_found() {
        for query in [
            "writeKey=k",
            "a=b&WRITEKEY=k",
            "a=b;writekey=k",
            "%77riteKey=%6b",
            "writeKey[]=k",
            "+writeKey=%20k%0d",
            "writeKey=k%00more",
        ] {
            let found = values_in_any_spelling(query.as_bytes(), "writeKey");
            assert!(found.iter().any(|value| value.as_slice() == b"k"), "{query}");
        }
        for query in ["", "writeKey", "writeKeys=k", "write-key=k", "a=writeKey=k"] {
            assert_eq!(
                values_in_any_spelling(query.as_bytes(), "writeKey"),
                [b""; 0],
                "{query}"
            );
        }
    }

    #[test]
    fn values_are_found_alike_in_steps_of_any_size() {
        let form = b"a=1&writeKey=k&&b;writekey=%6c=&writeKey&c=writeKey=m&WRITEKEY[]=n";
        let whole = values_in_any_spelling(form, "writeKey");
        assert_eq!(whole, [b"k".to_vec(), b"l=".to_vec(), b"n".to_vec()]);
        for bytes in 1..80 {
            let (mut search, mut found) = (ValueSearch::new(form, &["writeKey"]), Vec::new());
            while !search.advance(bytes, |value| found.extend(value.map(<[u8]>::to_vec))) {}
            assert_eq!(found, whole, "{bytes}");
        }
    }

    #[test]
    fn value_longer_than_any_write_key_is_not_decoded() {
        let form = format!("writeKey={}", "%20".repeat(VALUE_BYTES_MAX));
        let mut found = Vec::new();
        ValueSearch::new(form.as_bytes(), &["writeKey"])
            .advance(usize::MAX, |value| found.push(value.is_some()));
        assert_eq!(found, [false]);
    }

    #[test]
    fn names_that_become_one_variable_are_odd() {
        for odd in ["write.key=x", "write+key=x", "Write%20Key=x", "write[key=x"] {
            assert!(has_odd_spelling(Some(odd), "write_key"), "{odd}");
        }
        for plain in ["write-key=x", "writekey=x", "write=x"] {
            assert!(!has_odd_spelling(Some(plain), "write_key"), "{plain}");
        }
        assert!(!has_odd_spelling(Some("write_key=x"), "write_key"));
    }

    #[test]
    fn tokens_are_found_in_every_spelling() {
        for with in [
            "access_token=x",
            "ACCESS_TOKEN",
            "a=b&access%5Ftoken=x",
            "++access_token=x",
            "access.token=x",
            "access_token[]=x",
            "a=1;access_token=x",
        ] {
            assert!(has_token_parameter(with.as_bytes()), "{with}");
        }
        for without in ["", "a=access_token", "access_tokens=x", "my_access_token=x"] {
            assert!(!has_token_parameter(without.as_bytes()), "{without}");
        }
    }
}
