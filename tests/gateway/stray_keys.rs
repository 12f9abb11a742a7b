//! An enforced source is enforced on every API: its write key on one that identifies by token, which forwards what
//! carries no token, opens nothing.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use crate::forge::write_key;
use crate::gateway::{
    ENFORCED, Http, OBSERVED, OTHER, PUBLIC_SCOPE, SCOPELESS, Setup, UNENFORCED, batch, snapshot, token_for,
};
use crate::upstream::StubUpstream;

/// Paths to which libraries of the family, or their host settings, send events (none is one of the tracking API's).
const PATHS: [&str; 6] = [
    "/sdk/batch",
    "/beacon/v1/batch",
    "/api/s/track",
    "/v2/batch",
    "/prefix/v1/batch",
    "/v1",
];

fn post(target: &str) -> Http {
    Http::new("POST", "public.test", target)
}

/// Requests that carry the write key of source `n`, each in another place.
fn carrying(n: usize, path: &str) -> Vec<(&'static str, Http)> {
    let key = write_key(n);
    let authorization = |value: String| post(path).header(format!("Authorization: {value}")).body("{}");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(batch(n).as_bytes()).unwrap();
    vec![
        ("basic", post(path).basic(&key).body("{}")),
        (
            "basic without padding",
            authorization(format!("Basic {}", STANDARD_NO_PAD.encode(format!("{key}:x")))),
        ),
        (
            "basic without colon",
            authorization(format!("basic {}", STANDARD.encode(&key))),
        ),
        ("bearer", authorization(format!("Bearer {key}"))),
        ("bare", authorization(key.clone())),
        ("query", post(&format!("{path}?writeKey={key}")).body("{}")),
        (
            "query in another spelling",
            post(&format!("{path}?a=b;WRITEKEY=%20{key}")).body("{}"),
        ),
        (
            "query behind others",
            post(&format!("{path}?writeKey=x&writeKey={key}&writeKey=y")).body("{}"),
        ),
        ("query of a function", post(&format!("{path}?b={key}")).body("{}")),
        (
            "header",
            post(path).header(format!("X-Write-Key: {key}")).body("{}"),
        ),
        (
            "header of a function",
            post(path)
                .header(format!("X_Segment-Source-Function_Token: {key}"))
                .body("{}"),
        ),
        ("body", post(path).body(batch(n))),
        (
            "event",
            post(path).body(format!(r#"{{"batch":[{{"writeKey":"{key}"}}]}}"#)),
        ),
        (
            "gzip body",
            post(path)
                .header("Content-Encoding: gzip")
                .body(gzip.finish().unwrap()),
        ),
        (
            "form",
            post(path)
                .header("Content-Type: application/x-www-form-urlencoded")
                .body(format!("a=b&writeKey={key}")),
        ),
    ]
}

#[tokio::test]
async fn enforced_key_is_refused_on_every_path_of_a_token_api() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    for path in PATHS {
        for (place, request) in carrying(ENFORCED, path) {
            let answer = gateway.send(&request).await;
            assert_eq!(answer.status, 401, "{place} {path}: {answer:?}");
            assert_eq!(
                answer.json()["errors"][0]["type"],
                "token_missing",
                "{place} {path}"
            );
            assert_eq!(answer.all("WWW-Authenticate").len(), 1);
        }
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn enforced_key_on_a_token_api_needs_its_apps_token() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    let mut policy = snapshot();
    policy.apps[OTHER].scopes.push(PUBLIC_SCOPE.to_owned());
    setup.snapshot = Some(policy);
    let gateway = setup.start().await;
    let with_token = |n| {
        post("/sdk/batch")
            .bearer(&token_for(n, PUBLIC_SCOPE))
            .body(batch(ENFORCED))
    };
    let refused = gateway.send(&with_token(OTHER)).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert_eq!(refused.json()["errors"][0]["type"], "app_not_connected");
    assert_eq!(gateway.send(&with_token(SCOPELESS)).await.status, 403);
    upstream.assert_untouched();
    gateway.send(&with_token(ENFORCED)).await.assert_ok();
    let received = upstream.only();
    assert_eq!(received.one("x-portcullis-decision"), "enforced");
    assert_eq!(
        received.one("x-portcullis-source-id"),
        snapshot().sources[ENFORCED].id
    );
}

#[tokio::test]
async fn write_key_is_no_credential_of_a_token_api() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    for n in [ENFORCED, OBSERVED, UNENFORCED] {
        let answer = gateway
            .send(&post("/sdk/batch").basic(&write_key(n)).body("{}"))
            .await;
        assert_eq!(answer.status, 401, "{answer:?}");
        let message = answer.json()["errors"][0]["message"].to_string();
        assert!(
            message.contains("a write key is no credential of this API"),
            "{message}"
        );
    }
    upstream.assert_untouched();
    // The upstream judges credentials that are no write key.
    for credential in ["Basic bm9ib2R5Og==", "Bearer sgp_opaque", "Token x", "sgp_opaque"] {
        let request = post("/sources").header(format!("Authorization: {credential}"));
        gateway.send(&request.body("not JSON")).await.assert_ok();
    }
}

#[tokio::test]
async fn observed_key_on_a_token_api_is_forwarded_and_counted() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let batch_of = |n| post("/sdk/batch").body(batch(n));
    gateway.send(&batch_of(UNENFORCED)).await.assert_ok();
    assert_eq!(upstream.only().one("x-portcullis-decision"), "unenforced");
    gateway.send(&batch_of(OBSERVED)).await.assert_ok();
    let labels = [
        ("decision", "would_deny"),
        ("reason", "token_missing"),
        ("api", "public"),
    ];
    assert!((gateway.metric("portcullis_requests_total", &labels) - 1.0).abs() < f64::EPSILON);
    let received = upstream.received();
    assert_eq!(received[1].one("x-portcullis-decision"), "observed");
}

#[tokio::test]
async fn body_of_a_token_api_that_names_two_sources_is_refused() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let key = write_key(ENFORCED);
    for body in [
        format!(r#"{{"writeKey":"{key}","writeKey":"other"}}"#),
        format!(r#"{{"batch":[{{"writeKey":"{key}"}},{{"writeKey":"other"}}]}}"#),
    ] {
        let answer = gateway.send(&post("/sdk/batch").body(body)).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(answer.json()["errors"][0]["type"], "source_ambiguous");
    }
    upstream.assert_untouched();
}
