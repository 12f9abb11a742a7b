//! Resource indicators (RFC 8707): which gateway a token is for.

use super::error::TokenError;

/// The longest resource that an error repeats, in characters.
const SHOWN_MAX: usize = 200;

/// The audiences that a client may ask for.
#[derive(Clone, Debug)]
pub struct Resources {
    /// What every gateway of this server accepts.
    audience: String,
    /// The public URLs of gateways. Each accepts its own.
    gateways: Vec<String>,
}

impl Resources {
    /// Tokens for `audience`, and for each of `gateways` on request.
    #[must_use]
    pub fn new(audience: String, gateways: Vec<String>) -> Self {
        Self { audience, gateways }
    }

    /// Whether a token of this server may have this `aud`.
    pub(crate) fn has(&self, audience: &str) -> bool {
        self.all().any(|ours| ours == audience)
    }

    /// The `aud` of a token for these resources. For several gateways it is the audience that all of them accept: an
    /// access token has one `aud`, and each gateway denies a list.
    ///
    /// # Errors
    /// [`TokenError::Resource`] names the first that is not a resource of this server.
    pub(crate) fn audience(&self, requested: &[&str]) -> Result<&str, TokenError> {
        let mut chosen: Option<&str> = None;
        for resource in requested {
            let known = self.all().find(|ours| is_same(ours, resource)).ok_or_else(|| {
                let shown = resource.chars().take(SHOWN_MAX).collect();
                TokenError::Resource(shown)
            })?;
            chosen = match chosen {
                Some(other) if other != known => Some(&self.audience),
                _ => Some(known),
            };
        }
        Ok(chosen.unwrap_or(&self.audience))
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.audience)
            .chain(&self.gateways)
            .map(String::as_str)
    }
}

/// Whether two URLs differ in a slash at the end at most: an empty path and `/` are one (RFC 3986 section 6.2.3).
fn is_same(ours: &str, requested: &str) -> bool {
    let trimmed = |url: &str| -> usize { url.strip_suffix('/').unwrap_or(url).len() };
    ours.get(..trimmed(ours)) == requested.get(..trimmed(requested))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_becomes_the_audience_of_the_token() {
        let gateways = ["https://a.test", "https://b.test/in"]
            .map(str::to_owned)
            .to_vec();
        let resources = Resources::new("fleet".to_owned(), gateways);
        for (requested, audience) in [
            (&[][..], "fleet"),
            (&["fleet"], "fleet"),
            (&["https://a.test"], "https://a.test"),
            (&["https://a.test/"], "https://a.test"),
            (&["https://a.test", "https://a.test/"], "https://a.test"),
            (&["https://b.test/in"], "https://b.test/in"),
            (&["https://a.test", "https://b.test/in"], "fleet"),
            (
                &["https://a.test", "https://b.test/in", "https://a.test"],
                "fleet",
            ),
        ] {
            assert_eq!(resources.audience(requested).unwrap(), audience, "{requested:?}");
        }
        for unknown in [
            "https://c.test",
            "https://a.test//",
            "https://a.test/in",
            "https://a.test#x",
            "http://a.test",
            "Fleet",
        ] {
            assert!(
                resources.audience(&["https://a.test", unknown]).is_err(),
                "{unknown}"
            );
        }
    }
}
