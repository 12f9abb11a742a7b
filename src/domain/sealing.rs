//! Encryption of secrets at rest: AES-256-GCM under a key that is stored elsewhere.
//!
//! A sealed value is bound to a label, its place in the store: moved to another place, it does not open. Its form is
//! base64 of nonce (96 random bits), ciphertext and tag.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use thiserror::Error;
use zeroize::Zeroizing;

use super::digest::sha256;
use super::hex;

/// The length of an encryption key, in bytes.
pub const KEY_BYTES: usize = 32;

/// The length of a nonce, in bytes.
const NONCE_BYTES: usize = 12;

/// Hexadecimal digits of an encryption key's id.
const ID_CHARS: usize = 12;

/// Why a text is no encryption key. The message contains nothing of the text.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("is not 32 bytes in base64; generate a key with: openssl rand -base64 32")]
pub struct InvalidEncryptionKey;

/// A key encryption key. Its `Debug` shows only its id.
#[derive(Clone)]
pub struct EncryptionKey {
    bytes: Arc<Zeroizing<[u8; KEY_BYTES]>>,
    id: String,
}

impl EncryptionKey {
    /// Reads 32 bytes in base64, of either alphabet, padded or not.
    ///
    /// # Errors
    /// [`InvalidEncryptionKey`] for anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidEncryptionKey> {
        let text = text.trim();
        let decoded = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD]
            .into_iter()
            .find_map(|alphabet| alphabet.decode(text).ok());
        let decoded = Zeroizing::new(decoded.ok_or(InvalidEncryptionKey)?);
        let bytes: [u8; KEY_BYTES] = decoded.as_slice().try_into().map_err(|_| InvalidEncryptionKey)?;
        let named = Zeroizing::new([b"portcullis key id ".as_slice(), &bytes].concat());
        let mut id = hex::encode(&sha256(&named));
        id.truncate(ID_CHARS);
        Ok(Self {
            bytes: Arc::new(Zeroizing::new(bytes)),
            id,
        })
    }

    /// The key's id, derived from it. It is stored with each sealed value, to distinguish a wrong key from a damaged
    /// value.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Encrypts `secret` for the place that `label` names, with a random nonce. `None` if the cryptographic library
    /// fails.
    #[must_use]
    pub fn seal(&self, label: &str, secret: &[u8]) -> Option<String> {
        let mut sealed = secret.to_vec();
        let nonce = self
            .cipher()?
            .seal_in_place_append_tag(Aad::from(label), &mut sealed)
            .ok()?;
        Some(STANDARD.encode([nonce.as_ref().as_slice(), &sealed].concat()))
    }

    /// Decrypts a value that was sealed with this key for this place. `None` for anything else.
    #[must_use]
    pub fn open(&self, label: &str, sealed: &str) -> Option<Zeroizing<Vec<u8>>> {
        let mut sealed = Zeroizing::new(STANDARD.decode(sealed).ok()?);
        let (nonce, text) = sealed.split_at_mut_checked(NONCE_BYTES)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.cipher()?.open_in_place(nonce, Aad::from(label), text).ok()?;
        Some(Zeroizing::new(opened.to_vec()))
    }

    fn cipher(&self) -> Option<RandomizedNonceKey> {
        RandomizedNonceKey::new(&AES_256_GCM, self.bytes.as_slice()).ok()
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionKey({})", self.id)
    }
}

impl PartialEq for EncryptionKey {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for EncryptionKey {}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> EncryptionKey {
        EncryptionKey::parse(&STANDARD.encode([byte; 32])).unwrap()
    }

    #[test]
    fn sealed_value_opens_only_with_its_key_and_context() {
        let sealed = key(1).seal("row 1", b"a secret").unwrap();
        assert_eq!(key(1).open("row 1", &sealed).unwrap().as_slice(), b"a secret");
        assert!(key(2).open("row 1", &sealed).is_none(), "another key");
        assert!(key(1).open("row 2", &sealed).is_none(), "another place");
        let mut bytes = STANDARD.decode(&sealed).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert!(
                key(1).open("row 1", &STANDARD.encode(&bytes)).is_none(),
                "byte {at} changed"
            );
            bytes[at] ^= 1;
        }
        for short in ["", "AAAA", "not base64"] {
            assert!(key(1).open("row 1", short).is_none(), "{short}");
        }
    }

    /// Made by another implementation (OpenSSL through Node.js), with a nonce of twelve bytes 7.
    #[test]
    fn values_sealed_by_earlier_builds_still_open() {
        let sealed = "BwcHBwcHBwcHBwcH7NOZwWzc1NUFMfss63s9b5VtKO9mXR8O";
        assert_eq!(key(1).open("row 1", sealed).unwrap().as_slice(), b"a secret");
    }

    #[test]
    fn each_value_has_a_nonce_of_its_own() {
        let nonces: std::collections::HashSet<String> = (0..100)
            .map(|_| {
                key(1)
                    .seal("row 1", b"a secret")
                    .unwrap()
                    .chars()
                    .take(16)
                    .collect()
            })
            .collect();
        assert_eq!(nonces.len(), 100);
    }

    #[test]
    fn key_is_read_in_each_form_of_base64_and_named_alike() {
        let bytes = [0xfb; 32];
        let ids: Vec<String> = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD]
            .map(|alphabet| format!(" {}\n", alphabet.encode(bytes)))
            .iter()
            .map(|text| EncryptionKey::parse(text).unwrap().id().to_owned())
            .collect();
        assert!(ids.iter().all(|id| *id == ids[0] && id.len() == 12), "{ids:?}");
        assert_ne!(key(1).id(), key(2).id());
        for bad in [
            "",
            "hunter2",
            &STANDARD.encode([1; 31]),
            &STANDARD.encode([1; 33]),
        ] {
            assert_eq!(
                EncryptionKey::parse(bad).unwrap_err(),
                InvalidEncryptionKey,
                "{bad}"
            );
        }
    }

    #[test]
    fn key_is_not_printable() {
        let text = STANDARD.encode([0x41; 32]);
        let printed = format!(
            "{:?} {}",
            EncryptionKey::parse(&text).unwrap(),
            EncryptionKey::parse("x").unwrap_err()
        );
        assert!(
            !printed.contains("QUFB") && !printed.contains("65, 65"),
            "{printed}"
        );
    }
}
