//! Typed identifiers, and the write key, which is never printable.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use thiserror::Error;
use zeroize::Zeroizing;

use super::digest::ShortDigest;

/// The longest identifier accepted anywhere, in bytes.
pub const ID_BYTES_MAX: usize = 128;

/// The longest write key accepted, in bytes. A source function's key (base64 of `<id>::<secret>`) is
/// about 100.
pub const WRITE_KEY_BYTES_MAX: usize = 512;

/// Why a text is not an identifier.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidId {
    #[error("is empty")]
    Empty,
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    #[error("has a character outside visible ASCII; write it with letters, digits and `-._~:/@+=|`")]
    Character,
}

/// Visible ASCII without space, quote, backslash or comma, so that an identifier can stand in a header,
/// a log line and a JSON text as it is.
fn check_id(text: &str) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty);
    }
    if text.len() > ID_BYTES_MAX {
        return Err(InvalidId::TooLong(ID_BYTES_MAX));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/@+=|".contains(&b);
    if text.bytes().all(plain) {
        Ok(())
    } else {
        Err(InvalidId::Character)
    }
}

/// The longest key id of an issuer accepted, in bytes.
pub const FOREIGN_KEY_ID_BYTES_MAX: usize = 256;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name {
            digest: ShortDigest,
            text: Arc<str>,
        }

        impl $name {
            /// Checks `text`: 1 to 128 bytes of visible ASCII that need no escaping.
            ///
            /// # Errors
            /// [`InvalidId`] names what is wrong.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                check_id(text)?;
                Ok(Self { digest: ShortDigest::of(stringify!($name), &[text.as_bytes()]), text: Arc::from(text) })
            }

            /// The digest that indexes are keyed by.
            #[must_use]
            pub fn digest(&self) -> &ShortDigest {
                &self.digest
            }

            /// The identifier's text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.text
            }
        }

        // INVARIANT: the digest follows from the text, so comparing digests compares texts, and a
        // decision over a million sources need not fetch one more line of memory for it.
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.digest == other.digest
            }
        }

        impl Eq for $name {}

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.digest.hash(state);
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.text)
            }
        }
    };
}

id_type!(
    /// A workspace: the tenant that owns sources, apps and members.
    WorkspaceId
);
id_type!(
    /// A source: a stream of events that enters a workspace.
    SourceId
);
id_type!(
    /// An OAuth app: the client of RFC 6749, `client_id` and `sub` of its tokens.
    AppId
);
id_type!(
    /// An audience (`aud`): whom a token is meant for.
    Audience
);
id_type!(
    /// A key id (`kid`): names a public key of an app or a signing key of an issuer.
    KeyId
);
impl KeyId {
    /// A key id as an issuer wrote it in a key set, or a client in a token: any text (RFC 7515 section 4.1.4) of 1 to
    /// 256 bytes without control characters. Unlike other ids it may need escaping where it is shown.
    ///
    /// # Errors
    /// [`InvalidId`] names what is wrong.
    pub fn of_key_set(text: &str) -> Result<Self, InvalidId> {
        if text.is_empty() {
            return Err(InvalidId::Empty);
        }
        if text.len() > FOREIGN_KEY_ID_BYTES_MAX {
            return Err(InvalidId::TooLong(FOREIGN_KEY_ID_BYTES_MAX));
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidId::Character);
        }
        Ok(Self {
            digest: ShortDigest::of("KeyId", &[text.as_bytes()]),
            text: Arc::from(text),
        })
    }
}

id_type!(
    /// A person's membership of one workspace.
    MemberId
);
id_type!(
    /// An edge: an enrolled gateway.
    EdgeId
);
id_type!(
    /// A person: what their memberships of several workspaces have in common.
    AccountId
);

/// The identifier that a source's clients send. It says which source is meant and proves nothing, but it
/// opens every unenforced source, so it is treated as a secret: it cannot be printed or compared by
/// content, only through its [`WriteKeyDigest`].
#[derive(Clone)]
pub struct WriteKey(Zeroizing<String>);

impl WriteKey {
    /// Checks `text`: 1 to 512 bytes of visible ASCII.
    ///
    /// # Errors
    /// [`InvalidId`] names what is wrong, never the key.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if text.is_empty() {
            return Err(InvalidId::Empty);
        }
        if text.len() > WRITE_KEY_BYTES_MAX {
            return Err(InvalidId::TooLong(WRITE_KEY_BYTES_MAX));
        }
        if !is_write_key_text(text.as_bytes()) {
            return Err(InvalidId::Character);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// The digest that indexes and comparisons use.
    #[must_use]
    pub fn digest(&self) -> WriteKeyDigest {
        WriteKeyDigest::of(self.0.as_bytes())
    }

    /// The key itself. Only the store and the page for its owner call this.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Whether bytes are visible ASCII, as every write key is. Of anything else a server behind us might trim or cut
/// off so much that a key is left: it names no source that all would agree on.
#[must_use]
pub fn is_write_key_text(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_graphic)
}

impl fmt::Debug for WriteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriteKey(..)")
    }
}

/// A write key's digest: what gateways hold in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WriteKeyDigest(pub ShortDigest);

impl WriteKeyDigest {
    /// Digests the bytes that a client sent as its write key, well-formed or not.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        Self(ShortDigest::of("write_key", &[key]))
    }
}

/// What a revocation names: one token of one issuer (`iss` and `jti`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenDigest(pub ShortDigest);

impl TokenDigest {
    /// A digest read back from bytes that [`ShortDigest::to_bytes`] gave.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(ShortDigest::from_bytes(bytes))
    }

    /// Digests an issuer and a token id. Two issuers may use one `jti`; their tokens stay apart.
    #[must_use]
    pub fn of(issuer: &str, token_id: &str) -> Self {
        Self(ShortDigest::of(
            "token",
            &[issuer.as_bytes(), token_id.as_bytes()],
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_that_need_escaping_are_refused() {
        for bad in ["", "a b", "a\"b", "a\\b", "a\nb", "ä", "a,b", &"x".repeat(129)] {
            assert!(AppId::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(AppId::parse("app-bench-0001").unwrap().as_str(), "app-bench-0001");
    }

    #[test]
    fn write_key_is_not_printable() {
        let key = WriteKey::parse("wk_very_secret").unwrap();
        assert!(!format!("{key:?} {:?}", key.digest()).contains("secret"));
    }
}
