//! Our signing keys: made once, kept parsed, published as a JWK set and RFC 8414 metadata.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use zeroize::Zeroizing;

use super::error::{ControlError, json};
use super::{Control, ControlSettings, OpenError};
use crate::domain::ids::KeyId;
use crate::domain::jws::CompactJws;
use crate::domain::key::{Algorithm, PublicKey, VerifyingKey};
use crate::domain::source_kind::SUPPORTED_SCOPES;
use crate::domain::time::UnixSeconds;
use crate::snapshot::{Change, IssuerRecord, Jwk, jwk};
use crate::store::ledger::SigningKeyRecord;
use crate::store::{Store, StoreError};

/// How long clients and outside gateways may keep the key set.
const CACHEABLE: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// A key pair in the form that its algorithm signs with.
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
    pub(super) fn generate(algorithm: Algorithm) -> Result<Self, ControlError> {
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

    fn from_pkcs8(algorithm: Algorithm, pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, ControlError> {
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
    pub(super) fn sign(&self, claims: &impl Serialize) -> Result<String, ControlError> {
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
    pub(super) fn verifying(&self) -> &VerifyingKey {
        &self.verifying
    }

    fn record(&self, now: UnixSeconds) -> SigningKeyRecord {
        SigningKeyRecord {
            id: self.verifying.id().clone(),
            algorithm: self.algorithm,
            pkcs8: Zeroizing::new(STANDARD.encode(&*self.pkcs8)),
            active: true,
            created_at: now,
        }
    }
}

/// The signing keys: one that signs, and those that still verify.
#[derive(Debug)]
pub struct KeyRing {
    active: SigningKey,
    retired: Vec<VerifyingKey>,
}

impl KeyRing {
    /// The keys in the store. On first start, or when the configured algorithm is another one than before,
    /// a new key is made first; the old ones stay published.
    pub(super) async fn open(
        store: &Store,
        settings: &ControlSettings,
        now: UnixSeconds,
    ) -> Result<Self, OpenError> {
        let mut active = None;
        let mut retired = Vec::new();
        for record in store.read().await?.signing_keys().await? {
            let der = STANDARD
                .decode(&*record.pkcs8)
                .map_err(|_| StoreError::Damaged("signing_keys"))?;
            let key = SigningKey::from_pkcs8(record.algorithm, Zeroizing::new(der))
                .map_err(|_| StoreError::Damaged("signing_keys"))?;
            if record.active && record.algorithm == settings.signing_algorithm {
                active = Some(key);
            } else {
                retired.push(key.verifying);
            }
        }
        if let Some(active) = active {
            return Ok(Self { active, retired });
        }
        let active = SigningKey::generate(settings.signing_algorithm).map_err(|_| OpenError::SigningKey)?;
        let ring = Self { active, retired };
        let change = Change::PutIssuer(ring.issuer(&settings.public_url, &settings.audience));
        let body = serde_json::to_string(&[change]).map_err(|_| OpenError::SigningKey)?;
        let mut tx = store.write().await?;
        tx.retire_signing_keys().await?;
        tx.insert_signing_key(&ring.active.record(now)).await?;
        tx.commit(&body, now).await?;
        Ok(ring)
    }

    /// The key that new tokens are signed with.
    pub(super) fn active(&self) -> &SigningKey {
        &self.active
    }

    /// The public halves of all the keys, the active one first.
    fn public(&self) -> impl Iterator<Item = &VerifyingKey> {
        std::iter::once(&self.active.verifying).chain(&self.retired)
    }

    /// Whether one of our keys made the token's signature.
    pub(super) fn signed(&self, token: &CompactJws<'_>) -> bool {
        self.public()
            .any(|key| key.id() == token.key_id() && token.is_signed_by(key))
    }

    fn jwks(&self) -> Vec<Jwk> {
        self.public()
            .map(|key| jwk(key.id(), key.public(), key.algorithm()))
            .collect()
    }

    /// What gateways are told of us as an issuer.
    pub(super) fn issuer(&self, issuer: &str, audience: &str) -> IssuerRecord {
        IssuerRecord {
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            keys: self.jwks(),
        }
    }
}

impl Control {
    /// The active signing key as PKCS#8 PEM. For quickstart's export and nothing else.
    #[must_use]
    pub fn signing_key_pkcs8_pem(&self) -> Zeroizing<String> {
        let body = Zeroizing::new(STANDARD.encode(&*self.keys.active.pkcs8));
        let mut pem = Zeroizing::new(String::with_capacity(body.len() + body.len() / 64 + 64));
        pem.push_str("-----BEGIN PRIVATE KEY-----\n");
        for (at, letter) in body.chars().enumerate() {
            if at > 0 && at % 64 == 0 {
                pem.push('\n');
            }
            pem.push(letter);
        }
        pem.push_str("\n-----END PRIVATE KEY-----\n");
        pem
    }
}

/// `GET /.well-known/jwks.json` (RFC 7517 section 5).
pub(super) async fn key_set(State(control): State<Arc<Control>>) -> Response {
    #[derive(Serialize)]
    struct KeySet {
        keys: Vec<Jwk>,
    }
    cacheable(&KeySet {
        keys: control.keys.jwks(),
    })
}

/// `GET /.well-known/oauth-authorization-server` (RFC 8414 section 3). Only what is really served.
pub(super) async fn metadata(State(control): State<Arc<Control>>) -> Response {
    #[derive(Serialize)]
    struct Metadata<'a> {
        issuer: &'a str,
        token_endpoint: String,
        jwks_uri: String,
        grant_types_supported: [&'static str; 1],
        response_types_supported: [&'static str; 0],
        scopes_supported: [&'static str; 3],
        token_endpoint_auth_methods_supported: [&'static str; 1],
        token_endpoint_auth_signing_alg_values_supported: [&'static str; 4],
    }
    let issuer = control.issuer();
    cacheable(&Metadata {
        issuer,
        token_endpoint: format!("{issuer}/token"),
        jwks_uri: format!("{issuer}/.well-known/jwks.json"),
        grant_types_supported: ["client_credentials"],
        response_types_supported: [],
        scopes_supported: SUPPORTED_SCOPES,
        token_endpoint_auth_methods_supported: ["private_key_jwt"],
        token_endpoint_auth_signing_alg_values_supported: Algorithm::ALL.map(Algorithm::as_str),
    })
}

fn cacheable(body: &impl Serialize) -> Response {
    let mut response = json(StatusCode::OK, "application/json", body).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, CACHEABLE);
    response
}
