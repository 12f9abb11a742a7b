//! Tokens that other verifiers accepted by mistake: each is denied, and the upstream sees nothing.
//!
//! The rules behind these answers are tested one by one in `tests/decide`; this is about nothing getting
//! round them on the way.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::forge::{self, Forge};
use crate::gateway::{ENFORCED, FORGE, Http, Setup, merge, token};
use crate::upstream::StubUpstream;

/// Sends each token with a batch that it would be good for, were it good.
async fn assert_refused(tokens: Vec<(String, String)>) {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut wrong = Vec::new();
    for (name, token) in tokens {
        let answer = gateway.send(&Http::batch(ENFORCED).bearer(&token)).await;
        let (status, reason) = answer.verdict();
        if status != 401 || !reason.starts_with("token_") {
            wrong.push((name, status, reason));
        }
    }
    assert_eq!(wrong, []);
    upstream.assert_untouched();
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
}

fn header_with(changed: Value) -> Value {
    let mut header = forge::header();
    merge(&mut header, changed);
    header
}

fn claims_with(changed: Value) -> Value {
    let mut claims = forge::claims(ENFORCED, "token-1");
    merge(&mut claims, changed);
    claims
}

fn named(changed: Vec<Value>, make: impl Fn(Value) -> String) -> Vec<(String, String)> {
    changed
        .into_iter()
        .map(|changed| (changed.to_string(), make(changed)))
        .collect()
}

/// Signed, with some members of its header replaced.
fn of_header(changed: Value) -> String {
    FORGE.sign(&header_with(changed), &claims_with(json!({})))
}

#[tokio::test]
async fn claims_of_another_type_are_refused() {
    let mut changed = Vec::new();
    for claim in ["iss", "sub", "client_id", "aud", "jti"] {
        for value in [
            json!(1),
            json!(true),
            json!({}),
            json!([[]]),
            json!([forge::ISSUER]),
            Value::Null,
        ] {
            // An audience may be a list; that it holds another's name is what makes it wrong.
            changed.push(json!({ claim: value }));
        }
    }
    for claim in ["exp", "iat"] {
        for value in [
            json!("1"),
            json!("9999999999"),
            json!(true),
            json!([9_999_999_999_u64]),
            json!({}),
            json!(-1),
            json!(1e30),
        ] {
            changed.push(json!({ claim: value }));
        }
    }
    changed.push(json!({"nbf": "0"}));
    changed.push(json!({"scope": [forge::SCOPE]}));
    changed.push(json!({"scope": {forge::SCOPE: true}}));
    assert_refused(named(changed, of_claims)).await;
}

#[tokio::test]
async fn headers_that_ask_for_more_than_a_signature_are_refused() {
    let changed = vec![
        json!({"crit": ["exp"], "exp": 1}),
        json!({"crit": []}),
        json!({"crit": "b64"}),
        json!({"b64": false, "crit": ["b64"]}),
        json!({"b64": false}),
        json!({"typ": "JWT"}),
        json!({"typ": "dpop+jwt"}),
        json!({"typ": null}),
    ];
    let mut tokens = named(changed, of_header);
    let header = forge::header().to_string();
    let twice = header.replacen('{', r#"{"alg":"none","#, 1);
    tokens.push((
        "alg twice".to_owned(),
        FORGE.sign_text(&twice, &claims_with(json!({})).to_string()),
    ));
    let claims = claims_with(json!({})).to_string();
    let twice = claims.replacen('{', r#"{"scope":"other:read","#, 1);
    tokens.push(("scope twice".to_owned(), FORGE.sign_text(&header, &twice)));
    assert_refused(tokens).await;
}

#[tokio::test]
async fn tokens_without_a_signature_are_refused() {
    let mut tokens = Vec::new();
    let good = token(ENFORCED);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    for alg in [
        "none", "None", "NONE", "nOnE", "noNe", "", "HS256", "RS512", "ES256", "PS256", "EdDSA",
    ] {
        let changed = of_header(json!({"alg": alg}));
        let unsigned = changed.rsplit_once('.').unwrap().0;
        tokens.push((format!("{alg:?} unsigned"), format!("{unsigned}.")));
        tokens.push((
            format!("{alg:?} with the signature of another"),
            format!("{unsigned}.{signature}"),
        ));
        tokens.push((format!("{alg:?} signed all the same"), changed));
    }
    tokens.push(("no signature".to_owned(), format!("{signed}.")));
    tokens.push(("two parts".to_owned(), signed.to_owned()));
    assert_refused(tokens).await;
}

/// CVE-2015-9235 and CVE-2026-39999: a verifier that takes the public key for a shared secret.
#[tokio::test]
async fn tokens_signed_with_our_public_key_as_a_secret_are_refused() {
    let jwk = FORGE.jwk();
    let part = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_ref().unwrap()).unwrap();
    let der = spki(&part(&jwk.n), &part(&jwk.e));
    let lines: Vec<String> = STANDARD
        .encode(&der)
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        lines.join("\n")
    );
    let secrets = [
        pem.trim_end().as_bytes().to_vec(),
        pem.into_bytes(),
        der,
        serde_json::to_vec(&jwk).unwrap(),
        jwk.n.unwrap().into_bytes(),
        Vec::new(),
    ];
    let mut tokens = Vec::new();
    for (at, secret) in secrets.iter().enumerate() {
        for alg in ["HS256", "RS256"] {
            let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let header = header_with(json!({"alg": alg}));
            let input = format!("{}.{}", encoded(&header), encoded(&claims_with(json!({}))));
            let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
            tokens.push((
                format!("{alg} with form {at}"),
                format!("{input}.{}", URL_SAFE_NO_PAD.encode(mac)),
            ));
        }
    }
    assert_refused(tokens).await;
}

/// An RSA key as a SubjectPublicKeyInfo (RFC 5280 section 4.1).
fn spki(n: &[u8], e: &[u8]) -> Vec<u8> {
    fn field(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], length.as_slice(), content].concat()
    }
    let numbers = [field(2, &[&[0], n].concat()), field(2, e)].concat();
    let bits = [&[0], field(0x30, &numbers).as_slice()].concat();
    let rsa = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0];
    field(0x30, &[rsa.as_slice(), &field(3, &bits)].concat())
}

/// CVE-2018-0114, CVE-2026-27962: no key comes with the token, and none is fetched for it.
#[tokio::test]
async fn keys_that_a_token_brings_along_are_refused_and_never_fetched() {
    let key_server = StubUpstream::start();
    let url = format!("http://{}/jwks.json", key_server.address());
    let own = Forge::new();
    let key = serde_json::to_value(own.jwk()).unwrap();
    let changed = vec![
        json!({"jwk": key}),
        json!({"jwk": key, "kid": null}),
        json!({"jku": url}),
        json!({"x5u": url}),
        json!({"x5c": ["MIIB"]}),
        json!({"jku": url, "kid": "other"}),
    ];
    let mut tokens = named(changed.clone(), |changed| {
        own.sign(&header_with(changed), &claims_with(json!({})))
    });
    // Also where the signature is good: its maker expects the member to be read.
    tokens.extend(named(changed, of_header));
    assert_refused(tokens).await;
    key_server.assert_untouched();
}

#[tokio::test]
async fn key_ids_are_looked_up_and_nothing_else() {
    let long = "k".repeat(5_000);
    let changed = vec![
        json!({"kid": "../../../../dev/null"}),
        json!({"kid": "' OR 1=1 --"}),
        json!({"kid": "signing-1\u{0}"}),
        json!({"kid": "signing-1 "}),
        json!({"kid": "SIGNING-1"}),
        json!({"kid": "http://127.0.0.1/"}),
        json!({"kid": long}),
        json!({"kid": ""}),
        json!({"kid": null}),
        json!({"kid": 1}),
        json!({"kid": ["signing-1"]}),
    ];
    assert_refused(named(changed, of_header)).await;
}

#[tokio::test]
async fn signatures_of_another_length_are_refused() {
    let good = token(ENFORCED);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut tokens = Vec::new();
    for length in [0, 1, 64, 128, 255, 257, 512, 1_024, 4_096] {
        let mut other = signature.clone();
        other.resize(length, 0);
        tokens.push((
            format!("{length} bytes"),
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(other)),
        ));
    }
    for byte in [0, 1, 0xff] {
        let other = URL_SAFE_NO_PAD.encode([byte; 256]);
        tokens.push((format!("bytes of {byte}"), format!("{signed}.{other}")));
    }
    assert_refused(tokens).await;
}

/// CVE-2026-35030: a cache that knew tokens by how they begin.
#[tokio::test]
async fn tokens_that_begin_alike_are_told_apart() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    // The good one is verified and kept; then its signature is changed at each end and in the middle.
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
    let good = token(ENFORCED);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    for at in [0, bytes.len() / 2, bytes.len() - 1] {
        let mut other = bytes.clone();
        other[at] ^= 1;
        let other = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(other));
        let answer = gateway.send(&Http::batch(ENFORCED).bearer(&other)).await;
        answer.assert_denied(401, "token_signature_invalid");
    }
    upstream.only();
}

/// Identity providers write a role for each group, so valid tokens are long.
#[tokio::test]
async fn long_tokens_are_accepted_up_to_token_bytes() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let with_roles = |count: usize| {
        let roles: Vec<String> = (0..count).map(|n| format!("group-{n:010}")).collect();
        let nested: Value = (0..count / 4)
            .map(|n| (format!("client-{n}"), json!({})))
            .collect();
        of_claims(json!({"roles": roles, "resource_access": nested}))
    };
    for count in [200, 500, 800] {
        let token = with_roles(count);
        assert!(token.len() > count * 20, "{}", token.len());
        let answer = gateway.send(&Http::batch(ENFORCED).bearer(&token)).await;
        assert_eq!(answer.status, 200, "{} bytes: {answer:?}", token.len());
    }
    let mut setup = Setup::new(&upstream);
    setup.config.limits.token_bytes = 2_048;
    let gateway = setup.start().await;
    let answer = gateway
        .send(&Http::batch(ENFORCED).bearer(&with_roles(200)))
        .await;
    answer.assert_denied(401, "token_malformed");
    let description = answer.json()["error_description"].as_str().unwrap().to_owned();
    assert!(description.contains("2048 bytes"), "{description}");
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
}

#[tokio::test]
async fn dates_with_fractions_are_accepted() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let now = forge::NOW.0 as f64;
    for changed in [
        json!({"iat": now - 10.5, "nbf": now - 10.25, "exp": now + 100.123_456}),
        json!({"iat": now - 10.0, "exp": now + 100.0}),
    ] {
        let token = of_claims(changed.clone());
        let answer = gateway.send(&Http::batch(ENFORCED).bearer(&token)).await;
        assert_eq!(answer.status, 200, "{changed}: {answer:?}");
    }
    for (changed, reason) in [
        (json!({"exp": now - 5.5}), "token_expired"),
        (json!({"nbf": now + 600.5}), "token_not_yet_valid"),
        (json!({"iat": -1.5}), "token_malformed"),
    ] {
        let answer = gateway
            .send(&Http::batch(ENFORCED).bearer(&of_claims(changed)))
            .await;
        answer.assert_denied(401, reason);
    }
}

/// Signed, with some claims replaced.
fn of_claims(changed: Value) -> String {
    FORGE.sign(&forge::header(), &claims_with(changed))
}

/// A token that a client got for one gateway (`resource`, RFC 8707) opens no other gateway of the same control plane.
#[tokio::test]
async fn token_of_another_gateways_resource_is_denied() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.public_url = Some("https://one.example.test".to_owned());
    let gateway = setup.start().await;
    let own = forge::claims(ENFORCED, "own")["aud"].clone();
    for (audience, verdict) in [
        (json!("https://one.example.test"), (200, "")),
        (own.clone(), (200, "")),
        (
            json!("https://two.example.test"),
            (401, "token_audience_mismatch"),
        ),
        (
            json!("https://one.example.test/"),
            (401, "token_audience_mismatch"),
        ),
        (
            json!("https://one.example.test.evil"),
            (401, "token_audience_mismatch"),
        ),
        // A token for two gateways could be replayed by either at the other.
        (
            json!(["https://one.example.test", "https://two.example.test"]),
            (401, "token_audience_mismatch"),
        ),
    ] {
        let mut claims = forge::claims(ENFORCED, "resource");
        claims["aud"] = audience.clone();
        let request = Http::batch(ENFORCED).bearer(&FORGE.sign(&forge::header(), &claims));
        let answer = gateway.send(&request).await;
        assert_eq!(answer.verdict(), (verdict.0, verdict.1.to_owned()), "{audience}");
    }
}
