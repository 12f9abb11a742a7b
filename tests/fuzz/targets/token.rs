//! Compact JWS: what is taken apart is three strict parts, and says the same to serde_json.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::domain::client_assertion::UnverifiedAssertion;
use portcullis::domain::ids::KeyId;
use portcullis::domain::jws::{CompactJws, JWS_BYTES_MAX, looks_like_jws};
use portcullis::domain::key::Algorithm;
use serde_json::Value;

use super::common::in_linear_work;

const REFUSED: [&str; 6] = ["crit", "b64", "jwk", "jku", "x5u", "x5c"];

/// With three dots or more the data is a token; with fewer it is a header, and the rest is added.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    check(text);
    check(&format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(text)));
}

fn check(token: &str) {
    let _ = in_linear_work(token.len(), || UnverifiedAssertion::parse(token));
    let Ok(jws) = in_linear_work(token.len(), || CompactJws::parse(token)) else {
        return;
    };
    assert!(looks_like_jws(token) && token.len() <= JWS_BYTES_MAX);
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts.as_slice() else {
        panic!("{} parts", parts.len());
    };
    for part in [header, payload, signature] {
        let bytes = URL_SAFE_NO_PAD.decode(part).unwrap();
        assert!(!bytes.is_empty());
        assert_eq!(URL_SAFE_NO_PAD.encode(bytes), **part, "two texts are one token");
    }
    assert_eq!(jws.signing_input(), format!("{header}.{payload}").as_bytes());
    let header = URL_SAFE_NO_PAD.decode(header).unwrap();
    let seen: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!(
        seen["alg"].as_str().and_then(Algorithm::parse),
        Some(jws.algorithm())
    );
    assert_eq!(
        seen.get("kid").and_then(Value::as_str),
        jws.key_id().map(KeyId::as_str)
    );
    assert!(REFUSED.iter().all(|name| seen.get(name).is_none()));
    assert_eq!(seen.get("typ").is_some(), jws.has_type());
    if jws.is_type("at+jwt") {
        let typ = seen["typ"].as_str().unwrap().to_ascii_lowercase();
        assert!(typ == "at+jwt" || typ == "application/at+jwt");
    }
    if let Ok(claims) = in_linear_work(token.len(), || jws.unverified_claims()) {
        let payload = URL_SAFE_NO_PAD.decode(payload).unwrap();
        let seen: Value = serde_json::from_slice(&payload).unwrap();
        for (name, value) in seen.as_object().unwrap() {
            assert!(claims.has(name), "a claim that only serde_json sees");
            if let Some(text) = value.as_str() {
                assert!(
                    matches!(claims.value(name), Some(portcullis::domain::json::Value::Text(ours)) if ours == text)
                );
            }
        }
    }
}
