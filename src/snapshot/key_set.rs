//! Public keys in JWK form, and a key set's way to keys that verify: entry by entry.
//!
//! An entry that cannot be used is left out and named; the others are used (RFC 7517 section 5). So a key that an issuer
//! withdraws is never kept because of another entry.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::cost;
use crate::domain::ids::KeyId;
use crate::domain::issuer_keys::IssuerKeys;
use crate::domain::key::{Algorithm, InvalidPublicKey, PublicKey, VerifyingKey};

/// How large a key set may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyBounds {
    /// The document, in bytes.
    pub bytes: usize,
    /// The keys that are used. Those that cannot be used do not count.
    pub keys: usize,
}

impl Default for KeyBounds {
    /// 1 MiB: a thousand RSA keys, or a few hundred with their certificates.
    fn default() -> Self {
        Self {
            bytes: 1 << 20,
            keys: 1024,
        }
    }
}

/// The most different keys with one id and algorithm that are used: each is tried when a token names the id.
pub const SAME_ID_MAX: usize = 2;

/// How much of a key id is shown, in characters.
const SHOWN_MAX: usize = 64;

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

/// The keys of a set that can be used, and the entries that cannot.
#[derive(Clone, Debug)]
pub struct KeySet {
    pub keys: IssuerKeys,
    pub left_out: Vec<LeftOut>,
}

/// An entry of a key set that is not used. It shows nothing of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its place in the set, from 0.
    pub at: usize,
    /// Its id, bounded and escaped; `None` where it has none that is a text.
    pub kid: Option<String>,
    pub why: WhyLeftOut,
}

/// Why an entry of a key set is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhyLeftOut {
    #[error("it is not an object with `kty`, or a member is not of its type")]
    Form,
    #[error("it has no `kid`, by which tokens could name it")]
    NoKeyId,
    #[error("its `kid` is empty, longer than 256 bytes or has a control character")]
    KeyId,
    #[error("it is not for signatures (`use` or `key_ops`)")]
    Use,
    #[error("its `kty` or `crv` is none of RSA, EC with P-256, and OKP with Ed25519")]
    Kind,
    #[error("a number of it is missing or not base64url")]
    Encoding,
    #[error("{0}")]
    Key(InvalidPublicKey),
    #[error("none of the configured algorithms fits its `alg` and kind")]
    Algorithm,
    #[error("it is the same as an earlier one")]
    Duplicate,
    #[error("{SAME_ID_MAX} others with its `kid` and algorithm are used already")]
    SameId,
    #[error("{0} others are used already; `jwks_keys` is the limit")]
    TooMany(usize),
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kid {
            Some(kid) => write!(f, "key {} (`{kid}`): {}", self.at, self.why),
            None => write!(f, "key {}: {}", self.at, self.why),
        }
    }
}

impl KeySet {
    /// The keys of the entries of a set (RFC 7517 section 5), each pinned to algorithms out of `allowed`: to its own
    /// `alg`, or without one to all that fit its kind.
    ///
    /// Two keys with one id are both used: chosen by the token's `alg` where that tells them apart (RFC 7517 section
    /// 4.5), else tried one after the other. At most `keys_max` are used.
    #[must_use]
    pub fn of(entries: &[Value], allowed: &[Algorithm], keys_max: usize) -> Self {
        let mut set = Collecting::new(keys_max);
        for (at, entry) in entries.iter().enumerate() {
            let jwk = Jwk::deserialize(entry).map_err(|_| WhyLeftOut::Form);
            let kid = entry.get("kid").and_then(Value::as_str);
            set.add(at, kid, jwk.as_ref().map_err(Clone::clone), allowed);
        }
        set.finish()
    }

    /// The same of entries that are in JWK form already.
    #[must_use]
    pub fn of_jwks(jwks: &[Jwk], allowed: &[Algorithm]) -> Self {
        let mut set = Collecting::new(KeyBounds::default().keys);
        for (at, jwk) in jwks.iter().enumerate() {
            set.add(at, jwk.kid.as_deref(), Ok(jwk), allowed);
        }
        set.finish()
    }
}

#[derive(Default)]
struct Collecting {
    keys: Vec<VerifyingKey>,
    /// How often each id and algorithm is there.
    same: std::collections::HashMap<(KeyId, Algorithm), usize>,
    /// What is there already, so that another of the same costs no parsing.
    seen: std::collections::HashSet<(KeyId, Algorithm, [u8; 32])>,
    left_out: Vec<LeftOut>,
    most: usize,
}

impl Collecting {
    fn new(most: usize) -> Self {
        Self {
            most,
            ..Self::default()
        }
    }

    fn add(&mut self, at: usize, kid: Option<&str>, jwk: Result<&Jwk, WhyLeftOut>, allowed: &[Algorithm]) {
        if let Err(why) = jwk.and_then(|jwk| self.take(jwk, allowed)) {
            self.left_out.push(LeftOut {
                at,
                kid: kid.map(shown),
                why,
            });
        }
    }

    fn take(&mut self, jwk: &Jwk, allowed: &[Algorithm]) -> Result<(), WhyLeftOut> {
        let is_for_signatures = jwk
            .key_use
            .as_deref()
            .is_none_or(|used| used.eq_ignore_ascii_case("sig"))
            && jwk
                .key_ops
                .as_ref()
                .is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !is_for_signatures {
            return Err(WhyLeftOut::Use);
        }
        let id = KeyId::of_key_set(jwk.kid.as_deref().ok_or(WhyLeftOut::NoKeyId)?)
            .map_err(|_| WhyLeftOut::KeyId)?;
        let named = jwk.alg.as_deref().map(Algorithm::parse);
        if named.is_some_and(|alg| alg.is_none_or(|alg| !allowed.contains(&alg))) {
            return Err(WhyLeftOut::Algorithm);
        }
        let public = public_key(jwk)?;
        let mut fitting: Vec<Algorithm> = allowed.iter().copied().filter(|alg| public.fits(*alg)).collect();
        fitting.retain(|alg| named.is_none_or(|named| named == Some(*alg)));
        if fitting.is_empty() {
            return Err(WhyLeftOut::Algorithm);
        }
        let mut refused = None;
        let mut is_used = false;
        for algorithm in fitting {
            match self.use_with(&id, &public, algorithm) {
                Ok(()) => is_used = true,
                Err(why) => refused = Some(why),
            }
        }
        match refused {
            Some(why) if !is_used => Err(why),
            _ => Ok(()),
        }
    }

    fn use_with(&mut self, id: &KeyId, public: &PublicKey, algorithm: Algorithm) -> Result<(), WhyLeftOut> {
        let thumbprint = public.thumbprint();
        if self
            .seen
            .contains(&(id.clone(), algorithm, thumbprint.to_bytes()))
        {
            return Err(WhyLeftOut::Duplicate);
        }
        if self.keys.len() >= self.most {
            return Err(WhyLeftOut::TooMany(self.most));
        }
        let same = self.same.entry((id.clone(), algorithm)).or_default();
        if *same >= SAME_ID_MAX {
            return Err(WhyLeftOut::SameId);
        }
        let key = VerifyingKey::new(id.clone(), public.clone(), algorithm).map_err(WhyLeftOut::Key)?;
        *same += 1;
        self.seen.insert((id.clone(), algorithm, thumbprint.to_bytes()));
        self.keys.push(key);
        Ok(())
    }

    fn finish(self) -> KeySet {
        KeySet {
            keys: IssuerKeys::from(self.keys),
            left_out: self.left_out,
        }
    }
}

fn public_key(jwk: &Jwk) -> Result<PublicKey, WhyLeftOut> {
    let number = |text: &Option<String>| decoded(text.as_deref()?);
    let missing = WhyLeftOut::Encoding;
    let public = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let (n, e) = number(&jwk.n).zip(number(&jwk.e)).ok_or(missing)?;
            PublicKey::from_rsa(&n, &e)
        }
        ("EC", Some("P-256")) => {
            let (x, y) = number(&jwk.x).zip(number(&jwk.y)).ok_or(missing)?;
            PublicKey::from_p256(&x, &y)
        }
        ("OKP", Some("Ed25519")) => PublicKey::from_ed25519(&number(&jwk.x).ok_or(missing)?),
        _ => return Err(WhyLeftOut::Kind),
    };
    public.map_err(WhyLeftOut::Key)
}

/// Base64url, as RFC 7515 section 2 has it. Padding and the other alphabet are taken as well: they stand for the
/// same number, and some issuers write them.
fn decoded(text: &str) -> Option<Vec<u8>> {
    cost::count(text.len());
    let text = text.trim_end_matches('=');
    match text.contains(['+', '/']) {
        true => URL_SAFE_NO_PAD
            .decode(text.replace('+', "-").replace('/', "_"))
            .ok(),
        false => URL_SAFE_NO_PAD.decode(text).ok(),
    }
}

/// A key id for logs: what is not printable is escaped, and what is long is cut.
fn shown(kid: &str) -> String {
    let mut out: String = kid.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect();
    if kid.chars().nth(SHOWN_MAX).is_some() {
        out.push('…');
    }
    out
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
