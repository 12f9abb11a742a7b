//! URLs that can be the issuer of tokens.

/// The longest issuer, in bytes.
pub const ISSUER_BYTES_MAX: usize = 2_048;

/// Whether a text can be the `issuer` of our own tokens (RFC 8414 section 2): an `https` or `http` URL without user,
/// query, fragment and a slash at its end.
#[must_use]
pub fn is_issuer_url(url: &str) -> bool {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        let plain = rest
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"?#\"\\<>@".contains(&byte));
        plain
            && !rest.is_empty()
            && !rest.starts_with('/')
            && !rest.ends_with('/')
            && url.len() <= ISSUER_BYTES_MAX
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuer_urls_have_no_user_query_fragment_or_last_slash() {
        for good in [
            "https://auth.example.com",
            "http://127.0.0.1:8081",
            "https://a.example/path",
        ] {
            assert!(is_issuer_url(good), "{good}");
        }
        for bad in [
            "",
            "https://",
            "auth.example.com",
            "ftp://a",
            "https://a/",
            "https://a?x",
            "https://a#x",
            "https://u@a",
            "https:///a",
            "https://a b",
        ] {
            assert!(!is_issuer_url(bad), "{bad}");
        }
        assert!(!is_issuer_url(&format!("https://{}", "a".repeat(2_048))));
    }
}
