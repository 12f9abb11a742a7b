//! A sign-on under way: what the browser keeps in a cookie while it is at the provider.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::secret::Secret;
use crate::control::error::ControlError;

/// What the browser keeps while it is at the provider.
pub struct Pending {
    pub(crate) state: Secret,
    pub(crate) nonce: Secret,
    pub(crate) verifier: Secret,
    /// The page of ours to show afterwards.
    pub(crate) next: String,
}

impl Pending {
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

/// A path on this server, as nothing else can be understood: another server's URL has two slashes in front, to
/// browsers also where the second one is written otherwise.
fn local_path(path: &str) -> Option<&str> {
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    (plain && path.len() <= 1_024 && path.starts_with('/') && !path.starts_with("//")).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_server_are_gone_to_afterwards() {
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
    fn what_the_browser_keeps_comes_back_whole_or_not_at_all() {
        let pending = Pending::new("/workspaces").unwrap();
        let cookie = pending.to_cookie();
        let back = Pending::from_cookie(&cookie).unwrap();
        assert_eq!(back.to_cookie(), cookie);
        assert_eq!(Pending::new("//evil.test").unwrap().next, "/");
        let evil = URL_SAFE_NO_PAD.encode("//evil.test");
        let (kept, _) = cookie.rsplit_once('.').unwrap();
        for bad in [
            "",
            "a.b.c.d",
            &format!("{cookie}.x"),
            &format!("{kept}.{evil}"),
            kept,
        ] {
            assert!(Pending::from_cookie(bad).is_none(), "{bad}");
        }
    }
}
