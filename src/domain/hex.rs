//! Hexadecimal digits.

/// The value of a hexadecimal digit, in either case.
#[must_use]
pub fn digit(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// Bytes as lower-case hexadecimal digits.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|value| char::from_digit(value.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_encoded_and_digits_are_read_back() {
        for byte in 0..=u8::MAX {
            let text = encode(&[byte]);
            let digits: Vec<u8> = text.to_uppercase().bytes().filter_map(digit).collect();
            assert_eq!(digits, [byte >> 4, byte & 15], "{text}");
        }
        assert_eq!(encode(b"\x00\xff\x0a"), "00ff0a");
        assert_eq!([b'g', b'G', b' ', 0xb2].map(digit), [None; 4]);
    }
}
