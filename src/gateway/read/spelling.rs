//! Header names that some servers take for one another.

/// Whether two header names, or the beginnings of two, are one to a server that keeps only their letters and digits.
/// Servers that map headers to variables write `_` for every other byte: to them `X.Key`, `X_Key` and `X-Key` are one.
#[must_use]
pub fn is_spelt_alike(one: &str, other: &str) -> bool {
    letters(one).eq(letters(other))
}

/// What follows in `name` the letters and digits of `prefix`, or `None` where it begins otherwise.
#[must_use]
pub fn after_prefix<'n>(name: &'n str, prefix: &str) -> Option<&'n str> {
    let mut wanted = letters(prefix);
    let mut next = wanted.next();
    for (at, byte) in name.bytes().enumerate() {
        let Some(letter) = next else {
            return name.get(at..);
        };
        if byte.is_ascii_alphanumeric() {
            if byte.to_ascii_lowercase() != letter {
                return None;
            }
            next = wanted.next();
        }
    }
    next.is_none().then_some("")
}

/// The letters and digits of a name, in lower case.
pub fn letters(name: &str) -> impl Iterator<Item = u8> + '_ {
    let bytes = name.bytes().filter(u8::is_ascii_alphanumeric);
    bytes.map(|byte| byte.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_by_letters_and_digits_alone() {
        for (one, other) in [
            ("x-key", "x_key"),
            ("x-key", "X.Key"),
            ("x-key", "x~key!"),
            ("x-key", "xkey"),
        ] {
            assert!(is_spelt_alike(one, other), "{one} {other}");
        }
        for (one, other) in [("x-key", "x-keys"), ("x-key", "y-key"), ("x-key", "x-ke")] {
            assert!(!is_spelt_alike(one, other), "{one} {other}");
        }
    }

    #[test]
    fn prefix_is_found_in_any_spelling() {
        assert_eq!(after_prefix("x.key.id", "x-key"), Some(".id"));
        assert_eq!(after_prefix("-x-keyid", "x-key-"), Some("id"));
        assert_eq!(after_prefix("x-key", "x-key-"), Some(""));
        assert_eq!(after_prefix("x-ke", "x-key"), None);
        assert_eq!(after_prefix("y-key", "x-key"), None);
    }
}
