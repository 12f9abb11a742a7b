//! The one maker of key pairs in tests and benches, and the compact JWS signed with them.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::sync::{Arc, LazyLock};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis::domain::key::{Algorithm, PublicKey};
use serde_json::Value;

use super::secrets;

/// A key pair, pinned to one algorithm.
#[derive(Clone)]
pub struct TestKey {
    pub algorithm: Algorithm,
    pair: Pair,
    pub public: PublicKey,
    /// `SubjectPublicKeyInfo`.
    pub public_pem: String,
    /// PKCS#8.
    pub private_pem: String,
}

#[derive(Clone)]
enum Pair {
    Rsa(Arc<RsaKeyPair>),
    P256(Arc<EcdsaKeyPair>),
    Ed25519(Arc<Ed25519KeyPair>),
}

impl TestKey {
    /// A new key. An RSA key has 2048 bits.
    pub fn generate(algorithm: Algorithm) -> Self {
        let random = SystemRandom::new();
        match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => Self::of_rsa(algorithm, &Arc::new(rsa_pair())),
            Algorithm::Es256 => {
                let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let private = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
                let pair = EcdsaKeyPair::from_pkcs8(kind, private.as_ref()).unwrap();
                Self::of(algorithm, Pair::P256(Arc::new(pair)), private.as_ref())
            }
            Algorithm::EdDsa => {
                let private = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
                let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).unwrap();
                Self::of(algorithm, Pair::Ed25519(Arc::new(pair)), private.as_ref())
            }
        }
    }

    /// An RSA key; the same one each time, because making one takes long.
    pub fn rsa(algorithm: Algorithm) -> Self {
        static PAIR: LazyLock<Arc<RsaKeyPair>> = LazyLock::new(|| Arc::new(rsa_pair()));
        Self::of_rsa(algorithm, &PAIR)
    }

    pub fn p256() -> Self {
        Self::generate(Algorithm::Es256)
    }

    pub fn ed25519() -> Self {
        Self::generate(Algorithm::EdDsa)
    }

    fn of_rsa(algorithm: Algorithm, pair: &Arc<RsaKeyPair>) -> Self {
        let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        Self::of(algorithm, Pair::Rsa(Arc::clone(pair)), private.as_ref())
    }

    fn of(algorithm: Algorithm, pair: Pair, private: &[u8]) -> Self {
        let public_pem = pem("PUBLIC KEY", &public_der(&pair));
        let private_pem = pem("PRIVATE KEY", private);
        secrets::note_private_key(&private_pem);
        Self {
            algorithm,
            public: PublicKey::from_pem(&public_pem).unwrap(),
            pair,
            public_pem,
            private_pem,
        }
    }

    /// The public key as DER: `SubjectPublicKeyInfo`.
    pub fn public_der(&self) -> Vec<u8> {
        public_der(&self.pair)
    }

    /// A signature with an algorithm that the key is not pinned to, if its kind can make one.
    pub fn signature_as(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let padding: &dyn RsaEncoding = if algorithm == Algorithm::Ps256 {
                    &RSA_PSS_SHA256
                } else {
                    &RSA_PKCS1_SHA256
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
            Pair::P256(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A compact JWS over exactly this header and these claims.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_as(self.algorithm, header, claims)
    }

    /// A compact JWS signed with an algorithm that the key need not be pinned to.
    pub fn sign_as(&self, algorithm: Algorithm, header: &Value, claims: &Value) -> String {
        self.signed(
            algorithm,
            &signing_input(&header.to_string(), &claims.to_string()),
        )
    }

    /// A compact JWS of two texts, well-formed or not.
    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        self.signed(self.algorithm, &signing_input(header, claims))
    }

    /// A compact JWS of two parts that are already encoded, well or not.
    pub fn sign_parts(&self, header: &str, claims: &str) -> String {
        self.signed(self.algorithm, &format!("{header}.{claims}"))
    }

    fn signed(&self, algorithm: Algorithm, input: &str) -> String {
        let signature = self.signature_as(algorithm, input.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn rsa_pair() -> RsaKeyPair {
    RsaKeyPair::generate(KeySize::Rsa2048).unwrap()
}

fn public_der(pair: &Pair) -> Vec<u8> {
    let der: PublicKeyX509Der<'_> = match pair {
        Pair::Rsa(pair) => pair.public_key().as_der().unwrap(),
        Pair::P256(pair) => pair.public_key().as_der().unwrap(),
        Pair::Ed25519(pair) => pair.public_key().as_der().unwrap(),
    };
    der.as_ref().to_vec()
}

/// What a JWS signs: the encoded header and the encoded claims.
pub fn signing_input(header: &str, claims: &str) -> String {
    format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    )
}

/// The claims of a token, without a check of its signature.
pub fn claims_of(token: &str) -> Value {
    part_of(token, 1)
}

/// The header of a token, without a check of its signature.
pub fn header_of(token: &str) -> Value {
    part_of(token, 0)
}

fn part_of(token: &str, at: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(at).unwrap()).unwrap()).unwrap()
}

/// A PEM block.
pub fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}
