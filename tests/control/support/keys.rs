//! Key pairs of apps, and the assertions and tokens made with them.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis::domain::key::Algorithm;
use serde_json::Value;

use crate::secrets;

#[derive(Clone)]
enum Pair {
    Rsa(Arc<RsaKeyPair>),
    P256(Arc<EcdsaKeyPair>),
    Ed25519(Arc<Ed25519KeyPair>),
}

/// A client's key pair.
#[derive(Clone)]
pub struct TestKey {
    pub algorithm: Algorithm,
    pair: Pair,
    pub public_pem: String,
    pub private_pem: String,
}

impl TestKey {
    /// An RSA key; the same one each time, since making one takes a while.
    pub fn rsa(algorithm: Algorithm) -> Self {
        static PAIR: LazyLock<Arc<RsaKeyPair>> =
            LazyLock::new(|| Arc::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));
        let private: Pkcs8V1Der<'_> = PAIR.as_der().unwrap();
        let public: PublicKeyX509Der<'_> = PAIR.public_key().as_der().unwrap();
        secrets::note_private_key(&pem("PRIVATE KEY", private.as_ref()));
        Self {
            algorithm,
            pair: Pair::Rsa(Arc::clone(&PAIR)),
            public_pem: pem("PUBLIC KEY", public.as_ref()),
            private_pem: pem("PRIVATE KEY", private.as_ref()),
        }
    }

    pub fn p256() -> Self {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let public_pem = pem("PUBLIC KEY", public.as_ref());
        let private_pem = pem("PRIVATE KEY", pkcs8.as_ref());
        secrets::note_private_key(&private_pem);
        Self {
            algorithm: Algorithm::Es256,
            pair: Pair::P256(Arc::new(pair)),
            public_pem,
            private_pem,
        }
    }

    pub fn ed25519() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let public_pem = pem("PUBLIC KEY", public.as_ref());
        let private_pem = pem("PRIVATE KEY", pkcs8.as_ref());
        secrets::note_private_key(&private_pem);
        Self {
            algorithm: Algorithm::EdDsa,
            pair: Pair::Ed25519(Arc::new(pair)),
            public_pem,
            private_pem,
        }
    }

    /// A compact JWS over exactly this header and these claims.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let input = signing_input(&header.to_string(), &claims.to_string());
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let padding: &'static dyn aws_lc_rs::signature::RsaEncoding =
                    if self.algorithm == Algorithm::Ps256 {
                        &RSA_PSS_SHA256
                    } else {
                        &RSA_PKCS1_SHA256
                    };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, input.as_bytes(), &mut signature)
                    .unwrap();
                signature
            }
            Pair::P256(pair) => pair.sign(&random, input.as_bytes()).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(input.as_bytes()).as_ref().to_vec(),
        };
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

pub fn signing_input(header: &str, claims: &str) -> String {
    format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    )
}

/// The claims of a token, without looking at its signature.
pub fn claims_of(token: &str) -> Value {
    part_of(token, 1)
}

pub fn header_of(token: &str) -> Value {
    part_of(token, 0)
}

fn part_of(token: &str, at: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(at).unwrap()).unwrap()).unwrap()
}

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
