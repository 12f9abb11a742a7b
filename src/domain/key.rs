//! Public keys: what may prove a client assertion or an access token, and with which one algorithm.
//!
//! Signature libraries take more than we want: 1024-bit keys, exponents of 1, private keys in PEM. The
//! kind, the size and the exponent are therefore checked here, before a key is stored or trusted.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use pkcs1::der::asn1::{AnyRef, BitStringRef};
use pkcs1::der::{Decode as _, Encode as _};
use spki::ObjectIdentifier;
use thiserror::Error;

use super::cost;
use super::digest::sha256;
use super::ids::KeyId;
use super::weak_key;

/// The longest PEM text accepted, in bytes. An RSA key of 8192 bits takes about 1,500.
pub const PEM_BYTES_MAX: usize = 16 * 1024;

/// The longest label of a PEM block that is shown.
const LABEL_MAX: usize = 40;

const RSA_BITS_MIN: usize = 2048;
const RSA_BITS_MAX: usize = 8192;

const OID_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const OID_EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const OID_P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const OID_ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The signature algorithms we know (RFC 7518 section 3.1, RFC 8037 section 3.1). `none` and the HMAC
/// family are not among them, so no code path can be talked into using them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Rs256,
    Ps256,
    Es256,
    EdDsa,
}

impl Algorithm {
    /// Every algorithm, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Rs256, Self::Ps256, Self::Es256, Self::EdDsa];

    /// The `alg` value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm with exactly this `alg` value. `Ed25519` is the name that RFC 9864 gives to `EdDSA` with such a
    /// key, the only kind used here.
    #[must_use]
    pub fn parse(alg: &str) -> Option<Self> {
        match alg {
            "Ed25519" => Some(Self::EdDsa),
            _ => Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == alg),
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::Ps256 => &RSA_PSS_2048_8192_SHA256,
            Self::Es256 => &ECDSA_P256_SHA256_FIXED,
            Self::EdDsa => &ED25519,
        }
    }
}

/// Why a text or a JWK is not a public key that we take. The sentences are shown to people.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidPublicKey {
    #[error(
        "this is a private key; keep it with your application and never share it. Paste the public key: openssl rsa -in private.pem -pubout -outform PEM"
    )]
    PrivateKey,
    #[error(
        "this is a certificate, not a public key; extract the key: openssl x509 -in cert.pem -pubkey -noout"
    )]
    Certificate,
    #[error("there is no PEM public key here; it begins with -----BEGIN PUBLIC KEY-----")]
    NoPem,
    #[error("there is more than one PEM block here; paste one public key")]
    SeveralBlocks,
    #[error("a PEM block named `{0}` is not a public key; it begins with -----BEGIN PUBLIC KEY-----")]
    Label(String),
    #[error("the key is longer than {PEM_BYTES_MAX} bytes")]
    TooLong,
    #[error("the PEM block is damaged; copy it whole, from -----BEGIN to the end of the -----END line")]
    Damaged,
    #[error("the key's kind is not supported; use RSA (2048 bits or more), EC P-256 or Ed25519")]
    Kind,
    #[error("an RSA key of {0} bits is not accepted; use 2048 to 8192 bits")]
    RsaSize(usize),
    #[error("the RSA key's public exponent is not accepted; make a new key with the usual exponent, 65537")]
    RsaExponent,
    #[error("the key's numbers do not form a usable key")]
    Numbers,
    #[error("the key is of a form that others can sign for; make a new key, with another tool or device")]
    Weak,
    #[error("the algorithm {0} does not fit this kind of key")]
    AlgorithmMismatch(&'static str),
}

/// The kind of a public key and its numbers, checked.
#[derive(Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// Modulus and exponent, big-endian without leading zeros.
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Affine coordinates, 32 bytes each.
    P256 {
        x: [u8; 32],
        y: [u8; 32],
    },
    Ed25519 {
        x: [u8; 32],
    },
}

impl PublicKey {
    /// Reads one PEM block: `PUBLIC KEY` (RFC 7468 section 13) or `RSA PUBLIC KEY` (RFC 8017).
    ///
    /// # Errors
    /// [`InvalidPublicKey`] says what was pasted instead, or what is wrong with the key.
    pub fn from_pem(text: &str) -> Result<Self, InvalidPublicKey> {
        if text.len() > PEM_BYTES_MAX {
            return Err(InvalidPublicKey::TooLong);
        }
        cost::count(text.len());
        // A private key anywhere in the paste is the mistake to name first.
        if text.contains("PRIVATE KEY-----") {
            return Err(InvalidPublicKey::PrivateKey);
        }
        let (_, after) = text.split_once("-----BEGIN ").ok_or(InvalidPublicKey::NoPem)?;
        let (label, after) = after.split_once("-----").ok_or(InvalidPublicKey::Damaged)?;
        match label {
            "PUBLIC KEY" | "RSA PUBLIC KEY" => {}
            "CERTIFICATE" | "TRUSTED CERTIFICATE" | "X509 CERTIFICATE" => {
                return Err(InvalidPublicKey::Certificate);
            }
            other => {
                // Where a line break was lost, what stands here is the key.
                let is_label = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ';
                return Err(match other.len() <= LABEL_MAX && other.chars().all(is_label) {
                    true => InvalidPublicKey::Label(other.to_owned()),
                    false => InvalidPublicKey::Damaged,
                });
            }
        }
        let end = format!("-----END {label}-----");
        let (body, rest) = after.split_once(end.as_str()).ok_or(InvalidPublicKey::Damaged)?;
        if rest.contains("-----BEGIN ") {
            return Err(InvalidPublicKey::SeveralBlocks);
        }
        cost::count(after.len() + 2 * body.len());
        let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let der = STANDARD.decode(body).map_err(|_| InvalidPublicKey::Damaged)?;
        if label == "RSA PUBLIC KEY" {
            Self::from_pkcs1(&der)
        } else {
            Self::from_spki(&der)
        }
    }

    /// The key as a PEM block of its `SubjectPublicKeyInfo` (RFC 7468 section 13), without a line's end after it. Two
    /// texts of one key have one such form, and nothing that stood around them.
    ///
    /// # Errors
    /// [`InvalidPublicKey::Numbers`] where the key cannot be encoded.
    pub fn to_pem(&self) -> Result<String, InvalidPublicKey> {
        let numbers = |_| InvalidPublicKey::Numbers;
        let (oid, parameters) = match self {
            Self::Rsa { .. } => (OID_RSA, Some(AnyRef::NULL)),
            Self::P256 { .. } => (OID_EC, Some(AnyRef::from(&OID_P256))),
            Self::Ed25519 { .. } => (OID_ED25519, None),
        };
        let bits = self.bits().ok_or(InvalidPublicKey::Numbers)?;
        let info = spki::SubjectPublicKeyInfo {
            algorithm: spki::AlgorithmIdentifier { oid, parameters },
            subject_public_key: BitStringRef::from_bytes(&bits).map_err(numbers)?,
        };
        let der = info.to_der().map_err(numbers)?;
        Ok(pem_text("PUBLIC KEY", &STANDARD.encode(der)))
    }

    /// Reads a DER `SubjectPublicKeyInfo` (RFC 5280 section 4.1.2.7).
    ///
    /// # Errors
    /// [`InvalidPublicKey`] for another kind of key, a weak one, or damaged bytes.
    pub fn from_spki(der: &[u8]) -> Result<Self, InvalidPublicKey> {
        let info = spki::SubjectPublicKeyInfoRef::from_der(der).map_err(|_| InvalidPublicKey::Damaged)?;
        let bits = info
            .subject_public_key
            .as_bytes()
            .ok_or(InvalidPublicKey::Damaged)?;
        match info.algorithm.oid {
            OID_RSA => Self::from_pkcs1(bits),
            OID_EC => {
                let curve = info
                    .algorithm
                    .parameters_oid()
                    .map_err(|_| InvalidPublicKey::Kind)?;
                if curve != OID_P256 {
                    return Err(InvalidPublicKey::Kind);
                }
                let (x, y) = match bits {
                    [0x04, point @ ..] if point.len() == 64 => point.split_at(32),
                    _ => return Err(InvalidPublicKey::Numbers),
                };
                Self::from_p256(x, y)
            }
            OID_ED25519 => Self::from_ed25519(bits),
            _ => Err(InvalidPublicKey::Kind),
        }
    }

    /// Reads a DER `RSAPublicKey` (RFC 8017 appendix A.1.1).
    ///
    /// # Errors
    /// As [`Self::from_rsa`], and for damaged bytes.
    pub fn from_pkcs1(der: &[u8]) -> Result<Self, InvalidPublicKey> {
        let key = pkcs1::RsaPublicKey::from_der(der).map_err(|_| InvalidPublicKey::Damaged)?;
        Self::from_rsa(key.modulus.as_bytes(), key.public_exponent.as_bytes())
    }

    /// An RSA key from its numbers, as a JWK carries them (RFC 7518 section 6.3.1).
    ///
    /// # Errors
    /// A size outside 2048..=8192 bits, an even modulus, an exponent that is even, below 65537 or above
    /// 32 bits, or a modulus of a kind that can be factored.
    pub fn from_rsa(n: &[u8], e: &[u8]) -> Result<Self, InvalidPublicKey> {
        let n = strip_zeros(n);
        let e = strip_zeros(e);
        let bits = n
            .first()
            .map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
            return Err(InvalidPublicKey::RsaSize(bits));
        }
        if n.last().is_none_or(|last| last % 2 == 0) {
            return Err(InvalidPublicKey::Numbers);
        }
        let exponent = e.iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
        if e.len() > 4 || exponent < 65_537 || exponent % 2 == 0 {
            return Err(InvalidPublicKey::RsaExponent);
        }
        if weak_key::is_roca(n) {
            return Err(InvalidPublicKey::Weak);
        }
        Self::Rsa {
            n: n.to_vec(),
            e: e.to_vec(),
        }
        .usable()
    }

    /// A P-256 key from its coordinates (RFC 7518 section 6.2.1).
    ///
    /// # Errors
    /// Coordinates that are not 32 bytes each, or not on the curve.
    pub fn from_p256(x: &[u8], y: &[u8]) -> Result<Self, InvalidPublicKey> {
        let x = x.try_into().map_err(|_| InvalidPublicKey::Numbers)?;
        let y = y.try_into().map_err(|_| InvalidPublicKey::Numbers)?;
        Self::P256 { x, y }.usable()
    }

    /// An Ed25519 key from its 32 bytes (RFC 8037 section 2). Bytes that are no point of the curve make a
    /// key under which nothing verifies.
    ///
    /// # Errors
    /// Another length, or a point of small order.
    pub fn from_ed25519(x: &[u8]) -> Result<Self, InvalidPublicKey> {
        let x = x.try_into().map_err(|_| InvalidPublicKey::Numbers)?;
        if weak_key::is_small_order(x) {
            return Err(InvalidPublicKey::Weak);
        }
        Self::Ed25519 { x }.usable()
    }

    /// Lets the signature library have its say, so that a key that is taken is a key that verifies.
    fn usable(self) -> Result<Self, InvalidPublicKey> {
        match self.parsed(self.default_algorithm()) {
            Some(_) => Ok(self),
            None => Err(InvalidPublicKey::Numbers),
        }
    }

    /// The algorithm that a key of this kind is pinned to unless its owner says otherwise.
    #[must_use]
    pub const fn default_algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa { .. } => Algorithm::Rs256,
            Self::P256 { .. } => Algorithm::Es256,
            Self::Ed25519 { .. } => Algorithm::EdDsa,
        }
    }

    /// Whether `algorithm` works with a key of this kind.
    #[must_use]
    pub const fn fits(&self, algorithm: Algorithm) -> bool {
        matches!(
            (self, algorithm),
            (Self::Rsa { .. }, Algorithm::Rs256 | Algorithm::Ps256)
                | (Self::P256 { .. }, Algorithm::Es256)
                | (Self::Ed25519 { .. }, Algorithm::EdDsa)
        )
    }

    /// The JWK thumbprint (RFC 7638), SHA-256.
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let canonical = match self {
            Self::Rsa { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, b64(e), b64(n)),
            Self::P256 { x, y } => {
                format!(
                    r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
                    b64(x),
                    b64(y)
                )
            }
            Self::Ed25519 { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, b64(x)),
        };
        Thumbprint(sha256(canonical.as_bytes()))
    }

    fn parsed(&self, algorithm: Algorithm) -> Option<ParsedPublicKey> {
        if !self.fits(algorithm) {
            return None;
        }
        ParsedPublicKey::new(algorithm.verification(), self.bits()?).ok()
    }

    /// The key's own bytes, as they stand in its `SubjectPublicKeyInfo`.
    fn bits(&self) -> Option<Vec<u8>> {
        Some(match self {
            Self::Rsa { n, e } => pkcs1::RsaPublicKey {
                modulus: pkcs1::UintRef::new(n).ok()?,
                public_exponent: pkcs1::UintRef::new(e).ok()?,
            }
            .to_der()
            .ok()?,
            Self::P256 { x, y } => [&[0x04], &x[..], &y[..]].concat(),
            Self::Ed25519 { x } => x.to_vec(),
        })
    }
}

/// A PEM text without what stands around its first block, in lines of 64 letters. A text without a block stays.
#[must_use]
pub fn pem_block(text: &str) -> String {
    let block = || {
        let (_, after) = text.split_once("-----BEGIN ")?;
        let (label, after) = after.split_once("-----")?;
        let (body, _) = after.split_once("-----END ")?;
        let letters: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        Some(pem_text(label, &letters))
    };
    block().unwrap_or_else(|| text.to_owned())
}

/// A PEM block of these letters of base64 (RFC 7468 section 3).
fn pem_text(label: &str, letters: &str) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for (at, letter) in letters.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text.push_str("\n-----END ");
    text.push_str(label);
    text.push_str("-----");
    text
}

fn strip_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.thumbprint())
    }
}

/// A key's RFC 7638 thumbprint: the name that follows from the key itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// The digest's bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// A public key ready to verify with its one algorithm (RFC 8725 section 3.1), under the key id it is
/// known by.
#[derive(Clone)]
pub struct VerifyingKey {
    id: KeyId,
    public: PublicKey,
    algorithm: Algorithm,
    thumbprint: Thumbprint,
    parsed: ParsedPublicKey,
}

impl VerifyingKey {
    /// Pins `public` to `algorithm` under the name `id`.
    ///
    /// # Errors
    /// [`InvalidPublicKey::AlgorithmMismatch`] when the algorithm needs another kind of key.
    pub fn new(id: KeyId, public: PublicKey, algorithm: Algorithm) -> Result<Self, InvalidPublicKey> {
        let parsed = public
            .parsed(algorithm)
            .ok_or(InvalidPublicKey::AlgorithmMismatch(algorithm.as_str()))?;
        let thumbprint = public.thumbprint();
        Ok(Self {
            id,
            public,
            algorithm,
            thumbprint,
            parsed,
        })
    }

    /// The key id (`kid`).
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The key itself.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The one algorithm this key verifies with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key's thumbprint, kept since every decision compares it.
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    /// Whether `signature` over `message` was made with this key.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({}, {})", self.id, self.algorithm.as_str())
    }
}
