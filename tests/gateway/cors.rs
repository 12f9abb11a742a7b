//! Browsers on pages of other origins: preflights, and which answers their scripts may read.

use std::time::Duration;

use portcullis::config::{Cors, Origins};

use crate::client::Answer;
use crate::forge::write_key;
use crate::gateway::{ENFORCED, Http, Setup, UNENFORCED, batch};
use crate::upstream::{Reply, StubUpstream};

const PAGE: &str = "https://www.example.test";

fn cors(origins: Origins) -> Option<Cors> {
    Some(Cors {
        origins,
        credentials: false,
        max_age: Duration::from_secs(600),
    })
}

fn listed() -> Origins {
    Origins::Listed(vec![PAGE.to_owned(), "http://localhost:3000".to_owned()])
}

fn preflight(host: &str, target: &str, origin: &str) -> Http {
    Http::new("OPTIONS", host, target)
        .header(format!("Origin: {origin}"))
        .header("Access-Control-Request-Method: POST")
        .header("Access-Control-Request-Headers: authorization,content-type")
}

#[track_caller]
fn assert_silent_204(answer: &Answer) {
    assert_eq!((answer.status, answer.body.len()), (204, 0), "{answer:?}");
    assert_eq!(answer.all("Content-Length"), [""; 0]);
    let allowing = answer
        .headers
        .iter()
        .filter(|(name, _)| name.to_ascii_lowercase().starts_with("access-control-"));
    assert_eq!(allowing.count(), 0, "{answer:?}");
    assert!(answer.one("Vary").contains("Origin"));
}

#[tokio::test]
async fn preflight_is_answered_before_source_and_token() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.apis[0].cors = cors(listed());
    let gateway = setup.start().await;
    for origin in [PAGE, "http://localhost:3000"] {
        let answer = gateway.send(&preflight("tracking.test", "/v1/t", origin)).await;
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{answer:?}");
        assert_eq!(answer.one("Access-Control-Allow-Origin"), origin);
        assert_eq!(answer.one("Access-Control-Allow-Methods"), "POST");
        assert_eq!(
            answer.one("Access-Control-Allow-Headers"),
            "authorization, content-type"
        );
        assert_eq!(answer.one("Access-Control-Max-Age"), "600");
        assert_eq!(answer.all("Access-Control-Allow-Credentials"), [""; 0]);
        assert!(answer.one("Vary").contains("Origin"));
        assert_eq!(answer.all("Content-Length"), [""; 0]);
    }
    upstream.assert_untouched();
    let labels = [("api", "tracking"), ("decision", "allow")];
    assert!((gateway.metric("portcullis_requests_total", &labels) - 2.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn preflight_of_another_origin_allows_nothing() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.apis[0].cors = cors(listed());
    let gateway = setup.start().await;
    for origin in [
        "https://www.example.test.evil.test",
        "http://www.example.test",
        "https://WWW.example.test",
        "null",
        "https://www.example.test, https://evil.test",
    ] {
        let request = preflight("tracking.test", "/v1/t", origin);
        assert_silent_204(&gateway.send(&request).await);
    }
    let twice = preflight("tracking.test", "/v1/t", PAGE).header("Origin: https://evil.test");
    assert_silent_204(&gateway.send(&twice).await);
    // Without `cors`, on APIs that identify by key and by token.
    for (host, target) in [("functions.test", "/?b=x"), ("public.test", "/sources")] {
        assert_silent_204(&gateway.send(&preflight(host, target, PAGE)).await);
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn any_origin_may_be_allowed() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.apis[0].cors = cors(Origins::Any);
    let gateway = setup.start().await;
    let answer = gateway.send(&preflight("tracking.test", "/v1/t", "null")).await;
    assert_eq!(answer.one("Access-Control-Allow-Origin"), "*");
    let request = Http::batch(UNENFORCED).header("Origin: https://anywhere.test");
    let answer = gateway.send(&request).await;
    answer.assert_ok();
    assert_eq!(answer.one("Access-Control-Allow-Origin"), "*");
    assert_eq!(answer.one("Vary"), "Origin");
}

#[tokio::test]
async fn asked_headers_that_are_no_names_are_not_echoed() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.apis[0].cors = cors(listed());
    let gateway = setup.start().await;
    for asked in ["a b", "x\u{e9}", "a;b", &"a,".repeat(65)] {
        let request = Http::new("OPTIONS", "tracking.test", "/v1/t")
            .header(format!("Origin: {PAGE}"))
            .header("Access-Control-Request-Method: POST")
            .header(format!("Access-Control-Request-Headers: {asked}"));
        let answer = gateway.send(&request).await;
        assert_eq!(answer.status, 204, "{answer:?}");
        assert_eq!(answer.all("Access-Control-Allow-Headers"), [""; 0], "{asked}");
    }
}

#[tokio::test]
async fn options_that_is_no_preflight_needs_a_source() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.apis[0].cors = cors(listed());
    let gateway = setup.start().await;
    let plain = Http::new("OPTIONS", "tracking.test", "/v1/t");
    for request in [
        plain.clone(),
        plain.clone().header(format!("Origin: {PAGE}")),
        plain.header("Access-Control-Request-Method: POST"),
    ] {
        gateway.send(&request).await.assert_denied(400, "source_missing");
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn connection_serves_on_behind_a_preflight_with_a_body() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut client = crate::client::H1::connect(gateway.address()).await;
    let request = preflight("tracking.test", "/v1/t", PAGE).body(batch(ENFORCED));
    client.send(&request.bytes()).await;
    assert_silent_204(&client.answer_to("OPTIONS").await);
    client.send(&Http::good_batch(ENFORCED).bytes()).await;
    client.answer().await.assert_ok();
    assert_eq!(upstream.received().len(), 1);
}

#[track_caller]
fn assert_readable(answer: &Answer, origin: &str) {
    assert_eq!(answer.one("Access-Control-Allow-Origin"), origin, "{answer:?}");
    assert_eq!(
        answer.one("Access-Control-Expose-Headers"),
        "Retry-After, X-RateLimit-Reset, X-Request-Id"
    );
    let vary = answer.all("Vary").join(", ");
    assert!(vary.contains("Origin"), "{answer:?}");
}

/// SDKs resend what they cannot read.
#[tokio::test]
async fn denials_can_be_read_by_the_page() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.apis[0].cors = cors(listed());
    setup.config.limits.body_bytes = 10_000;
    let gateway = setup.start().await;
    let from_page = |request: Http| request.header(format!("Origin: {PAGE}"));
    let post = || Http::new("POST", "tracking.test", "/v1/t");
    for (request, status) in [
        (Http::batch(ENFORCED), 401),
        (Http::good_batch(ENFORCED).header("Authorization: Bearer x"), 400),
        (post().body("["), 400),
        (post().body(batch(77)), 401),
        (post().body(vec![b' '; 10_001]), 413),
        (post().header("Content-Encoding: br").body("{}"), 415),
    ] {
        let answer = gateway.send(&from_page(request)).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_readable(&answer, PAGE);
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn failures_of_the_upstream_can_be_read_by_the_page() {
    let upstream = StubUpstream::answering(|received| match received.target.as_str() {
        "/v1/502" => Reply::BytesThenClose(Vec::new()),
        _ => Reply::Hang,
    });
    let mut setup = Setup::new(&upstream);
    setup.config.apis[0].cors = cors(listed());
    setup.upstream().timeouts.read = Duration::from_millis(200);
    let gateway = setup.start().await;
    for status in [502, 504] {
        let request = Http::new("POST", "tracking.test", &format!("/v1/{status}"))
            .header(format!("Origin: {PAGE}"))
            .body(batch(UNENFORCED));
        let answer = gateway.send(&request).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_readable(&answer, PAGE);
    }
}

#[tokio::test]
async fn headers_of_the_upstream_are_replaced() {
    let upstream = StubUpstream::answering(|_| {
        Reply::text(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: *\r\n\
             Access-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: X-Other\r\n\
             Vary: Accept-Encoding\r\n\r\nok",
        )
    });
    let mut setup = Setup::new(&upstream);
    setup.config.apis[0].cors = cors(listed());
    let gateway = setup.start().await;
    let from = |origin: &str| Http::batch(UNENFORCED).header(format!("Origin: {origin}"));
    let answer = gateway.send(&from(PAGE)).await;
    assert_readable(&answer, PAGE);
    assert_eq!(answer.all("Access-Control-Allow-Credentials"), [""; 0]);
    assert_eq!(answer.all("Vary"), ["Accept-Encoding", "Origin"]);
    let answer = gateway.send(&from("https://evil.test")).await;
    assert_eq!(answer.all("Access-Control-Allow-Origin"), [""; 0]);
    assert_eq!(answer.all("Access-Control-Expose-Headers"), [""; 0]);
    // An API without `cors` leaves them to its upstream.
    let request = Http::new("GET", "public.test", "/sources").header("Origin: https://evil.test");
    let answer = gateway.send(&request).await;
    assert_eq!(answer.one("Access-Control-Allow-Origin"), "*");
}

#[tokio::test]
async fn credentials_are_for_listed_origins() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.apis[0].cors = cors(listed()).map(|cors| Cors {
        credentials: true,
        ..cors
    });
    let gateway = setup.start().await;
    let preflight_of = |origin| preflight("tracking.test", "/v1/t", origin);
    let answer = gateway.send(&preflight_of(PAGE)).await;
    assert_eq!(answer.one("Access-Control-Allow-Credentials"), "true");
    assert_silent_204(&gateway.send(&preflight_of("https://evil.test")).await);
    let request = Http::new("POST", "tracking.test", "/v1/t")
        .basic(&write_key(UNENFORCED))
        .header(format!("Origin: {PAGE}"))
        .body("{}");
    let answer = gateway.send(&request).await;
    assert_eq!(answer.one("Access-Control-Allow-Credentials"), "true");
}
