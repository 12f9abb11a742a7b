//! Signatures and algorithms: the fault of a missing, wrong or forged one.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis::domain::access_token::TokenFault;
use portcullis::domain::json::JsonError;
use portcullis::domain::jws::JwsError;
use portcullis::domain::key::Algorithm;
use serde_json::{Value, json};

use super::{KEYS, claims, fault, fault_of_header, good, header, malformed, parts, with, with_signature};
use crate::signers::signer;

#[test]
fn algorithms_outside_the_list_are_refused() {
    // Every way to write `none` with upper and lower case.
    let nones = (0..16_u32).map(|bits| {
        let raised = |(at, c): (usize, char)| {
            if bits >> at & 1 == 1 {
                c.to_ascii_uppercase()
            } else {
                c
            }
        };
        "none".chars().enumerate().map(raised).collect::<String>()
    });
    let others = [
        "",
        " ",
        "RS256 ",
        "rs256",
        "Rs256",
        "HS256",
        "HS384",
        "HS512",
        "RS384",
        "RS512",
        "PS384",
        "PS512",
        "ES384",
        "ES512",
        "ES256K",
        "eddsa",
        "RSA1_5",
        "RSA-OAEP",
        "dir",
        "A256GCM",
        "none\0",
        "RS256,none",
    ];
    for algorithm in nones.chain(others.map(str::to_owned)) {
        let header = with(header("rs-1"), json!({"alg": algorithm}));
        let signed = signer("rs-1").sign(&header, &claims());
        let [head, payload, _] = parts(&signed);
        for text in [
            signed.clone(),
            format!("{head}.{payload}."),
            format!("{head}.{payload}.AA"),
        ] {
            assert_eq!(fault(&text), malformed(JwsError::Algorithm), "{algorithm:?}");
        }
    }
    assert_eq!(
        fault_of_header(json!({"alg": null})),
        malformed(JwsError::Header(JsonError::Missing("alg")))
    );
    for odd in [json!(256), json!(["RS256"]), json!({"RS256": 1}), json!(true)] {
        assert_eq!(
            fault_of_header(json!({ "alg": odd })),
            malformed(JwsError::Header(JsonError::Type("alg")))
        );
    }
}

/// CVE-2015-9235: a verifier that takes the public key for a shared secret.
#[test]
fn the_public_key_is_no_shared_secret() {
    for key in KEYS {
        let der = signer(key).public_der();
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----",
            STANDARD
                .encode(&der)
                .as_bytes()
                .chunks(64)
                .map(|line| std::str::from_utf8(line).unwrap())
                .collect::<Vec<_>>()
                .join("\n")
        );
        let jwk = signer(key).jwk();
        let secrets = [
            pem.clone().into_bytes(),
            format!("{pem}\n").into_bytes(),
            der,
            serde_json::to_vec(&jwk).unwrap(),
            jwk.n.or(jwk.x).unwrap().into_bytes(),
            Vec::new(),
        ];
        for (secret, algorithm) in secrets
            .iter()
            .flat_map(|secret| [(secret, "HS256"), (secret, "")])
        {
            let mut head = header(key);
            if !algorithm.is_empty() {
                head = with(head, json!({ "alg": algorithm }));
            }
            let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let input = format!("{}.{}", encoded(&head), encoded(&claims()));
            let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
            let expected = if algorithm.is_empty() {
                TokenFault::SignatureInvalid
            } else {
                malformed(JwsError::Algorithm)
            };
            assert_eq!(
                fault(&format!("{input}.{}", URL_SAFE_NO_PAD.encode(mac))),
                expected,
                "{key}"
            );
        }
    }
}

/// RFC 8725 section 3.1: one key, one algorithm, even where its kind could do two.
#[test]
fn a_key_verifies_nothing_signed_with_another_algorithm() {
    for (key, algorithm) in [("rs-1", Algorithm::Ps256), ("ps-1", Algorithm::Rs256)] {
        let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let head = with(header(key), json!({"alg": algorithm.as_str()}));
        let input = format!("{}.{}", encoded(&head), encoded(&claims()));
        let signature = signer(key).signature_as(algorithm, input.as_bytes());
        let token = format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature));
        assert_eq!(fault(&token), TokenFault::SignatureInvalid, "{key}");
    }
    // The header lies about the algorithm, the signature is the key's own.
    for (key, other) in [
        ("rs-1", "PS256"),
        ("ps-1", "RS256"),
        ("es-1", "RS256"),
        ("ed-1", "ES256"),
    ] {
        let token = signer(key).sign(&with(header(key), json!({ "alg": other })), &claims());
        assert_eq!(fault(&token), TokenFault::SignatureInvalid, "{key}");
    }
}

/// CVE-2022-21449: zeros are a signature of everything to a verifier that forgets to look.
#[test]
fn psychic_signatures_are_refused() {
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let order: Vec<u8> = (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&order[at..at + 2], 16).unwrap())
        .collect();
    let one = [&[0; 31][..], &[1]].concat();
    for (r, s) in [
        (&[0; 32][..], &[0; 32][..]),
        (&one, &[0; 32]),
        (&[0; 32], &one),
        (&one, &one),
        (&order, &order),
        (&order, &one),
        (&[0xff; 32], &[0xff; 32]),
    ] {
        let token = with_signature("es-1", &[r, s].concat());
        assert_eq!(fault(&token), TokenFault::SignatureInvalid);
        let token = with_signature("ed-1", &[r, s].concat());
        assert_eq!(fault(&token), TokenFault::SignatureInvalid);
    }
    for (key, length) in [("rs-1", 256), ("ps-1", 256)] {
        for byte in [0, 1, 0xff] {
            let token = with_signature(key, &vec![byte; length]);
            assert_eq!(fault(&token), TokenFault::SignatureInvalid, "{key} {byte}");
        }
    }
}

#[test]
fn signatures_of_another_length_are_refused() {
    for key in KEYS {
        let token = good(key);
        let signature = URL_SAFE_NO_PAD.decode(parts(&token)[2]).unwrap();
        for length in [1, 32, 63, 64, 65, 96, 128, 132, 255, 256, 257, 512, 1024] {
            if length != signature.len() {
                let mut other = signature.clone();
                other.resize(length, 0);
                assert_eq!(
                    fault(&with_signature(key, &other)),
                    TokenFault::SignatureInvalid,
                    "{key} {length}"
                );
            }
        }
        let longer = [&[0], &signature[..]].concat();
        assert_eq!(
            fault(&with_signature(key, &longer)),
            TokenFault::SignatureInvalid,
            "{key}"
        );
    }
    // The same ECDSA signature in DER, which JWS does not use.
    let token = good("es-1");
    let signature = URL_SAFE_NO_PAD.decode(parts(&token)[2]).unwrap();
    let integer = |bytes: &[u8]| [&[0x02, 33, 0], bytes].concat();
    let (r, s) = signature.split_at(32);
    let der = [&[0x30, 70][..], &integer(r), &integer(s)].concat();
    assert_eq!(fault(&with_signature("es-1", &der)), TokenFault::SignatureInvalid);
}
