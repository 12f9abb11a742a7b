//! Errors of the YAML reader as sentences, without the values they quote: any of them may be a secret.

use serde_saphyr::Error;

/// The longest text in quotes that a sentence keeps: a character or two of YAML's own.
const QUOTED_MAX: usize = 3;

/// The longest key that is named. Ours are words of letters; a secret pasted in the place of one is not.
const KEY_MAX: usize = 32;

/// The error as a sentence.
pub(crate) fn sentence(error: &Error) -> String {
    match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => sentence(error),
        Error::SerdeInvalidType {
            unexpected, expected, ..
        } => format!("expected {expected}, found {}", kind(unexpected)),
        Error::SerdeInvalidValue { expected, .. } => format!("expected {expected}"),
        Error::SerdeUnknownField { field, expected, .. } => match is_word(field) {
            true => format!("unknown key `{field}`; known keys: {}", expected.join(", ")),
            false => format!("unknown key; known keys: {}", expected.join(", ")),
        },
        Error::SerdeUnknownVariant { expected, .. } => {
            format!("the value is not one of {}", expected.join(", "))
        }
        Error::DuplicateMappingKey { key, .. } => match key {
            Some(key) if is_word(key) => format!("the key `{key}` is repeated; keep one of the two"),
            _ => "a key is repeated; keep one of the two".to_owned(),
        },
        Error::NonFiniteFloat { .. } => "the number is not finite".to_owned(),
        Error::QuotingRequired { .. } => "the value needs quotes".to_owned(),
        other => without_quoted(&other.without_snippet().to_string()),
    }
}

/// What kind of value was found: all but the value itself, which follows in quotes.
fn kind(unexpected: &str) -> &str {
    unexpected
        .split(['"', '`', '\''])
        .next()
        .unwrap_or_default()
        .trim()
}

pub(super) fn is_word(key: &str) -> bool {
    (1..=KEY_MAX).contains(&key.len())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-'))
}

/// The text with an ellipsis for what stands in quotes and is longer than YAML's own characters.
pub(super) fn without_quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['"', '`', '\'']) {
        let (before, quoted) = rest.split_at(at);
        out.push_str(before);
        let mut chars = quoted.chars();
        let quote = chars.next().unwrap_or('`');
        let inside = chars.as_str();
        // An apostrophe within a word quotes nothing.
        let is_apostrophe = quote == '\'' && before.ends_with(|c: char| c.is_ascii_alphanumeric());
        let end = inside.find(quote).filter(|_| !is_apostrophe);
        match end.and_then(|end| Some((inside.get(..end)?, inside.get(end + 1..)?))) {
            Some((held, after)) => {
                let shown = if held.chars().count() <= QUOTED_MAX {
                    held
                } else {
                    "…"
                };
                out.push_str(&format!("{quote}{shown}{quote}"));
                rest = after;
            }
            None if is_apostrophe => {
                out.push(quote);
                rest = inside;
            }
            None => {
                out.push_str(&format!("{quote}…"));
                return out;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_quote_no_value() {
        for (text, expected) in [
            (
                "did not find expected ',' or ']'",
                "did not find expected ',' or ']'",
            ),
            ("found \"hunter2 hunter2\" here", "found \"…\" here"),
            ("can't read `abcd", "can't read `…"),
            ("plain", "plain"),
        ] {
            assert_eq!(without_quoted(text), expected);
        }
        assert_eq!(kind("string \"wk_secret\""), "string");
        assert_eq!(kind("integer `12345`"), "integer");
        assert!(is_word("reauthenticate_status") && !is_word("sk_live_51H8") && !is_word(""));
    }
}
