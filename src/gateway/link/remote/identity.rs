//! An edge's identity: its id and its key pair.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// An enrolled edge's id, name and private key. It is never printed.
pub struct Identity {
    pub edge: String,
    pub name: String,
    pkcs8: Zeroizing<Vec<u8>>,
    key: Ed25519KeyPair,
    /// A key that was made to replace the present one, and may not have been used yet.
    next: Option<Zeroizing<Vec<u8>>>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    edge: String,
    name: String,
    /// PKCS#8, DER in base64url.
    key: Zeroizing64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<Zeroizing64>,
}

/// Base64 of a secret.
struct Zeroizing64(Zeroizing<Vec<u8>>);

impl Serialize for Zeroizing64 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(self.0.as_slice()));
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Zeroizing64 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = URL_SAFE_NO_PAD.decode(text.as_bytes());
        bytes
            .map(|bytes| Self(Zeroizing::new(bytes)))
            .map_err(|_| serde::de::Error::custom("is no base64url"))
    }
}

/// A new key pair, as PKCS#8.
pub fn new_key() -> Option<Zeroizing<Vec<u8>>> {
    let random = aws_lc_rs::rand::SystemRandom::new();
    let document = Ed25519KeyPair::generate_pkcs8v1(&random).ok()?;
    Some(Zeroizing::new(document.as_ref().to_vec()))
}

/// The public half, as the control plane takes it.
pub fn public_half(pkcs8: &[u8]) -> Option<String> {
    let key = Ed25519KeyPair::from_pkcs8(pkcs8).ok()?;
    Some(URL_SAFE_NO_PAD.encode(key.public_key().as_ref()))
}

impl Identity {
    /// The identity of an edge that joined with this key.
    #[must_use]
    pub fn new(edge: String, name: String, pkcs8: Zeroizing<Vec<u8>>) -> Option<Self> {
        let key = Ed25519KeyPair::from_pkcs8(&pkcs8).ok()?;
        Some(Self {
            edge,
            name,
            pkcs8,
            key,
            next: None,
        })
    }

    /// Reads a copy.
    #[must_use]
    pub fn from_json(bytes: &[u8]) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(bytes).ok()?;
        let next = stored.next.map(|next| next.0);
        let identity = Self::new(stored.edge, stored.name, stored.key.0)?;
        Some(Self { next, ..identity })
    }

    /// What is written to a file of mode 0600.
    pub fn to_json(&self) -> Zeroizing<String> {
        let stored = Stored {
            edge: self.edge.clone(),
            name: self.name.clone(),
            key: Zeroizing64(self.pkcs8.clone()),
            next: self.next.clone().map(Zeroizing64),
        };
        Zeroizing::new(serde_json::to_string(&stored).unwrap_or_default())
    }

    /// Signs with the present key, in base64url.
    pub fn sign(&self, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.key.sign(text.as_bytes()).as_ref())
    }

    /// The key that is to replace the present one; made where there is none.
    pub fn next_key(&mut self) -> Option<String> {
        if self.next.is_none() {
            self.next = new_key();
        }
        public_half(self.next.as_ref()?)
    }

    /// The identity with the replacement in place of the present key.
    #[must_use]
    pub fn with_next(&self) -> Option<Self> {
        Self::new(self.edge.clone(), self.name.clone(), self.next.clone()?)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("edge", &self.edge)
            .finish_non_exhaustive()
    }
}
