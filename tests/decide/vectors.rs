//! Project Wycheproof's JWS and JWK vectors (`tests/vectors/wycheproof`) against our verifier: nothing
//! invalid is accepted, and nothing valid refused without a reason that is written here.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::domain::jws::CompactJws;
use portcullis::domain::key::Algorithm;
use portcullis::snapshot::{Jwk, KeySet};
use serde_json::Value;

/// Valid vectors that are refused, by what we do not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stricter {
    /// HS*, RS384 and its like: not one of the four algorithms.
    Algorithm,
    /// No access token has an empty payload.
    EmptyPayload,
    /// A character outside the alphabet of base64url, which some decoders skip.
    Encoding,
}

/// Whether `jws` is a token that one of these keys signed.
fn is_accepted(jws: &str, keys: &[Jwk]) -> bool {
    let Ok(token) = CompactJws::parse(jws) else {
        return false;
    };
    let Ok(key_id) = token.require_key_id() else {
        return false;
    };
    let keys = KeySet::of_jwks(keys, &Algorithm::ALL).keys;
    let mut candidates = keys.candidates(key_id, token.algorithm());
    candidates.any(|key| token.is_signed_by(key))
}

fn jwks(group: &Value) -> Vec<Jwk> {
    let held = group.get("public").unwrap_or(&group["private"]);
    let list = held["keys"]
        .as_array()
        .cloned()
        .unwrap_or_else(|| vec![held.clone()]);
    list.into_iter()
        .map(|key| serde_json::from_value(key).unwrap())
        .collect()
}

fn why_refused(jws: &str) -> Option<Stricter> {
    let parts: Vec<&str> = jws.split('.').collect();
    let decoded: Result<Vec<_>, _> = parts.iter().map(|part| URL_SAFE_NO_PAD.decode(part)).collect();
    let Ok([header, payload, _]) = decoded.as_deref() else {
        return Some(Stricter::Encoding);
    };
    let header: Value = serde_json::from_slice(header).ok()?;
    if Algorithm::parse(header["alg"].as_str()?).is_none() {
        return Some(Stricter::Algorithm);
    }
    payload.is_empty().then_some(Stricter::EmptyPayload)
}

/// Runs a file's vectors. Answers how many were accepted, and how many valid ones refused for each reason.
fn run(file: &str) -> (usize, BTreeMap<Stricter, usize>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors/wycheproof")
        .join(file);
    let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let (mut accepted, mut stricter) = (0, BTreeMap::new());
    for group in vectors["testGroups"].as_array().unwrap() {
        let keys = jwks(group);
        for vector in group["tests"].as_array().unwrap() {
            let name = format!(
                "{file} {} {} {}",
                vector["tcId"], group["comment"], vector["comment"]
            );
            // A JWE, and a JWS in its JSON form, are inputs like any other.
            let input = vector.get("jws").unwrap_or(&vector["jwe"]);
            let text = input.as_str().map_or_else(|| input.to_string(), str::to_owned);
            let valid_jws = vector["result"] == "valid" && vector.get("jws").is_some();
            match (valid_jws, is_accepted(&text, &keys)) {
                (true, true) => accepted += 1,
                (true, false) => {
                    let why = why_refused(&text).unwrap_or_else(|| panic!("refused: {name}"));
                    *stricter.entry(why).or_default() += 1;
                }
                (false, is_accepted) => assert!(!is_accepted, "accepted: {name}"),
            }
        }
    }
    (accepted, stricter)
}

#[test]
fn signature_vectors_are_told_apart() {
    let (accepted, stricter) = run("json_web_signature_test.json");
    assert_eq!(accepted, 14);
    assert_eq!(
        stricter,
        [
            (Stricter::Algorithm, 28),
            (Stricter::EmptyPayload, 2),
            (Stricter::Encoding, 2)
        ]
        .into()
    );
}

#[test]
fn key_vectors_are_told_apart() {
    let (accepted, stricter) = run("json_web_key_test.json");
    assert_eq!(accepted, 1);
    assert_eq!(stricter, [(Stricter::Algorithm, 4)].into());
}

#[test]
fn mixed_vectors_are_told_apart() {
    let (accepted, stricter) = run("json_web_crypto_test.json");
    assert_eq!(accepted, 2);
    assert_eq!(stricter, [(Stricter::Algorithm, 2)].into());
}
