//! The text of a token: parts, alphabets, sizes, and members that appear twice or are not allowed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis::domain::access_token::{TOKEN_BYTES_MAX, TokenFault};
use portcullis::domain::json::{JsonError, MEMBERS_MAX};
use portcullis::domain::jws::{JwsError, looks_like_jws};
use serde_json::{Map, json};

use super::{
    KEYS, claims, fault, fault_of_claims, fault_of_header, good, header, malformed, parts, verify, with,
    with_signature,
};
use crate::signers::signer;

#[test]
fn no_changed_character_goes_unnoticed() {
    for key in KEYS {
        let token = good(key);
        for (at, held) in token.char_indices() {
            for other in ['A', 'Q', '.', '='] {
                if other != held {
                    let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
                    assert!(verify(&changed).is_err(), "{key}, character {at}");
                }
            }
        }
    }
}

#[test]
fn no_part_of_a_token_verifies() {
    for key in KEYS {
        let token = good(key);
        for at in 0..token.len() {
            assert!(verify(&token[..at]).is_err(), "{key}, the first {at} characters");
            assert!(
                at == 0 || verify(&token[at..]).is_err(),
                "{key}, without the first {at}"
            );
        }
    }
}

#[test]
fn other_numbers_of_parts_are_refused() {
    let token = good("rs-1");
    let [header, payload, signature] = parts(&token);
    for text in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        header.to_owned(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{token}.{signature}"),
        format!(".{token}"),
        format!("{header}.{payload}.{payload}.{payload}.{signature}"),
    ] {
        assert_eq!(
            fault(&text),
            malformed(JwsError::Shape),
            "{} parts",
            text.split('.').count()
        );
    }
}

#[test]
fn only_three_parts_look_like_a_token_of_ours() {
    assert!(looks_like_jws(&good("rs-1")));
    for opaque in ["", "sgp_0123456789", "a.b", "a.b.c.d", "a.b.c.d.e"] {
        assert!(!looks_like_jws(opaque), "{opaque}");
    }
}

#[test]
fn whitespace_padding_and_other_alphabets_are_refused() {
    let token = good("rs-1");
    let [header, payload, signature] = parts(&token);
    let padded = |part: &str| format!("{part}{}", "=".repeat((4 - part.len() % 4) % 4));
    let mut texts: Vec<String> = [" ", "\t", "\n", "\r\n", "\0", "\u{a0}", "=", "%3D"]
        .iter()
        .flat_map(|odd| {
            [
                format!("{odd}{token}"),
                format!("{token}{odd}"),
                format!("{header}{odd}.{payload}.{signature}"),
                format!("{header}.{odd}{payload}.{signature}"),
                format!("{header}.{payload}.{}{odd}{}", &signature[..8], &signature[8..]),
            ]
        })
        .collect();
    texts.push(format!("{header}.{payload}.{}", padded(signature)));
    let not_url_safe = signer("rs-1").sign_parts(header, &STANDARD.encode("{\"a\":\"???>>>~~~\"}"));
    assert!(
        not_url_safe.contains(['+', '/']),
        "the payload shows the other alphabet"
    );
    texts.push(not_url_safe);
    for text in texts {
        assert_eq!(fault(&text), malformed(JwsError::Shape));
    }
}

/// The last character of a part may carry bits that no byte needs. Two texts would be one token.
#[test]
fn spare_bits_are_refused() {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for key in KEYS {
        let token = good(key);
        let last = *token.as_bytes().last().unwrap();
        let index = ALPHABET.iter().position(|held| *held == last).unwrap();
        let other = char::from(ALPHABET[index + 1]);
        let text = format!("{}{other}", &token[..token.len() - 1]);
        assert_eq!(fault(&text), malformed(JwsError::Shape), "{key}");
    }
}

#[test]
fn oversized_tokens_are_refused_before_anything_is_decoded() {
    let of_size =
        |pad: usize| signer("ed-1").sign(&header("ed-1"), &with(claims(), json!({"pad": "x".repeat(pad)})));
    let base = of_size(0).len();
    let mut pad = (TOKEN_BYTES_MAX - base) * 3 / 4;
    let mut longest = 0;
    loop {
        let token = of_size(pad);
        if token.len() > TOKEN_BYTES_MAX {
            assert_eq!(fault(&token), malformed(JwsError::TooLong(TOKEN_BYTES_MAX)));
            break;
        }
        assert!(verify(&token).is_ok(), "{} bytes", token.len());
        longest = token.len();
        pad += 1;
    }
    assert!(longest + 2 >= TOKEN_BYTES_MAX, "{longest}");
    assert_eq!(
        fault(&".".repeat(TOKEN_BYTES_MAX + 1)),
        malformed(JwsError::TooLong(TOKEN_BYTES_MAX))
    );
    assert_eq!(
        fault_of_header(json!({"pad": "x".repeat(1024)})),
        malformed(JwsError::PartTooLong {
            part: "header",
            bytes_max: 1024
        })
    );
    assert_eq!(
        fault(&with_signature("rs-1", &[1; 1025])),
        malformed(JwsError::PartTooLong {
            part: "signature",
            bytes_max: 1366
        })
    );
}

#[test]
fn too_many_members_are_refused() {
    let many = |count: usize| {
        (0..count)
            .map(|n| (format!("m{n}"), json!(n)))
            .collect::<Map<_, _>>()
    };
    let base = claims().as_object().unwrap().len();
    let at_limit = with(claims(), many(MEMBERS_MAX - base).into());
    assert!(verify(&signer("rs-1").sign(&header("rs-1"), &at_limit)).is_ok());
    assert_eq!(
        fault_of_claims(many(MEMBERS_MAX + 1 - base).into()),
        malformed(JwsError::Payload(JsonError::TooManyMembers))
    );
}

#[test]
fn members_that_would_let_the_sender_choose_are_refused() {
    let jwk = serde_json::to_value(signer("rs-2").jwk()).unwrap();
    for (member, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", json!("exp")),
        ("b64", json!(false)),
        ("b64", json!(true)),
        ("jwk", jwk),
        ("jwk", json!({})),
        ("jku", json!("https://auth.test/.well-known/jwks.json")),
        ("x5u", json!("https://evil.test/cert.pem")),
        ("x5c", json!(["MIIB"])),
    ] {
        let header = with(header("rs-1"), json!({ member: value }));
        for key in ["rs-1", "rs-2"] {
            let token = signer(key).sign(&header, &claims());
            assert_eq!(
                fault(&token),
                malformed(JwsError::RefusedMember(member)),
                "{member}"
            );
        }
    }
}

#[test]
fn a_repeated_member_is_refused_wherever_it_stands() {
    let header = header("rs-1").to_string();
    let claims = claims().to_string();
    for odd in [
        r#"{"alg":"none","#,
        r#"{"kid":"rs-9","#,
        r#"{"typ":"JWT","#,
        r#"{"\u0061lg":"RS256","#,
    ] {
        let header = header.replacen('{', odd, 1);
        assert_eq!(
            fault(&signer("rs-1").sign_text(&header, &claims)),
            malformed(JwsError::Header(JsonError::Syntax)),
            "{odd}"
        );
    }
    for odd in [
        r#"{"scope":"functions:write","#,
        r#"{"exp":9999999999,"#,
        r#"{"iss":"https://login.partner.test","#,
        r#"{"\u0065xp":9999999999,"#,
        r#"{"x":1,"x":1,"#,
    ] {
        let claims = claims.replacen('{', odd, 1);
        assert_eq!(
            fault(&signer("rs-1").sign_text(&header, &claims)),
            malformed(JwsError::Payload(JsonError::Syntax)),
            "{odd}"
        );
    }
}

#[test]
fn texts_that_are_not_one_object_are_refused() {
    let claims = claims().to_string();
    for odd in [
        "null".to_owned(),
        "[]".to_owned(),
        "\"{}\"".to_owned(),
        format!("{claims}{claims}"),
        format!("\u{feff}{claims}"),
        format!("{claims}\0"),
        claims.replace('"', "'"),
        claims.replacen('}', ",}", 1),
        claims.replacen("orders", "\\ud800", 1),
    ] {
        let token = signer("rs-1").sign_text(&header("rs-1").to_string(), &odd);
        assert_eq!(
            fault(&token),
            malformed(JwsError::Payload(JsonError::Syntax)),
            "{odd}"
        );
        let token = signer("rs-1").sign_text(&odd, &claims);
        assert_ne!(fault(&token), TokenFault::SignatureInvalid, "{odd}");
    }
}
