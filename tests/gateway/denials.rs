//! Every denial, by its reason: what the client is answered, and that the upstream saw nothing.
//!
//! `keys_unavailable`, `overloaded`, `request_timeout`, `upstream_unavailable` and `upstream_timeout` need
//! a scene of their own and are in `issuers`, `limits` and `forwarding`.

mod tokens;

use std::collections::BTreeMap;

use http::Request;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::client::{Answer, H1, H2};
use crate::forge;
use crate::forge::{NOW, write_key};
use crate::gateway::{
    ENFORCED, FORGE, FUNCTIONS_SCOPE, Http, OBSERVED, OTHER, PUBLIC_SCOPE, Setup, batch, later, token,
    token_for, token_with,
};
use crate::upstream::StubUpstream;
use crate::wait::until;

const METADATA: &str = "http://tracking.test/.well-known/oauth-protected-resource";

/// What a denial's answer must say.
struct Expected {
    status: u16,
    reason: &'static str,
    error: &'static str,
    /// The parameters of the challenge besides the description, `None` for no challenge at all.
    challenge: Option<Vec<(&'static str, &'static str)>>,
}

fn invalid_token(reason: &'static str) -> Expected {
    Expected {
        status: 401,
        reason,
        error: "invalid_token",
        challenge: Some(vec![("error", "invalid_token"), ("resource_metadata", METADATA)]),
    }
}

fn invalid_request(status: u16, reason: &'static str) -> Expected {
    Expected {
        status,
        reason,
        error: "invalid_request",
        challenge: None,
    }
}

fn unavailable(reason: &'static str) -> Expected {
    Expected {
        status: 503,
        reason,
        error: "temporarily_unavailable",
        challenge: None,
    }
}

async fn check(request: Http, expected: Expected) {
    check_with(|_| {}, request, expected).await;
}

async fn check_with(change: impl FnOnce(&mut Setup), request: Http, expected: Expected) {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    change(&mut setup);
    let gateway = setup.start().await;
    let answer = gateway.send(&request).await;
    assert_is(&answer, &expected);
    upstream.assert_untouched();
    let decision = if expected.status >= 500 { "error" } else { "deny" };
    let labels = [("decision", decision), ("reason", expected.reason)];
    let counted = gateway.metric("portcullis_requests_total", &labels);
    assert!((counted - 1.0).abs() < f64::EPSILON, "counted {counted} times");
}

#[track_caller]
fn assert_is(answer: &Answer, expected: &Expected) {
    answer.assert_denied(expected.status, expected.reason);
    assert_eq!(answer.one("Content-Type"), "application/json");
    assert_eq!(answer.one("Cache-Control"), "no-store");
    let json = answer.json();
    let members: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        members,
        [
            "code",
            "error",
            "error_description",
            "message",
            "reason",
            "request_id"
        ]
    );
    assert_eq!(json["error"], expected.error);
    assert_eq!(json["code"], expected.reason);
    assert_eq!(json["message"], json["error_description"]);
    assert!(json["error_description"].as_str().unwrap().len() > 10);
    assert_eq!(json["request_id"], answer.one("X-Request-Id"));
    assert_eq!(
        answer.all("Retry-After").len(),
        usize::from(expected.status == 503)
    );
    let Some(wanted) = &expected.challenge else {
        assert_eq!(answer.all("WWW-Authenticate"), [""; 0]);
        return;
    };
    let mut sent = challenge(answer);
    let described = sent.remove("error_description").is_some();
    assert_eq!(
        described,
        sent.contains_key("error"),
        "a description goes with an error"
    );
    let wanted = wanted
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    assert_eq!(sent, wanted.collect());
}

/// The parameters of the only challenge, which must be one of Bearer.
#[track_caller]
fn challenge(answer: &Answer) -> BTreeMap<String, String> {
    let value = answer.one("WWW-Authenticate");
    let parameters = value.strip_prefix("Bearer ").unwrap();
    let pairs = parameters.split("\",").map(|pair| {
        let (name, value) = pair.trim().split_once("=\"").unwrap();
        (name.to_owned(), value.trim_end_matches('"').to_owned())
    });
    pairs.collect()
}

fn with_token(token: &str) -> Http {
    Http::batch(ENFORCED).bearer(token)
}

#[tokio::test]
async fn good_request_is_forwarded() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
    upstream.only();
}

#[tokio::test]
async fn unknown_source_is_denied() {
    let expected = Expected {
        status: 401,
        reason: "source_unknown",
        error: "unauthorized",
        challenge: Some(vec![("resource_metadata", METADATA)]),
    };
    check(Http::good_batch(77), expected).await;
}

#[tokio::test]
async fn two_sources_are_denied() {
    let request = Http::batch(ENFORCED).basic(&write_key(OTHER));
    check(request, invalid_request(400, "source_ambiguous")).await;
}

#[tokio::test]
async fn no_source_is_denied() {
    let request = Http::new("POST", "tracking.test", "/v1/batch").bearer(&token(ENFORCED));
    check(
        request.clone().body(r#"{"batch":[]}"#),
        invalid_request(400, "source_missing"),
    )
    .await;
    check(request.body(""), invalid_request(400, "source_missing")).await;
}

#[tokio::test]
async fn body_that_is_no_object_is_denied() {
    for body in ["[]", "{", r#"{"writeKey":"a"} x"#, "\u{feff}{}", "writeKey=a"] {
        let request = Http::new("POST", "tracking.test", "/v1/batch").bearer(&token(ENFORCED));
        check(request.body(body), invalid_request(400, "body_invalid")).await;
    }
}

#[tokio::test]
async fn body_over_the_limit_is_denied() {
    check_with(
        |setup| setup.config.limits.body_bytes = 50,
        Http::good_batch(ENFORCED),
        invalid_request(413, "body_too_large"),
    )
    .await;
}

#[tokio::test]
async fn unsupported_body_encoding_is_denied() {
    let request = Http::good_batch(ENFORCED).header("Content-Encoding: br");
    check(request, invalid_request(415, "body_encoding_unsupported")).await;
}

#[tokio::test]
async fn two_credentials_are_denied() {
    let request = Http::good_batch(ENFORCED).basic(&write_key(ENFORCED));
    check(request, invalid_request(400, "credentials_conflict")).await;
}

#[tokio::test]
async fn path_of_two_readings_is_denied() {
    let mut request = Http::good_batch(ENFORCED);
    request.target = "/v1/../v1/batch".to_owned();
    check(request, invalid_request(400, "path_invalid")).await;
}

#[tokio::test]
async fn malformed_request_is_denied() {
    let request = Http::good_batch(ENFORCED).header("Expect: something");
    check(request, invalid_request(400, "request_malformed")).await;
}

#[tokio::test]
async fn large_headers_are_denied() {
    let request = Http::good_batch(ENFORCED).header(format!("X-Filler: {}", "a".repeat(40 << 10)));
    check(request, invalid_request(431, "headers_too_large")).await;
}

#[tokio::test]
async fn stale_policy_is_denied_with_when_to_retry() {
    check_with(
        |setup| setup.clock.set(later(forge::FRESHNESS.max_age_s + 1)),
        Http::good_batch(ENFORCED),
        unavailable("policy_stale"),
    )
    .await;
}

#[tokio::test]
async fn missing_policy_is_denied_with_when_to_retry() {
    check_with(
        |setup| setup.snapshot = None,
        Http::good_batch(ENFORCED),
        unavailable("policy_unavailable"),
    )
    .await;
}

#[tokio::test]
async fn observed_source_is_let_through_and_counted() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    gateway.send(&Http::batch(OBSERVED)).await.assert_ok();
    assert_eq!(upstream.only().one("X-Portcullis-Decision"), "observed");
    let labels = [
        ("decision", "would_deny"),
        ("reason", "token_missing"),
        ("api", "tracking"),
    ];
    until("it was counted", || {
        gateway.metric("portcullis_requests_total", &labels) > 0.5
    })
    .await;
}

#[tokio::test]
async fn public_api_is_denied_in_its_own_form() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let request = Http::new("GET", "public.test", "/sources").bearer(&token_for(ENFORCED, FUNCTIONS_SCOPE));
    let answer = gateway.send(&request).await;
    assert_eq!(answer.status, 403);
    let Value::Array(errors) = answer.json()["errors"].clone() else {
        panic!("{answer:?}")
    };
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0]["type"], "scope_insufficient");
    assert!(errors[0]["message"].is_string());
    assert_eq!(answer.one("Cache-Control"), "no-store");
    assert_eq!(answer.all("X-Request-Id").len(), 1);
    assert_eq!(challenge(&answer)["scope"], PUBLIC_SCOPE);
    upstream.assert_untouched();
}

#[tokio::test]
async fn tracking_api_may_answer_511_where_a_new_token_would_help() {
    let unknown_key = json!({"alg": "RS256", "kid": "another", "typ": "at+jwt"});
    let cases = [
        (
            token_with(ENFORCED, json!({"exp": NOW.0 - 6})),
            511,
            "token_expired",
        ),
        (FORGE.token_text(ENFORCED, "revoked-0"), 511, "token_revoked"),
        (
            FORGE.sign(&unknown_key, &forge::claims(ENFORCED, "t")),
            511,
            "token_key_unknown",
        ),
        (
            token_with(ENFORCED, json!({"aud": "other"})),
            401,
            "token_audience_mismatch",
        ),
        (token(OTHER), 403, "app_not_connected"),
    ];
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.apis[0].reauthenticate_status = 511;
    let gateway = setup.start().await;
    for (text, status, reason) in cases {
        gateway
            .send(&with_token(&text))
            .await
            .assert_denied(status, reason);
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn denied_head_request_is_answered_without_a_body() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut client = H1::connect(gateway.address()).await;
    let head = Http::new("HEAD", "tracking.test", "/v1/batch").basic(&write_key(ENFORCED));
    client.send(&head.bytes()).await;
    let answer = client.answer_to("HEAD").await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.one("Content-Type"), "application/json");
    // A body that must not be there would be read as the next response.
    client.send(&Http::good_batch(ENFORCED).bytes()).await;
    client.answer().await.assert_ok();
    let over_http2 = Request::head("http://tracking.test/v1/batch").body(()).unwrap();
    let answer = H2::connect(gateway.address()).await.get(over_http2).await;
    assert_eq!(
        (answer.status, answer.body.len(), answer.complete),
        (400, 0, true)
    );
    upstream.only();
}

#[tokio::test]
async fn connection_is_still_good_after_a_denial() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut client = H1::connect(gateway.address()).await;
    for _ in 0..3 {
        client.send(&Http::batch(ENFORCED).bytes()).await;
        client.answer().await.assert_denied(401, "token_missing");
    }
    upstream.assert_untouched();
    client.send(&Http::good_batch(ENFORCED).bytes()).await;
    client.answer().await.assert_ok();
    let client = H2::connect(gateway.address()).await;
    let request = || Request::post("http://tracking.test/v1/batch").body(()).unwrap();
    let body = batch(ENFORCED);
    for _ in 0..3 {
        let answer = client.exchange(request(), body.as_bytes(), 100).await.unwrap();
        answer.assert_denied(401, "token_missing");
    }
}

#[tokio::test]
async fn early_denial_of_a_large_body_is_read_by_the_client() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    // Denied by its head, long before its body is over.
    let body = vec![b'x'; 1_500_000];
    let request = Http::new("POST", "tracking.test", "/v1/batch")
        .bearer("one")
        .bearer("another");
    // With a small buffer, what was sent was read.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(16 << 10).unwrap();
    let mut client = H1::over(socket.connect(gateway.address()).await.unwrap());
    let all_taken = client.send(&request.body(body.clone()).bytes()).await;
    // Many clients look for an answer only once they could send everything.
    assert!(all_taken, "the body was not read away");
    client.answer().await.assert_denied(400, "credentials_conflict");
    let client = H2::connect(gateway.address()).await;
    let request = Request::post("http://tracking.test/v1/../batch")
        .body(())
        .unwrap();
    let answer = client.exchange(request, &body, 16_000).await.unwrap();
    answer.assert_denied(400, "path_invalid");
    upstream.assert_untouched();
}

#[tokio::test]
async fn request_for_no_api_is_not_found() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    for (host, target) in [("tracking.test", "/v2/batch"), ("nobody.test", "/v1/batch")] {
        let answer = gateway
            .send(&Http::new("POST", host, target).body(batch(ENFORCED)))
            .await;
        assert_eq!(answer.status, 404);
        assert_eq!(answer.json()["error"], "not_found");
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn resource_metadata_names_issuer_and_scope() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let target = "/.well-known/oauth-protected-resource";
    let answer = gateway.send(&Http::new("GET", "tracking.test", target)).await;
    answer.assert_ok();
    assert_eq!(
        answer.json(),
        json!({
            "resource": "http://tracking.test",
            "authorization_servers": [forge::ISSUER],
            "scopes_supported": [forge::SCOPE],
            "bearer_methods_supported": ["header"],
        })
    );
    upstream.assert_untouched();
}
