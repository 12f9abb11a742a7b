//! Header names that some servers take for one another.

/// Whether two header names are one to a server that maps headers to variables and cannot tell `_` from
/// `-` then.
#[must_use]
pub fn is_spelt_alike(one: &str, other: &str) -> bool {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte };
    one.len() == other.len() && one.bytes().zip(other.bytes()).all(|(a, b)| plain(a) == plain(b))
}
