//! Keys for tests, made once per run, and compact JWS signed with them.
//!
//! A signer's name says its algorithm: `rs-1` and `rs-2` are two RS256 keys, and so `ps-`, `es-`, `ed-`.
//! The name is its key id, too.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::domain::ids::KeyId;
use portcullis::domain::key::{Algorithm, PublicKey, VerifyingKey};
use portcullis::snapshot::{self, Jwk};
use serde_json::Value;

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

pub struct Signer {
    name: String,
    algorithm: Algorithm,
    pair: Pair,
    public: PublicKey,
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
        let (pair, public) = match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
                let public = PublicKey::from_pkcs1(pair.public_key().as_ref());
                (Pair::Rsa(pair), public)
            }
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                let public = PublicKey::from_p256(x, y);
                (Pair::P256(pair), public)
            }
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::generate().unwrap();
                let public = PublicKey::from_ed25519(pair.public_key().as_ref());
                (Pair::Ed25519(pair), public)
            }
        };
        Self {
            name: name.to_owned(),
            algorithm,
            pair,
            public: public.unwrap(),
        }
    }

    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    pub fn key_id(&self) -> KeyId {
        KeyId::parse(&self.name).unwrap()
    }

    pub fn jwk(&self) -> Jwk {
        snapshot::jwk(&self.key_id(), &self.public, self.algorithm)
    }

    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey::new(self.key_id(), self.public.clone(), self.algorithm).unwrap()
    }

    /// The public key as DER: `SubjectPublicKeyInfo`.
    pub fn public_der(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_der().unwrap(),
            Pair::P256(pair) => pair.public_key().as_der().unwrap(),
            Pair::Ed25519(pair) => pair.public_key().as_der().unwrap(),
        };
        der.as_ref().to_vec()
    }

    pub fn signature(&self, message: &[u8]) -> Vec<u8> {
        self.signature_as(self.algorithm, message)
    }

    /// A signature with an algorithm that the key is not pinned to, where its kind can make one.
    pub fn signature_as(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                if algorithm == Algorithm::Ps256 {
                    pair.sign(&RSA_PSS_SHA256, &random, message, &mut signature)
                        .unwrap();
                } else {
                    pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                        .unwrap();
                }
                signature
            }
            Pair::P256(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A compact JWS of a header and a payload.
    pub fn sign(&self, header: &Value, payload: &Value) -> String {
        self.sign_text(&header.to_string(), &payload.to_string())
    }

    /// A compact JWS of two texts, well-formed or not.
    pub fn sign_text(&self, header: &str, payload: &str) -> String {
        self.sign_parts(&URL_SAFE_NO_PAD.encode(header), &URL_SAFE_NO_PAD.encode(payload))
    }

    /// A compact JWS of two parts that are encoded already, well or not.
    pub fn sign_parts(&self, header: &str, payload: &str) -> String {
        let input = format!("{header}.{payload}");
        let signature = self.signature(input.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
