//! The claims of a token: which are required, their types, and their bounds.

use portcullis::domain::access_token::{TOKEN_ID_BYTES_MAX, TokenFault};
use portcullis::domain::json::JsonError;
use portcullis::domain::jws::JwsError;
use portcullis::domain::time::UnixSeconds;
use serde_json::json;

use super::{
    ISSUER, NOW, OTHER_ISSUER, THIRTY_DAYS, claims, fault, fault_of_claims, header, malformed, missing,
    verify, with, wrong_type,
};
use crate::signers::signer;

#[test]
fn the_issuer_is_compared_as_it_stands() {
    for odd in [
        "https://auth.test/",
        "https://AUTH.test",
        "https://auth.test ",
        "",
        "https://auth.test.evil.test",
    ] {
        assert_eq!(
            fault_of_claims(json!({ "iss": odd })),
            TokenFault::IssuerUntrusted,
            "{odd:?}"
        );
    }
}

#[test]
fn every_required_claim_is_required() {
    for name in ["iss", "aud", "exp", "iat", "jti", "sub", "client_id"] {
        assert_eq!(fault_of_claims(json!({ name: null })), missing(name), "{name}");
    }
    let least = with(
        claims(),
        json!({"scope": null, "workspace_id": null, "client_key_id": null}),
    );
    assert!(verify(&signer("rs-1").sign(&header("rs-1"), &least)).is_ok());
}

/// CVE-2026-25537: a claim of another type than expected is as good as absent to some verifiers.
#[test]
fn every_claim_has_its_type() {
    let odd_texts = [
        json!(1),
        json!(true),
        json!({}),
        json!([ISSUER]),
        json!(["orders"]),
        json!([]),
    ];
    for name in ["iss", "sub", "client_id", "jti", "scope", "client_key_id"] {
        for odd in &odd_texts {
            assert_eq!(
                fault_of_claims(json!({ name: odd })),
                wrong_type(name),
                "{name}: {odd}"
            );
        }
    }
    let odd_audiences = [
        json!(1),
        json!(true),
        json!({"https://gateway.test": 1}),
        json!([]),
        json!(["https://gateway.test", 1]),
        json!([["https://gateway.test"]]),
    ];
    for odd in odd_audiences {
        let expected = wrong_type("aud");
        assert_eq!(fault_of_claims(json!({ "aud": odd })), expected, "{odd}");
    }
    let claims = claims().to_string();
    for (name, value) in [("exp", NOW + 3_600), ("iat", NOW - 10)] {
        for odd in [
            format!("\"{value}\""),
            format!("-{value}"),
            "-0.5".to_owned(),
            "true".to_owned(),
            "null".to_owned(),
            format!("[{value}]"),
        ] {
            let held = format!("\"{name}\":{value}");
            assert!(claims.contains(&held));
            let text = claims.replace(&held, &format!("\"{name}\":{odd}"));
            assert_eq!(
                fault(&signer("rs-1").sign_text(&header("rs-1").to_string(), &text)),
                TokenFault::Claims(JsonError::Type(name)),
                "{name}: {odd}"
            );
        }
    }
    for odd in [json!("1"), json!(-1.5), json!(-1), json!([1])] {
        assert_eq!(
            fault_of_claims(json!({ "nbf": odd })),
            TokenFault::Claims(JsonError::Type("nbf")),
            "{odd}"
        );
    }
}

/// RFC 7519 section 2: a `NumericDate` is a JSON number, so it may have a fraction or an exponent.
#[test]
fn dates_may_have_fractions_and_exponents() {
    let claims = claims().to_string();
    for (name, value) in [("exp", NOW + 3_600), ("iat", NOW - 10)] {
        for form in [
            format!("{value}.0"),
            format!("{value}.999999"),
            format!("{}.{}e9", value / 1_000_000_000, value % 1_000_000_000),
            format!("{}.{}E9", value / 1_000_000_000, value % 1_000_000_000),
            format!("{value}000e-3"),
        ] {
            let text = claims.replace(&format!("\"{name}\":{value}"), &format!("\"{name}\":{form}"));
            let token = verify(&signer("rs-1").sign_text(&header("rs-1").to_string(), &text)).unwrap();
            if name == "exp" {
                assert_eq!(token.expires_at(), UnixSeconds(value), "{form}");
            }
        }
    }
    let nbf = with(self::claims(), json!({"nbf": 1_688_117_968.25}));
    assert!(verify(&signer("rs-1").sign(&header("rs-1"), &nbf)).is_ok());
    // A number past the end of time is the end of time, as for whole numbers.
    assert_eq!(
        fault_of_claims(json!({"exp": 1e300})),
        TokenFault::Claim("exp".into())
    );
}

/// RFC 9449 section 7, RFC 8705 section 3.
#[test]
fn token_with_cnf_is_refused_without_proof() {
    for cnf in [
        json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}),
        json!({"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}),
        json!({"kid": "rs-1"}),
        json!({}),
        json!([]),
        json!("x"),
        json!(false),
    ] {
        assert_eq!(
            fault_of_claims(json!({ "cnf": cnf })),
            TokenFault::ProofMissing,
            "{cnf}"
        );
    }
    let null = claims().to_string().replacen('{', "{\"cnf\":null,", 1);
    let token = signer("rs-1").sign_text(&header("rs-1").to_string(), &null);
    assert_eq!(fault(&token), TokenFault::ProofMissing);
}

/// RFC 9068 section 2.2: with client credentials `sub` names the client.
#[test]
fn subject_of_our_own_token_is_its_client() {
    assert_eq!(
        fault_of_claims(json!({"sub": "someone"})),
        TokenFault::Claim("sub".into())
    );
    assert_eq!(
        fault_of_claims(json!({"client_id": "someone"})),
        TokenFault::Claim("sub".into())
    );
    let outside = with(claims(), json!({"iss": OTHER_ISSUER, "sub": "someone"}));
    assert!(verify(&signer("rs-9").sign(&header("rs-9"), &outside)).is_ok());
}

/// RFC 9864: `EdDSA` and `Ed25519` name one algorithm.
#[test]
fn ed25519_and_eddsa_are_one_algorithm() {
    for alg in ["EdDSA", "Ed25519"] {
        let token = signer("ed-1").sign(&with(header("ed-1"), json!({ "alg": alg })), &claims());
        assert!(verify(&token).is_ok(), "{alg}");
    }
    for alg in ["ed25519", "Ed448", "ESP256"] {
        let token = signer("ed-1").sign(&with(header("ed-1"), json!({ "alg": alg })), &claims());
        assert_eq!(fault(&token), malformed(JwsError::Algorithm), "{alg}");
    }
}

#[test]
fn claims_of_an_odd_form_are_refused() {
    for (name, odd) in [
        ("jti", json!("")),
        ("jti", json!("x".repeat(TOKEN_ID_BYTES_MAX + 1))),
        ("client_id", json!("")),
        ("client_id", json!("two words")),
        ("client_id", json!("x".repeat(129))),
        ("client_key_id", json!("a\"b")),
        ("scope", json!("a\"b")),
        (
            "scope",
            json!((0..33).map(|n| n.to_string()).collect::<Vec<_>>().join(" ")),
        ),
    ] {
        assert_eq!(
            fault_of_claims(json!({ name: odd })),
            TokenFault::Claim(name.into()),
            "{name}: {odd}"
        );
    }
}

#[test]
fn a_token_that_lives_too_long_is_refused() {
    for (life, expected) in [
        (THIRTY_DAYS, None),
        (THIRTY_DAYS + 1, Some(TokenFault::Claim("exp".into()))),
    ] {
        let claims = with(claims(), json!({"iat": NOW, "exp": NOW + life}));
        let verified = verify(&signer("rs-1").sign(&header("rs-1"), &claims));
        assert_eq!(verified.err(), expected, "{life}");
    }
    // 2^63 and 2^64 - 1 seconds are far away and wrap nothing around.
    for end in [1_u64 << 63, u64::MAX] {
        assert_eq!(
            fault_of_claims(json!({ "exp": end })),
            TokenFault::Claim("exp".into())
        );
        let claims = with(claims(), json!({"iss": OTHER_ISSUER, "exp": end}));
        let unlimited = verify(&signer("rs-9").sign(&header("rs-9"), &claims)).unwrap();
        assert_eq!(unlimited.expires_at(), UnixSeconds(end));
    }
}
