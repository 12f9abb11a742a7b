//! Methods for a path, and the form of errors before a request's API is known.

use portcullis::config::{ApiPath, PathPattern};

use crate::client::Answer;
use crate::forge::write_key;
use crate::gateway::{ENFORCED, FUNCTIONS_SCOPE, Http, PUBLIC_SCOPE, Setup, TestGateway, token_for};
use crate::upstream::StubUpstream;

/// The functions' API and the Public API on one host; functions have `POST /` alone.
async fn on_one_host(upstream: &StubUpstream) -> TestGateway {
    let mut setup = Setup::new(upstream);
    setup.config.apis[1].hosts = vec!["public.test".to_owned()];
    setup.config.apis[1].paths = vec![ApiPath {
        pattern: PathPattern::Exact("/".to_owned()),
        methods: vec!["POST".to_owned()],
    }];
    setup.start().await
}

fn request(method: &str, target: &str) -> Http {
    Http::new(method, "public.test", target)
}

fn public(method: &str) -> Http {
    request(method, "/").bearer(&token_for(ENFORCED, PUBLIC_SCOPE))
}

/// `getWorkspace()` of Segment's Public API SDK is `GET /`.
#[tokio::test]
async fn methods_of_one_path_belong_to_two_apis() {
    let upstream = StubUpstream::start();
    let gateway = on_one_host(&upstream).await;
    for method in ["GET", "HEAD", "DELETE"] {
        let answer = gateway.send(&public(method)).await;
        assert_eq!(answer.status, 200, "{method}: {answer:?}");
    }
    let function = request("POST", &format!("/?b={}", write_key(ENFORCED)));
    gateway
        .send(&function.bearer(&token_for(ENFORCED, FUNCTIONS_SCOPE)))
        .await
        .assert_ok();
    let received = upstream.received();
    let sources: Vec<usize> = received
        .iter()
        .map(|received| received.all("X-Portcullis-Source-Id").len())
        .collect();
    assert_eq!(sources, [0, 0, 0, 1]);
    // A function's call without its key is no call of the Public API.
    gateway
        .send(&public("POST"))
        .await
        .assert_denied(400, "source_missing");
}

#[tokio::test]
async fn method_of_no_api_is_405_with_allow() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.apis[1].paths[0].methods = vec!["POST".to_owned(), "PUT".to_owned()];
    let gateway = setup.start().await;
    let answer = gateway.send(&Http::new("GET", "functions.test", "/")).await;
    answer.assert_denied(405, "path_invalid");
    assert_eq!(answer.one("Allow"), "POST, PUT");
    let answer = gateway.send(&Http::new("GET", "functions.test", "/other")).await;
    answer.assert_denied(404, "path_invalid");
    upstream.assert_untouched();
}

/// A server behind us that honours one of these would find the other API's request.
#[tokio::test]
async fn header_that_overrides_the_method_cannot_change_the_api() {
    let upstream = StubUpstream::start();
    let gateway = on_one_host(&upstream).await;
    for line in [
        "X-HTTP-Method-Override: POST",
        "X_HTTP_Method: post",
        "X.Method.Override: POST",
    ] {
        let answer = gateway.send(&public("GET").header(line)).await;
        answer.assert_denied(400, "path_invalid");
    }
    upstream.assert_untouched();
    let same_api = public("GET").header("X-HTTP-Method-Override: DELETE");
    gateway.send(&same_api).await.assert_ok();
}

#[track_caller]
fn assert_public_form(answer: &Answer, status: u16, reason: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let json = answer.json();
    assert_eq!(json["errors"][0]["type"], reason, "{answer:?}");
    assert!(json["errors"][0]["message"].as_str().unwrap().len() > 10);
    assert!(json.get("error").is_none());
}

/// The SDK of the Public API reads `errors` alone.
#[tokio::test]
async fn errors_have_the_form_of_the_hosts_only_api() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.apis[2].paths = vec![PathPattern::Prefix("/api/".to_owned()).into()];
    let gateway = setup.start().await;
    let send = |request: Http| gateway.send_raw(request.bytes());
    assert_public_form(&send(request("GET", "/api//x")).await, 400, "path_invalid");
    assert_public_form(&send(request("GET", "/elsewhere")).await, 404, "not_found");
    let upper = Http::new("GET", "PUBLIC.test:80", "/api/%41");
    assert_public_form(&send(upper).await, 400, "path_invalid");
    // Refused before it was parsed, and after.
    let long = |bytes| request("GET", "/api/x").header(format!("X-Long: {}", "x".repeat(bytes)));
    assert_public_form(&send(long(33 << 10)).await, 431, "headers_too_large");
    assert_public_form(&send(long(100 << 10)).await, 431, "headers_too_large");
    let malformed = b"GET /api/x HTTP/1.1\r\nHost: public.test\r\nX: a\nY: b\r\n\r\n";
    assert_public_form(&gateway.send_raw(malformed).await, 400, "request_malformed");
    let other = Http::new("GET", "tracking.test", "/v1//x");
    send(other).await.assert_denied(400, "path_invalid");
    upstream.assert_untouched();
}
