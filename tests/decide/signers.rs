//! Keys for tests, made once per run, and compact JWS signed with them.
//!
//! A signer's name says its algorithm: `rs-1` and `rs-2` are two RS256 keys, and so `ps-`, `es-`, `ed-`.
//! The name is its key id, too.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use portcullis::domain::ids::KeyId;
use portcullis::domain::key::{Algorithm, PublicKey, VerifyingKey};
use portcullis::snapshot;
use portcullis::snapshot::Jwk;
use serde_json::Value;

use super::test_key::TestKey;

pub struct Signer {
    name: String,
    pub key: TestKey,
}

/// The signer with this name; the same key each time.
pub fn signer(name: &str) -> &'static Signer {
    static MADE: LazyLock<Mutex<HashMap<String, &'static Signer>>> = LazyLock::new(Mutex::default);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(name.to_owned())
        .or_insert_with(|| Box::leak(Box::new(Signer::generate(name))))
}

impl Signer {
    fn generate(name: &str) -> Self {
        let algorithm = match name.split('-').next() {
            Some("rs") => Algorithm::Rs256,
            Some("ps") => Algorithm::Ps256,
            Some("es") => Algorithm::Es256,
            Some("ed") => Algorithm::EdDsa,
            _ => panic!("the signer `{name}` does not say its algorithm"),
        };
        Self {
            name: name.to_owned(),
            key: TestKey::generate(algorithm),
        }
    }

    pub fn public(&self) -> &PublicKey {
        &self.key.public
    }

    pub fn key_id(&self) -> KeyId {
        KeyId::parse(&self.name).unwrap()
    }

    pub fn jwk(&self) -> Jwk {
        snapshot::jwk(&self.key_id(), self.public(), self.key.algorithm)
    }

    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey::new(self.key_id(), self.public().clone(), self.key.algorithm).unwrap()
    }

    /// The public key as DER: `SubjectPublicKeyInfo`.
    pub fn public_der(&self) -> Vec<u8> {
        self.key.public_der()
    }

    /// A signature with an algorithm that the key is not pinned to, where its kind can make one.
    pub fn signature_as(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        self.key.signature_as(algorithm, message)
    }

    /// A compact JWS of a header and a payload.
    pub fn sign(&self, header: &Value, payload: &Value) -> String {
        self.key.sign(header, payload)
    }

    /// A compact JWS of two texts, well-formed or not.
    pub fn sign_text(&self, header: &str, payload: &str) -> String {
        self.key.sign_text(header, payload)
    }

    /// A compact JWS of two parts that are encoded already, well or not.
    pub fn sign_parts(&self, header: &str, payload: &str) -> String {
        self.key.sign_parts(header, payload)
    }
}
