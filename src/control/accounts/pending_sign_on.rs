//! A sign-on in progress: what the browser keeps in a cookie while it is at the provider.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::secret::Secret;
use crate::control::error::ControlError;

/// A sign-on in progress, as the browser keeps it.
pub struct PendingSignOn {
    pub(crate) state: Secret,
    pub(crate) nonce: Secret,
    pub(crate) verifier: Secret,
    /// The page of this server to show afterwards.
    pub(crate) next: String,
}

impl PendingSignOn {
    pub(crate) fn new(next: &str) -> Result<Self, ControlError> {
        Ok(Self {
            state: Secret::new()?,
            nonce: Secret::new()?,
            verifier: Secret::new()?,
            next: local_path(next).unwrap_or("/").to_owned(),
        })
    }

    /// The cookie's value.
    #[must_use]
    pub fn to_cookie(&self) -> String {
        let next = URL_SAFE_NO_PAD.encode(&self.next);
        let (state, nonce) = (self.state.expose(), self.nonce.expose());
        format!("{state}.{nonce}.{}.{next}", self.verifier.expose())
    }

    pub(crate) fn from_cookie(value: &str) -> Option<Self> {
        let mut parts = value.split('.');
        let mut secret = || parts.next().and_then(Secret::parse);
        let (state, nonce, verifier) = (secret()?, secret()?, secret()?);
        let next = String::from_utf8(URL_SAFE_NO_PAD.decode(parts.next()?).ok()?).ok()?;
        let next = local_path(&next)?.to_owned();
        parts.next().is_none().then_some(Self {
            state,
            nonce,
            verifier,
            next,
        })
    }
}

/// A path on this server that cannot be read as anything else. Another server's URL begins with two slashes, for
/// browsers also if the second one is a backslash.
fn local_path(path: &str) -> Option<&str> {
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    (plain && path.len() <= 1_024 && path.starts_with('/') && !path.starts_with("//")).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_stays_on_this_server() {
        for good in ["/", "/workspaces/1?tab=keys", "/a//b"] {
            assert_eq!(local_path(good), Some(good));
        }
        for bad in [
            "",
            "a",
            "//evil.test",
            "/\\evil.test",
            "\\/evil.test",
            "https://evil.test",
            "/a\r\nSet-Cookie: x",
            "/\t/evil.test",
            "/ä",
        ] {
            assert_eq!(local_path(bad), None, "{bad}");
        }
    }

    #[test]
    fn cookie_is_parsed_back_or_rejected() {
        let pending = PendingSignOn::new("/workspaces").unwrap();
        let cookie = pending.to_cookie();
        let back = PendingSignOn::from_cookie(&cookie).unwrap();
        assert_eq!(back.to_cookie(), cookie);
        assert_eq!(PendingSignOn::new("//evil.test").unwrap().next, "/");
        let evil = URL_SAFE_NO_PAD.encode("//evil.test");
        let (kept, _) = cookie.rsplit_once('.').unwrap();
        for bad in [
            "",
            "a.b.c.d",
            &format!("{cookie}.x"),
            &format!("{kept}.{evil}"),
            kept,
        ] {
            assert!(PendingSignOn::from_cookie(bad).is_none(), "{bad}");
        }
    }
}
