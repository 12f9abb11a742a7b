//! Public keys in JWK form, and a key set's way to keys that verify.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::ids::KeyId;
use crate::domain::key::{Algorithm, PublicKey, VerifyingKey};

/// The most keys one issuer may publish.
pub const ISSUER_KEYS_MAX: usize = 64;

/// A public key in JWK form (RFC 7517). Members that we do not know are ignored, as its section 4 asks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Jwk {
    pub kty: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    #[serde(default, rename = "use", skip_serializing_if = "Option::is_none")]
    pub key_use: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_ops: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
}

/// Why a key set is refused whole.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{problem}")]
pub struct InvalidKeySet {
    pub problem: String,
}

/// The usable verification keys of a JWK set, each pinned to one algorithm out of `allowed`.
///
/// Keys of a kind we do not know, for encryption, for another algorithm, or without `kid` are left out
/// (RFC 7517 section 5): one odd key must not take the others down.
///
/// # Errors
/// Two usable keys with one `kid`, or more than 64 keys. An empty result is not an error here.
pub fn verifying_keys(jwks: &[Jwk], allowed: &[Algorithm]) -> Result<Vec<VerifyingKey>, InvalidKeySet> {
    if jwks.len() > ISSUER_KEYS_MAX {
        return Err(InvalidKeySet {
            problem: format!("has more than {ISSUER_KEYS_MAX} keys"),
        });
    }
    let mut keys: Vec<VerifyingKey> = Vec::new();
    for key in jwks.iter().filter_map(|jwk| verifying_key(jwk, allowed)) {
        if keys.iter().any(|held| held.id() == key.id()) {
            return Err(InvalidKeySet {
                problem: format!("has two keys with the id `{}`", key.id()),
            });
        }
        keys.push(key);
    }
    Ok(keys)
}

fn verifying_key(jwk: &Jwk, allowed: &[Algorithm]) -> Option<VerifyingKey> {
    let for_signatures = jwk.key_use.as_deref().is_none_or(|key_use| key_use == "sig")
        && jwk
            .key_ops
            .as_ref()
            .is_none_or(|ops| ops.iter().any(|op| op == "verify"));
    if !for_signatures {
        return None;
    }
    let member = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
    let public = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => PublicKey::from_rsa(&member(&jwk.n)?, &member(&jwk.e)?).ok()?,
        ("EC", Some("P-256")) => PublicKey::from_p256(&member(&jwk.x)?, &member(&jwk.y)?).ok()?,
        ("OKP", Some("Ed25519")) => PublicKey::from_ed25519(&member(&jwk.x)?).ok()?,
        _ => return None,
    };
    let algorithm = match jwk.alg.as_deref() {
        Some(alg) => Algorithm::parse(alg).filter(|algorithm| allowed.contains(algorithm))?,
        // Without `alg`, the key is pinned to the first allowed algorithm that fits its kind.
        None => allowed
            .iter()
            .copied()
            .find(|algorithm| public.fits(*algorithm))?,
    };
    VerifyingKey::new(KeyId::parse(jwk.kid.as_deref()?).ok()?, public, algorithm).ok()
}

/// The JWK form of a public key, as our own key set publishes it.
#[must_use]
pub fn jwk(id: &KeyId, public: &PublicKey, algorithm: Algorithm) -> Jwk {
    let text = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes));
    let base = Jwk {
        kid: Some(id.as_str().to_owned()),
        alg: Some(algorithm.as_str().to_owned()),
        key_use: Some("sig".to_owned()),
        ..Jwk::default()
    };
    match public {
        PublicKey::Rsa { n, e } => Jwk {
            kty: "RSA".to_owned(),
            n: text(n),
            e: text(e),
            ..base
        },
        PublicKey::P256 { x, y } => Jwk {
            kty: "EC".to_owned(),
            crv: Some("P-256".to_owned()),
            x: text(x),
            y: text(y),
            ..base
        },
        PublicKey::Ed25519 { x } => Jwk {
            kty: "OKP".to_owned(),
            crv: Some("Ed25519".to_owned()),
            x: text(x),
            ..base
        },
    }
}
