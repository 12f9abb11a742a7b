//! Denials because of the token: missing, forged, expired, revoked, or for another purpose.

use serde_json::json;

use super::{Expected, METADATA, check, invalid_token, with_token};
use crate::forge;
use crate::forge::{AUDIENCE, Forge, NOW, write_key};
use crate::gateway::{ENFORCED, FORGE, Http, OTHER, SCOPELESS, Setup, token, token_for, token_with};
use crate::upstream::StubUpstream;

#[tokio::test]
async fn missing_token_is_challenged_without_an_error() {
    let expected = Expected {
        status: 401,
        reason: "token_missing",
        error: "unauthorized",
        challenge: Some(vec![("resource_metadata", METADATA)]),
    };
    check(Http::batch(ENFORCED), expected).await;
}

#[tokio::test]
async fn write_key_alone_is_no_token() {
    let expected = Expected {
        status: 401,
        reason: "token_missing",
        error: "unauthorized",
        challenge: Some(vec![("resource_metadata", METADATA)]),
    };
    check(Http::batch(ENFORCED).basic(&write_key(ENFORCED)), expected).await;
}

#[tokio::test]
async fn malformed_token_is_denied() {
    for text in ["opaque", "a.b.c", "e30.e30.", ""] {
        check(with_token(text), invalid_token("token_malformed")).await;
    }
}

#[tokio::test]
async fn forged_token_is_denied() {
    let forged = Forge::new().token_text(ENFORCED, "token-1");
    check(with_token(&forged), invalid_token("token_signature_invalid")).await;
}

#[tokio::test]
async fn token_of_an_unknown_key_is_denied() {
    let header = json!({"alg": "RS256", "kid": "another", "typ": "at+jwt"});
    let text = FORGE.sign(&header, &forge::claims(ENFORCED, "token-1"));
    check(with_token(&text), invalid_token("token_key_unknown")).await;
}

#[tokio::test]
async fn token_of_an_untrusted_issuer_is_denied() {
    let text = token_with(ENFORCED, json!({"iss": "https://elsewhere.test"}));
    check(with_token(&text), invalid_token("token_issuer_untrusted")).await;
}

#[tokio::test]
async fn token_for_another_audience_is_denied() {
    let text = token_with(ENFORCED, json!({"aud": "https://elsewhere.test"}));
    check(with_token(&text), invalid_token("token_audience_mismatch")).await;
}

/// Ours name one audience. Whoever else is named could show the token here.
#[tokio::test]
async fn token_of_ours_for_several_audiences_is_denied() {
    for aud in [json!([AUDIENCE, "https://elsewhere.test"]), json!([AUDIENCE])] {
        let text = token_with(ENFORCED, json!({ "aud": aud }));
        check(with_token(&text), invalid_token("token_audience_mismatch")).await;
    }
}

#[tokio::test]
async fn expired_token_is_denied() {
    let text = token_with(ENFORCED, json!({"exp": NOW.0 - 6}));
    check(with_token(&text), invalid_token("token_expired")).await;
}

#[tokio::test]
async fn token_of_the_future_is_denied() {
    let text = token_with(ENFORCED, json!({"iat": NOW.0 + 6}));
    check(with_token(&text), invalid_token("token_not_yet_valid")).await;
}

#[tokio::test]
async fn revoked_token_is_denied() {
    let text = FORGE.token_text(ENFORCED, "revoked-0");
    check(with_token(&text), invalid_token("token_revoked")).await;
}

#[tokio::test]
async fn token_of_another_type_is_denied() {
    let header = json!({"alg": "RS256", "kid": forge::KEY_ID, "typ": "JWT"});
    let text = FORGE.sign(&header, &forge::claims(ENFORCED, "token-1"));
    check(with_token(&text), invalid_token("token_type_wrong")).await;
}

/// A token that names where its key is to be had makes nobody go there.
#[tokio::test]
async fn keys_that_a_token_brings_or_names_are_never_fetched() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let url = format!("http://{}/keys", server.local_addr().unwrap());
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    for (member, value) in [
        ("jku", json!(url)),
        ("x5u", json!(url)),
        ("jwk", serde_json::to_value(FORGE.jwk()).unwrap()),
        ("x5c", json!(["MIIB"])),
        ("kid", json!(url)),
    ] {
        let mut header = FORGE.header();
        header[member] = value;
        let token = FORGE.sign(&header, &forge::claims(ENFORCED, "token-1"));
        let answer = gateway.send(&with_token(&token)).await;
        assert_eq!(answer.status, 401, "{member}");
    }
    upstream.assert_untouched();
    let connection = server.accept().map(drop).map_err(|error| error.kind());
    assert_eq!(connection, Err(std::io::ErrorKind::WouldBlock));
}

#[tokio::test]
async fn token_of_an_unknown_app_is_denied() {
    check(with_token(&token(99)), invalid_token("app_unknown")).await;
}

#[tokio::test]
async fn app_of_another_source_is_denied() {
    let expected = Expected {
        status: 403,
        reason: "app_not_connected",
        error: "access_denied",
        challenge: None,
    };
    check(with_token(&token(OTHER)), expected).await;
}

#[tokio::test]
async fn insufficient_scope_is_challenged_with_the_scope_needed() {
    let expected = || Expected {
        status: 403,
        reason: "scope_insufficient",
        error: "insufficient_scope",
        challenge: Some(vec![
            ("error", "insufficient_scope"),
            ("resource_metadata", METADATA),
            ("scope", forge::SCOPE),
        ]),
    };
    check(with_token(&token_for(ENFORCED, "other:read")), expected()).await;
    // The token still says what the app may no longer do.
    check(Http::good_batch(SCOPELESS), expected()).await;
}
