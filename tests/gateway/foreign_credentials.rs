//! Credentials of others go upstream where nothing is enforced; a token of a trusted issuer does not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::forge::{ISSUER, write_key};
use crate::gateway::{ENFORCED, Http, OBSERVED, Setup, UNENFORCED, token_with};
use crate::upstream::StubUpstream;

fn jwt(header: &str, claims: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part(header), part(claims), part("signature"))
}

/// What Pub/Sub sends with a push.
fn google() -> String {
    jwt(
        r#"{"alg":"RS256","kid":"k","typ":"JWT"}"#,
        r#"{"iss":"https://accounts.google.com","aud":"https://functions.test","exp":4000000000}"#,
    )
}

fn call(n: usize, authorization: &str) -> Http {
    Http::new("POST", "functions.test", &format!("/?b={}", write_key(n)))
        .header(format!("Authorization: {authorization}"))
        .body("{}")
}

#[tokio::test]
async fn foreign_credential_goes_upstream_where_nothing_is_enforced() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let sent = [
        format!("Bearer {}", google()),
        format!(
            "Bearer {}",
            jwt(r#"{"alg":"HS256"}"#, r#"{"iss":"other","iss2":1}"#)
        ),
        format!("Bearer {}", jwt(r#"{"alg":"none"}"#, r#"{"sub":"nobody"}"#)),
        "Bearer a.b.c".to_owned(),
        "Bearer opaque".to_owned(),
        "Basic bm9ib2R5OnNlY3JldA==".to_owned(),
        "HMAC abc".to_owned(),
        format!("DPoP {}", google()),
    ];
    for (n, authorization) in [UNENFORCED, OBSERVED]
        .into_iter()
        .flat_map(|n| sent.iter().map(move |sent| (n, sent)))
    {
        gateway.send(&call(n, authorization)).await.assert_ok();
        let received = upstream.received();
        assert_eq!(received.last().unwrap().one("Authorization"), authorization);
    }
}

#[tokio::test]
async fn token_of_a_trusted_issuer_stays_here_in_any_state() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let escaped = ISSUER.replace('/', "\\/");
    for token in [
        token_with(ENFORCED, serde_json::json!({"exp": 1})),
        token_with(ENFORCED, serde_json::json!({"client_id": null})),
        jwt(r#"{"alg":"HS256"}"#, &format!(r#"{{"iss":"{ISSUER}"}}"#)),
        jwt(r#"{"alg":"RS256"}"#, &format!(r#"{{"iss":"{escaped}"}}"#)),
        jwt("x", &format!(r#"{{"iss":"other","iss":"{ISSUER}"}}"#)),
    ] {
        for authorization in [format!("Bearer {token}"), format!("DPoP {token}")] {
            gateway.send(&call(UNENFORCED, &authorization)).await.assert_ok();
            let received = upstream.received();
            assert_eq!(
                received.last().unwrap().all("Authorization"),
                [""; 0],
                "{authorization}"
            );
        }
    }
}

#[tokio::test]
async fn foreign_token_opens_no_enforced_source() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let answer = gateway
        .send(&call(ENFORCED, &format!("Bearer {}", google())))
        .await;
    answer.assert_denied(401, "token_issuer_untrusted");
    upstream.assert_untouched();
}
