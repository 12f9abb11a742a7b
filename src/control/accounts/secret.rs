//! Secrets of sessions, browsers and sign-ons: random, never printed, stored as hashes.

use crate::control::error::ControlError;
use crate::control::ids;
use crate::domain::digest::sha256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use zeroize::Zeroizing;

/// Letters and digits of a session's secret: 256 bits.
pub(crate) const SECRET_CHARS: usize = 43;

/// The secret of a session or of a known browser. `Debug` does not show it.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A new random secret.
    pub(crate) fn new() -> Result<Self, ControlError> {
        Ok(Self(ids::alphanumerics(SECRET_CHARS)?))
    }

    /// A secret that a browser sent, if it has the right form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = text.len() == SECRET_CHARS && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        well_formed.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The secret itself, for the cookie.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The hash in the store. A secret has 256 random bits, so a slow hash gains nothing.
    pub(crate) fn hash(&self) -> String {
        URL_SAFE_NO_PAD.encode(sha256(self.0.as_bytes()))
    }

    /// The CSRF token of this session: it proves that a form came from one of our pages. It is derived from the
    /// secret and does not reveal it.
    #[must_use]
    pub fn csrf_token(&self) -> String {
        let text = Zeroizing::new(format!("csrf {}", self.0.as_str()));
        URL_SAFE_NO_PAD.encode(sha256(text.as_bytes()))
    }

    /// Whether `token` is this session's CSRF token.
    #[must_use]
    pub fn owns_csrf_token(&self, token: &str) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.csrf_token().as_bytes(), token.as_bytes())
            .is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
