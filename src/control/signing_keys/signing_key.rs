//! One signing key: generated, parsed, and used to sign access tokens.

use std::fmt;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::control::error::ControlError;
use crate::domain::ids::KeyId;
use crate::domain::key::{Algorithm, PublicKey, VerifyingKey};

/// A key pair in the form that its algorithm needs.
enum Pair {
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A signing key, parsed once. Never printed: its `Debug` is its id.
pub struct SigningKey {
    algorithm: Algorithm,
    pair: Pair,
    /// The encoded header of every token signed with this key.
    header: String,
    verifying: VerifyingKey,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.verifying.id())
    }
}

impl SigningKey {
    /// A new key for `algorithm`.
    pub(crate) fn generate(algorithm: Algorithm) -> Result<Self, ControlError> {
        let failed = |_| ControlError::Crypto("making a signing key");
        let random = SystemRandom::new();
        let pkcs8 = match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                der.as_ref().to_vec()
            }
            Algorithm::Es256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
                .map_err(failed)?
                .as_ref()
                .to_vec(),
            Algorithm::EdDsa => Ed25519KeyPair::generate_pkcs8(&random)
                .map_err(failed)?
                .as_ref()
                .to_vec(),
        };
        Self::from_pkcs8(algorithm, Zeroizing::new(pkcs8))
    }

    /// The key with this private half.
    pub(crate) fn from_pkcs8(algorithm: Algorithm, pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, ControlError> {
        let damaged = || ControlError::Crypto("reading a signing key");
        let pair = match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => {
                let padding: &'static dyn RsaEncoding = if algorithm == Algorithm::Rs256 {
                    &RSA_PKCS1_SHA256
                } else {
                    &RSA_PSS_SHA256
                };
                Pair::Rsa(RsaKeyPair::from_pkcs8(&pkcs8).map_err(|_| damaged())?, padding)
            }
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8);
                Pair::P256(pair.map_err(|_| damaged())?)
            }
            Algorithm::EdDsa => Pair::Ed25519(Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|_| damaged())?),
        };
        let public = match &pair {
            Pair::Rsa(pair, _) => pair.public_key().as_der(),
            Pair::P256(pair) => pair.public_key().as_der(),
            Pair::Ed25519(pair) => pair.public_key().as_der(),
        };
        let public: PublicKeyX509Der<'_> = public.map_err(|_| damaged())?;
        let public = PublicKey::from_spki(public.as_ref()).map_err(|_| damaged())?;
        // RFC 7638: the name follows from the key, so no two of our keys can ever share one.
        let id = KeyId::parse(&public.thumbprint().to_string()).map_err(|_| damaged())?;
        let header = format!(
            r#"{{"alg":"{}","kid":"{id}","typ":"at+jwt"}}"#,
            algorithm.as_str()
        );
        let verifying = VerifyingKey::new(id, public, algorithm).map_err(|_| damaged())?;
        Ok(Self {
            algorithm,
            pair,
            header: URL_SAFE_NO_PAD.encode(header),
            verifying,
            pkcs8,
        })
    }

    /// Signs `claims` as an access token.
    pub(crate) fn sign(&self, claims: &impl Serialize) -> Result<String, ControlError> {
        let failed = || ControlError::Crypto("signing a token");
        let claims = serde_json::to_vec(claims).map_err(|_| failed())?;
        let mut token = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(claims));
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rsa(pair, padding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*padding, &random, token.as_bytes(), &mut signature)
                    .map_err(|_| failed())?;
                signature
            }
            Pair::P256(pair) => pair
                .sign(&random, token.as_bytes())
                .map_err(|_| failed())?
                .as_ref()
                .to_vec(),
            Pair::Ed25519(pair) => pair.sign(token.as_bytes()).as_ref().to_vec(),
        };
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    /// The public half.
    pub(crate) fn verifying(&self) -> &VerifyingKey {
        &self.verifying
    }

    /// The private key, PKCS#8.
    pub(crate) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The algorithm it signs with.
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
