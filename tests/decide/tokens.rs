//! Tokens that must not verify, and the fault each of them has: forged, damaged, confused, oversized.

mod independent_library;
mod signatures;

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis::domain::access_token::{TOKEN_BYTES_MAX, TOKEN_ID_BYTES_MAX, TokenFault, VerifiedToken};
use portcullis::domain::decide::decide;
use portcullis::domain::decision::{Decision, DenyReason};
use portcullis::domain::facts::{
    CredentialFact, RequestFacts, RouteFacts, SourceFact, UnknownSources, WithoutToken,
};
use portcullis::domain::ids::KeyId;
use portcullis::domain::json::{JsonError, MEMBERS_MAX};
use portcullis::domain::jws::{CompactJws, JwsError, looks_like_jws};
use portcullis::domain::key::Algorithm;
use portcullis::domain::policy::Policy;
use portcullis::domain::scope::Scope;
use portcullis::domain::time::UnixSeconds;
use serde_json::{Map, Value, json};

use crate::model::{App, Issuer, World};
use crate::signers::signer;

const NOW: u64 = 1_795_000_000;
const ISSUER: &str = "https://auth.test";
const OTHER_ISSUER: &str = "https://login.partner.test";
const KEYS: [&str; 4] = ["rs-1", "ps-1", "es-1", "ed-1"];
const THIRTY_DAYS: u64 = 30 * 86_400;

/// Two issuers: ours with a key of each kind, and another with one key and no limit on lifetimes.
fn world() -> World {
    let issuer = |bundled, leeway_s, keys: &[&str]| Issuer {
        bundled,
        audiences: vec!["https://gateway.test".to_owned()],
        leeway_s,
        keys: keys.iter().copied().map(str::to_owned).collect(),
        keys_fetched: true,
        lifetime_max_s: None,
        any_type: !bundled,
    };
    let app = App {
        issuer: ISSUER.to_owned(),
        scopes: vec!["tracking_api:write".to_owned()],
        keys: vec!["app-key-1".to_owned()],
        not_issued_before: 0,
        keys_not_issued_before: [].into(),
        workspace: "ws-1".to_owned(),
    };
    World {
        confirmed_at: NOW,
        max_age_s: 86_400,
        when_stale: "deny".to_owned(),
        issuers: [
            (ISSUER.to_owned(), issuer(true, 5, &KEYS)),
            (OTHER_ISSUER.to_owned(), issuer(false, 0, &["rs-9"])),
        ]
        .into(),
        apps: [("orders".to_owned(), app)].into(),
        workspaces: [].into(),
        sources: [].into(),
        revoked: Vec::new(),
    }
}

fn policy() -> &'static Policy {
    static POLICY: LazyLock<Policy> = LazyLock::new(|| world().policy());
    &POLICY
}

fn header(key: &str) -> Value {
    let algorithm = match &key[..2] {
        "rs" => "RS256",
        "ps" => "PS256",
        "es" => "ES256",
        _ => "EdDSA",
    };
    json!({"alg": algorithm, "kid": key, "typ": "at+jwt"})
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "orders", "client_id": "orders", "aud": "https://gateway.test",
        "iat": NOW - 10, "exp": NOW + 3_600, "jti": "token-1", "scope": "tracking_api:write",
        "workspace_id": "ws-1", "client_key_id": "app-key-1",
    })
}

/// `object` with these members put in or, where they are `null`, taken out.
fn with(mut object: Value, changes: Value) -> Value {
    let (Some(members), Value::Object(changes)) = (object.as_object_mut(), changes) else {
        panic!("changes are made to an object, by an object");
    };
    members.extend(changes);
    members.retain(|_, value| !value.is_null());
    object
}

fn good(key: &str) -> String {
    signer(key).sign(&header(key), &claims())
}

fn verify(token: &str) -> Result<VerifiedToken, TokenFault> {
    VerifiedToken::verify(token, policy())
}

/// The fault of a token, which must have one. Tokens stay out of the test's output.
fn fault(token: &str) -> TokenFault {
    verify(token).expect_err("a token verified that must not")
}

fn fault_of_header(changes: Value) -> TokenFault {
    fault(&signer("rs-1").sign(&with(header("rs-1"), changes), &claims()))
}

fn fault_of_claims(changes: Value) -> TokenFault {
    fault(&signer("rs-1").sign(&header("rs-1"), &with(claims(), changes)))
}

/// The fault of a token without the claim. Issuers may name some claims otherwise.
fn missing(name: &'static str) -> TokenFault {
    match name {
        "aud" | "client_id" | "jti" => TokenFault::ClaimMissing(format!("`{name}`").into()),
        _ => TokenFault::Claims(JsonError::Missing(name)),
    }
}

fn wrong_type(name: &'static str) -> TokenFault {
    match name {
        "aud" | "client_id" | "jti" | "scope" => TokenFault::ClaimType(name.into()),
        _ => TokenFault::Claims(JsonError::Type(name)),
    }
}

fn malformed(error: JwsError) -> TokenFault {
    TokenFault::Malformed(error)
}

/// Header, payload and signature of a token, still encoded.
fn parts(token: &str) -> [&str; 3] {
    token.split('.').collect::<Vec<_>>().try_into().unwrap()
}

/// A good token with another signature.
fn with_signature(key: &str, signature: &[u8]) -> String {
    let token = good(key);
    let [header, payload, _] = parts(&token);
    format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn good_tokens_of_every_algorithm_verify() {
    for key in KEYS {
        assert!(verify(&good(key)).is_ok(), "{key}");
    }
}

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
        malformed(JwsError::Shape)
    );
    assert_eq!(
        fault(&with_signature("rs-1", &[1; 1025])),
        malformed(JwsError::Shape)
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
        malformed(JwsError::Payload(JsonError::Syntax))
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

#[test]
fn the_key_id_must_be_one() {
    for (odd, expected) in [
        (json!(null), JwsError::Header(JsonError::Missing("kid"))),
        (json!(1), JwsError::Header(JsonError::Type("kid"))),
        (json!(["rs-1"]), JwsError::Header(JsonError::Type("kid"))),
        (json!(""), JwsError::KeyId),
        (json!("rs-1\n"), JwsError::KeyId),
        (json!("rs-1\u{0}"), JwsError::KeyId),
        (json!("x".repeat(257)), JwsError::KeyId),
    ] {
        assert_eq!(fault_of_header(json!({ "kid": odd })), malformed(expected));
    }
    // Any other text may be an issuer's key id (RFC 7515 section 4.1.4), and none of these is.
    for other in ["rs-1 ", "' OR 1=1 --", "rs-1#", "schlüssel", &"x".repeat(256)] {
        let unknown = TokenFault::KeyUnknown {
            issuer: ISSUER.into(),
        };
        assert_eq!(fault_of_header(json!({ "kid": other })), unknown, "{other}");
    }
}

#[test]
fn keys_are_looked_up_in_their_own_issuer_only() {
    let unknown = |issuer: &str| TokenFault::KeyUnknown {
        issuer: issuer.into(),
    };
    for kid in ["rs-2", "rs-9", "RS-1", "../../rs-1", "/dev/null"] {
        assert_eq!(fault_of_header(json!({ "kid": kid })), unknown(ISSUER), "{kid}");
    }
    let of_other = with(claims(), json!({"iss": OTHER_ISSUER}));
    assert!(verify(&signer("rs-9").sign(&header("rs-9"), &of_other)).is_ok());
    // A trusted key, under its own id, for an issuer that it does not belong to.
    assert_eq!(
        fault(&signer("rs-9").sign(&header("rs-9"), &claims())),
        unknown(ISSUER)
    );
    assert_eq!(
        fault(&signer("rs-1").sign(&header("rs-1"), &of_other)),
        unknown(OTHER_ISSUER)
    );
    // A trusted key under the id of another issuer's key.
    assert_eq!(
        fault(&signer("rs-9").sign(&header("rs-1"), &claims())),
        TokenFault::SignatureInvalid
    );
    assert_eq!(
        fault(&signer("rs-1").sign(&header("rs-9"), &of_other)),
        TokenFault::SignatureInvalid
    );
    // A key of the same issuer under the id of its neighbour.
    assert_eq!(
        fault(&signer("ps-1").sign(&header("rs-1"), &claims())),
        TokenFault::SignatureInvalid
    );
}

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

#[test]
fn the_type_must_be_that_of_an_access_token() {
    for good in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
        let token = signer("rs-1").sign(&with(header("rs-1"), json!({ "typ": good })), &claims());
        assert!(verify(&token).is_ok(), "{good}");
    }
    for odd in [
        json!(null),
        json!("JWT"),
        json!(""),
        json!("jwt"),
        json!("at+jwt "),
        json!("at+jwt;v=1"),
        json!("application/application/at+jwt"),
        json!("text/at+jwt"),
        json!("id_token+jwt"),
        json!("dpop+jwt"),
        json!("statuslist+jwt"),
        json!("client-authentication+jwt"),
    ] {
        assert_eq!(fault_of_header(json!({ "typ": odd })), TokenFault::Type, "{odd}");
    }
    assert_eq!(
        fault_of_header(json!({"typ": ["at+jwt"]})),
        malformed(JwsError::Header(JsonError::Type("typ")))
    );
    // An issuer that does not follow RFC 9068 may be configured to need none.
    let of_other = with(claims(), json!({"iss": OTHER_ISSUER}));
    assert!(verify(&signer("rs-9").sign(&with(header("rs-9"), json!({"typ": null})), &of_other)).is_ok());
}

#[test]
fn a_token_taken_apart_says_what_it_names() {
    let token = good("es-1");
    let jws = CompactJws::parse(&token).unwrap();
    assert_eq!(
        (jws.algorithm(), jws.key_id().map(KeyId::as_str)),
        (Algorithm::Es256, Some("es-1"))
    );
    assert!(jws.has_type() && jws.is_type("at+jwt") && !jws.is_type("JWT"));
    assert_eq!(jws.unverified_claims().unwrap().text("jti"), Ok("token-1"));
    let [header, payload, _] = parts(&token);
    assert_eq!(jws.signing_input(), format!("{header}.{payload}").as_bytes());
}

fn answer(policy: &Policy, token: &VerifiedToken) -> Result<(), DenyReason> {
    let scope = Scope::parse("tracking_api:write").unwrap();
    let facts = RequestFacts {
        route: RouteFacts {
            scope: &scope,
            unknown_sources: UnknownSources::Deny,
            without_token: WithoutToken::Deny,
        },
        source: SourceFact::ByToken,
        credential: CredentialFact::Verified(token),
    };
    match decide(policy, &facts, UnixSeconds(NOW)) {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(reason) => Err(reason),
    }
}

/// A verified token may come from a cache; what it rests on may have gone since.
#[test]
fn a_removed_key_ends_its_tokens_at_once() {
    let token = verify(&good("es-1")).unwrap();
    assert_eq!(answer(policy(), &token), Ok(()));

    let mut without_key = world();
    without_key
        .issuers
        .get_mut(ISSUER)
        .unwrap()
        .keys
        .retain(|key| key != "es-1");
    assert_eq!(
        answer(&without_key.policy(), &token),
        Err(DenyReason::TokenKeyUnknown)
    );

    let mut without_issuer = world();
    without_issuer.issuers.remove(ISSUER);
    assert_eq!(
        answer(&without_issuer.policy(), &token),
        Err(DenyReason::TokenIssuerUntrusted)
    );

    // The other issuer publishes the very same key: it is not that one's token.
    let mut moved = without_key;
    moved
        .issuers
        .get_mut(OTHER_ISSUER)
        .unwrap()
        .keys
        .push("es-1".to_owned());
    assert_eq!(answer(&moved.policy(), &token), Err(DenyReason::TokenKeyUnknown));
}

/// Another key under the id of the old one is another key.
#[test]
fn a_replaced_key_ends_the_tokens_of_the_one_before() {
    let token = verify(&good("rs-1")).unwrap();
    let world = world();
    let mut snapshot = world.snapshot(2);
    let keys = &mut snapshot.issuer.as_mut().unwrap().keys;
    keys.retain(|key| key.kid.as_deref() != Some("rs-1"));
    let mut other = signer("rs-2").jwk();
    other.kid = Some("rs-1".to_owned());
    keys.push(other);
    let policy = portcullis::snapshot::compile(&snapshot, &world.outside(), world.freshness()).unwrap();
    assert_eq!(answer(&policy, &token), Err(DenyReason::TokenKeyUnknown));
    assert_eq!(
        VerifiedToken::verify(&good("rs-1"), &policy).err(),
        Some(TokenFault::SignatureInvalid)
    );
}
