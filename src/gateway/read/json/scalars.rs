//! Literals and numbers of a JSON text (RFC 8259 sections 3 and 6).

/// The longest number accepted, in bytes. Widespread parsers refuse longer ones (Jackson from 1,001 on).
pub const NUMBER_BYTES_MAX: usize = 1000;

/// The length of the literal or number of JSON that `text` begins with, if it ends where it must.
pub(crate) fn scalar(text: &[u8]) -> Option<usize> {
    let after = match text {
        [b't', b'r', b'u', b'e', rest @ ..]
        | [b'n', b'u', b'l', b'l', rest @ ..]
        | [b'f', b'a', b'l', b's', b'e', rest @ ..] => rest,
        _ => after_number(text)?,
    };
    let length = text.len() - after.len();
    let is_ended = matches!(
        after,
        [] | [b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r', ..]
    );
    (is_ended && length <= NUMBER_BYTES_MAX).then_some(length)
}

/// What follows the number that `text` begins with.
fn after_number(text: &[u8]) -> Option<&[u8]> {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let mut rest = match text {
        [b'0', rest @ ..] => rest,
        _ => after_digits(text)?,
    };
    if let [b'.', fraction @ ..] = rest {
        rest = after_digits(fraction)?;
    }
    match rest {
        [b'e' | b'E', b'+' | b'-', exponent @ ..] | [b'e' | b'E', exponent @ ..] => after_digits(exponent),
        _ => Some(rest),
    }
}

/// What follows at least one digit.
fn after_digits(text: &[u8]) -> Option<&[u8]> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 { None } else { text.get(digits..) }
}
