//! Parameters of a query or a form: every value of one, and whether some server finds it where others do not.

use zeroize::Zeroizing;

/// The name of an access token outside `Authorization` (RFC 6750 section 2.3).
const TOKEN_NAME: &[u8] = b"access_token";

/// Whether one of these `name=value` pairs is an access token, to us or to somebody.
#[must_use]
pub fn has_token_parameter(pairs: &[u8]) -> bool {
    pairs
        .split(|byte| matches!(byte, b'&' | b';'))
        .map(|pair| pair.split(|byte| *byte == b'=').next().unwrap_or_default())
        // No spelling is shorter than the name, and most names are.
        .any(|spelt| spelt.len() >= TOKEN_NAME.len() && is_it_to_somebody(spelt, TOKEN_NAME))
}

/// Every value of a parameter, percent-decoded. `+` stays itself: no write key has a space.
pub(crate) fn values<'q>(
    query: Option<&'q str>,
    name: &'q str,
) -> impl Iterator<Item = Zeroizing<Vec<u8>>> + 'q {
    query.unwrap_or_default().split('&').filter_map(move |pair| {
        let (held, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decode(held.as_bytes()).as_slice() == name.as_bytes())
            .then(|| Zeroizing::new(percent_decode(value.as_bytes())))
    })
}

/// Every value that some server takes for one of a parameter, percent-decoded and without white space around it:
/// under any spelling of its name, between `&` or `;`.
pub(crate) fn values_to_somebody<'q>(
    pairs: &'q [u8],
    name: &'q str,
) -> impl Iterator<Item = Zeroizing<Vec<u8>>> + 'q {
    let name = name.as_bytes();
    pairs
        .split(|byte| matches!(byte, b'&' | b';'))
        .filter_map(move |pair| {
            let at = pair.iter().position(|byte| *byte == b'=')?;
            let (spelt, value) = pair.split_at_checked(at)?;
            // Most names are of plain letters, and nothing has to be decoded to compare them.
            let is_it = match spelt.iter().all(u8::is_ascii_alphanumeric) {
                true => spelt.eq_ignore_ascii_case(name),
                false => is_it_to_somebody(spelt, name),
            };
            let decoded =
                is_it.then(|| Zeroizing::new(percent_decode(value.get(1..).unwrap_or_default())))?;
            let before_nul = decoded.split(|byte| *byte == 0).next().unwrap_or_default();
            Some(Zeroizing::new(trimmed(before_nul).to_vec()))
        })
}

/// Whether some servers find a parameter where others do not: behind a `;`, or under a name that is not
/// exactly this one and is read as it.
pub(crate) fn has_odd_spelling(query: Option<&str>, name: &str) -> bool {
    query.unwrap_or_default().split('&').any(|pair| {
        let is_exact = percent_decode(name_of(pair).as_bytes()) == name.as_bytes();
        let has_semicolon = pair.contains(';');
        let mut parts = pair.split(';');
        (!is_exact || has_semicolon)
            && parts.any(|part| is_it_to_somebody(name_of(part).as_bytes(), name.as_bytes()))
    })
}

/// Whether some server takes a parameter of this spelling for `name`. They differ in letter case, in whether
/// the name ends at a NUL or a bracket, and in what they do with white space around it; and one makes `_` of
/// what its variables cannot have in their names.
fn is_it_to_somebody(spelt: &[u8], name: &[u8]) -> bool {
    // Before anything is decoded: an encoded plus sign is none of the spaces.
    let spaced: Vec<u8> = spelt
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    let decoded = percent_decode(&spaced);
    let held = trimmed(decoded.split(|byte| *byte == 0).next().unwrap_or_default());
    let before_bracket = trimmed(held.split(|byte| *byte == b'[').next().unwrap_or_default());
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

/// Without the spaces and control bytes around it, of which each server knows others as white space.
fn trimmed(mut name: &[u8]) -> &[u8] {
    while let [0..=b' ', rest @ ..] | [rest @ .., 0..=b' '] = name {
        name = rest;
    }
    name
}

/// What stands before the first `=`.
fn name_of(pair: &str) -> &str {
    pair.split('=').next().unwrap_or_default()
}

fn percent_decode(mut rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rest.len());
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%'
            && let (Some(high), Some(low)) = (rest.first().and_then(hex), rest.get(1).and_then(hex))
        {
            out.push(high << 4 | low);
            rest = rest.get(2..).unwrap_or_default();
        } else {
            out.push(*first);
        }
    }
    out
}

pub(crate) fn hex(digit: &u8) -> Option<u8> {
    char::from(*digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let found: Vec<_> = values_to_somebody(query.as_bytes(), "writeKey").collect();
            assert!(found.iter().any(|value| value.as_slice() == b"k"), "{query}");
        }
        for query in ["", "writeKey", "writeKeys=k", "write-key=k", "a=writeKey=k"] {
            assert_eq!(
                values_to_somebody(query.as_bytes(), "writeKey").count(),
                0,
                "{query}"
            );
        }
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
