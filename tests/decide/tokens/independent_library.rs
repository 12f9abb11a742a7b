//! Our verifier and jsonwebtoken, which shares no code with it, on the same tokens of every algorithm.

use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use portcullis::domain::key::Algorithm;
use serde_json::Value;

use super::{KEYS, claims, fault, good, verify};
use crate::signers::signer;

fn algorithm_of(key: &str) -> jsonwebtoken::Algorithm {
    signer(key).key.algorithm.as_str().parse().unwrap()
}

/// A good token, made by jsonwebtoken.
fn made(key: &str) -> String {
    let mut header = Header::new(algorithm_of(key));
    header.kid = Some(key.to_owned());
    header.typ = Some("at+jwt".to_owned());
    let pem = signer(key).key.private_pem.as_bytes();
    let encoding_key = match signer(key).key.algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 => EncodingKey::from_rsa_pem(pem),
        Algorithm::Es256 => EncodingKey::from_ec_pem(pem),
        Algorithm::EdDsa => EncodingKey::from_ed_pem(pem),
    };
    jsonwebtoken::encode(&header, &claims(), &encoding_key.unwrap()).unwrap()
}

/// Whether jsonwebtoken accepts the token with the published form of the key. It cannot be given the time of these
/// tests, so it does not check the expiry.
fn accepts(key: &str, token: &str) -> bool {
    let jwk = serde_json::to_value(signer(key).jwk()).unwrap();
    let decoding_key = DecodingKey::from_jwk(&serde_json::from_value(jwk).unwrap()).unwrap();
    let mut validation = Validation::new(algorithm_of(key));
    validation.validate_exp = false;
    validation.set_issuer(&[super::ISSUER]);
    validation.set_audience(&["https://gateway.test"]);
    jsonwebtoken::decode::<Value>(token, &decoding_key, &validation).is_ok()
}

#[test]
fn tokens_made_by_jsonwebtoken_verify() {
    for key in KEYS {
        let token = made(key);
        let verified = verify(&token).unwrap();
        assert_eq!(verified.app().as_str(), "orders", "{key}");
        assert!(accepts(key, &token) && accepts(key, &good(key)), "{key}");
    }
}

#[test]
fn tampered_tokens_are_rejected_by_both_verifiers() {
    for key in KEYS {
        for token in [made(key), good(key)] {
            // One character in each part; the last one of a part may hold unused bits.
            for part in 0..3 {
                let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
                let middle = parts[part].len() / 2;
                let changed = if parts[part].as_bytes()[middle] == b'A' {
                    "B"
                } else {
                    "A"
                };
                parts[part].replace_range(middle..=middle, changed);
                let tampered = parts.join(".");
                assert!(!accepts(key, &tampered), "{key}, part {part}");
                let _ = fault(&tampered);
            }
        }
    }
}
