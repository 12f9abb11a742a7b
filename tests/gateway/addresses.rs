//! The client's address behind trusted proxies, and what else is believed of them.

use std::time::Duration;

use portcullis::domain::network::Network;
use serde_json::Value;

use crate::client::{Answer, H1, H2};
use crate::gateway::{ENFORCED, Http, Setup, TestGateway, batch, token};
use crate::upstream::{Received, Reply, StubUpstream};

const PROXY: &str = "127.0.0.0/8";

fn trusting(setup: &mut Setup, networks: &[&str]) {
    let networks = networks.iter().map(|text| Network::parse(text).unwrap());
    setup.config.trusted_proxies = networks.collect();
}

async fn start(upstream: &StubUpstream, networks: &[&str]) -> TestGateway {
    let mut setup = Setup::new(upstream);
    trusting(&mut setup, networks);
    setup.start().await
}

/// What client and upstream see of one request with these header lines.
async fn sent(networks: &[&str], lines: &[&str]) -> (Answer, Received) {
    let upstream = StubUpstream::start();
    let gateway = start(&upstream, networks).await;
    let request = lines
        .iter()
        .fold(Http::good_batch(ENFORCED), |http, line| http.header(*line));
    let answer = gateway.send(&request).await;
    answer.assert_ok();
    (answer, upstream.only())
}

#[tokio::test]
async fn forwarding_headers_of_strangers_are_replaced() {
    for networks in [&[][..], &["192.0.2.0/24"]] {
        let (answer, received) = sent(
            networks,
            &[
                "X-Forwarded-For: 203.0.113.9",
                "X-Forwarded-Proto: https",
                "X-Forwarded-Host: evil.test",
                "X-Request-Id: chosen-by-client",
            ],
        )
        .await;
        assert_eq!(received.one("X-Forwarded-For"), "127.0.0.1");
        assert_eq!(received.one("X-Forwarded-Proto"), "http");
        assert_eq!(received.one("X-Forwarded-Host"), "tracking.test");
        let id = received.one("X-Request-Id");
        assert_ne!(id, "chosen-by-client");
        assert_eq!(answer.one("X-Request-Id"), id);
    }
}

#[tokio::test]
async fn forwarding_headers_of_trusted_proxies_are_extended() {
    let (answer, received) = sent(
        &[PROXY],
        &[
            "X-Forwarded-For: 198.51.100.7",
            "X-Forwarded-For: 203.0.113.9, 127.0.0.2",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: events.example.com:8443",
            "X-Request-Id: 1f0c-42",
        ],
    )
    .await;
    let chain = "198.51.100.7, 203.0.113.9, 127.0.0.2, 127.0.0.1";
    assert_eq!(received.one("X-Forwarded-For"), chain);
    assert_eq!(received.one("X-Forwarded-Proto"), "https");
    assert_eq!(received.one("X-Forwarded-Host"), "events.example.com:8443");
    assert_eq!(received.one("X-Request-Id"), "1f0c-42");
    assert_eq!(answer.one("X-Request-Id"), "1f0c-42");
}

#[tokio::test]
async fn trusted_proxy_without_forwarding_headers_is_the_client() {
    let (_, received) = sent(&[PROXY], &[]).await;
    assert_eq!(received.one("X-Forwarded-For"), "127.0.0.1");
    assert_eq!(received.one("X-Forwarded-Proto"), "http");
    assert_eq!(received.one("X-Forwarded-Host"), "tracking.test");
}

#[tokio::test]
async fn the_nearest_proxy_says_scheme_and_host() {
    let (_, received) = sent(
        &[PROXY],
        &[
            "X-Forwarded-Proto: http",
            "X-Forwarded-Proto: gopher, HTTPS",
            "X-Forwarded-Host: evil.test, events.example.com",
        ],
    )
    .await;
    assert_eq!(received.one("X-Forwarded-Proto"), "https");
    assert_eq!(received.one("X-Forwarded-Host"), "events.example.com");
}

#[tokio::test]
async fn garbage_of_a_trusted_proxy_is_not_passed_on() {
    let long = format!("X-Request-Id: {}", "a".repeat(129));
    for lines in [
        &[
            "X-Forwarded-Proto: gopher",
            "X-Forwarded-Host: user@evil.test",
            "X-Request-Id: two words",
        ][..],
        &[
            "X-Forwarded-Proto: https,",
            "X-Forwarded-Host: a/b",
            "X-Request-Id:",
        ],
        &["X-Forwarded-Host: ", "X-Request-Id: a", "X-Request-Id: b"],
        &["X-Forwarded-Host: :80", &long],
    ] {
        let (answer, received) = sent(&[PROXY], lines).await;
        assert_eq!(received.one("X-Forwarded-Proto"), "http", "{lines:?}");
        assert_eq!(received.one("X-Forwarded-Host"), "tracking.test", "{lines:?}");
        let id = received.one("X-Request-Id");
        assert!(id.len() < 64 && id.contains('-'), "{lines:?}: {id}");
        assert_eq!(answer.one("X-Request-Id"), id, "{lines:?}");
    }
}

#[tokio::test]
async fn http2_requests_of_trusted_proxies_are_extended() {
    let upstream = StubUpstream::start();
    let gateway = start(&upstream, &[PROXY]).await;
    let client = H2::connect(gateway.address()).await;
    for (forwarded, expected) in [
        ("203.0.113.9", "203.0.113.9, 127.0.0.1"),
        ("unknown", "unknown, 127.0.0.1"),
    ] {
        let request = http::Request::post("http://tracking.test/v1/batch")
            .header("authorization", format!("Bearer {}", token(ENFORCED)))
            .header("x-forwarded-for", forwarded)
            .header("x-request-id", "from-the-edge")
            .body(())
            .unwrap();
        let answer = client
            .exchange(request, batch(ENFORCED).as_bytes(), 1_000)
            .await
            .unwrap();
        answer.assert_ok();
        assert_eq!(answer.one("x-request-id"), "from-the-edge");
        let received = upstream.received();
        let last = received.last().unwrap();
        assert_eq!(last.one("X-Forwarded-For"), expected);
        assert_eq!(last.one("X-Request-Id"), "from-the-edge");
    }
}

#[tokio::test]
async fn every_answer_names_the_request() {
    let upstream = StubUpstream::answering(|_| {
        Reply::text("HTTP/1.1 200 OK\r\nX-Request-Id: of-the-upstream\r\nContent-Length: 2\r\n\r\n{}")
    });
    let gateway = start(&upstream, &[PROXY]).await;
    for request in [
        Http::good_batch(ENFORCED),
        Http::batch(ENFORCED),
        Http::new("GET", "nowhere.test", "/"),
        Http::new("GET", "tracking.test", "/.well-known/oauth-protected-resource"),
    ] {
        let answer = gateway
            .send(&request.clone().header("X-Request-Id: of-the-edge"))
            .await;
        assert_eq!(answer.one("X-Request-Id"), "of-the-edge", "{request:?}");
        if let Some(id) = serde_json::from_slice::<Value>(&answer.body)
            .unwrap_or_default()
            .get("request_id")
        {
            assert_eq!(id, "of-the-edge", "{request:?}");
        }
    }
    let answer = gateway.send_raw("GET / HTTP/1.1\r\nHost : a\r\n\r\n").await;
    assert_eq!(answer.status, 400);
    assert!(!answer.one("X-Request-Id").is_empty());
}

#[tokio::test]
async fn denied_clients_are_counted_by_resolved_address() {
    for (forwarded, expected) in [
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9:4711, 127.0.0.5", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("[2001:db8::9]:4711", "2001:db8::9"),
        ("203.0.113.9, unknown", "127.0.0.1"),
        ("203.0.113.9, _hidden, 127.0.0.5", "127.0.0.5"),
        ("", "127.0.0.1"),
    ] {
        let upstream = StubUpstream::start();
        let gateway = start(&upstream, &[PROXY]).await;
        let request = Http::batch(ENFORCED).header(format!("X-Forwarded-For: {forwarded}"));
        gateway.send(&request).await.assert_denied(401, "token_missing");
        let publisher = gateway.publisher.clone();
        gateway.stop(Duration::from_secs(5)).await;
        let mut addresses = Vec::new();
        while let Some(report) = publisher.next_report().await {
            addresses.extend(report.counts.into_iter().map(|count| count.address));
        }
        assert_eq!(addresses, [expected], "{forwarded}");
    }
}

#[tokio::test]
async fn held_bytes_are_bounded_by_resolved_address() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    trusting(&mut setup, &[PROXY]);
    setup.config.limits.body_bytes = 1_000;
    setup.config.limits.held_bytes_per_client = 1_500;
    setup.config.limits.body_timeout = Duration::from_secs(30);
    let gateway = setup.start().await;
    let waiting = |client: &str| {
        Http::new("POST", "tracking.test", "/v1/batch")
            .bearer(&token(ENFORCED))
            .header(format!("X-Forwarded-For: {client}"))
            .header("Content-Length: 1000")
    };
    // Nearly the whole body is held, and the last byte is missing.
    let mut first = H1::connect(gateway.address()).await;
    first.send(&waiting("203.0.113.9").bytes()).await;
    first.send(&[b' '; 999]).await;
    crate::wait::until("the body is held", || {
        gateway.metric("portcullis_held_body_bytes", &[]) >= 999.0
    })
    .await;
    let whole = |client: &str| {
        let mut body = batch(ENFORCED).into_bytes();
        body.resize(1_000, b' ');
        Http::new("POST", "tracking.test", "/v1/batch")
            .bearer(&token(ENFORCED))
            .header(format!("X-Forwarded-For: {client}"))
            .body(body)
    };
    gateway
        .send(&whole("203.0.113.9"))
        .await
        .assert_denied(503, "overloaded");
    gateway
        .send(&whole("::ffff:203.0.113.9"))
        .await
        .assert_denied(503, "overloaded");
    gateway.send(&whole("203.0.113.10")).await.assert_ok();
}

#[tokio::test]
async fn a_chain_of_100_proxies_is_forwarded_whole() {
    let chain = vec!["127.0.0.9"; 99].join(", ");
    let line = format!("X-Forwarded-For: 203.0.113.9, {chain}");
    let (_, received) = sent(&[PROXY], &[&line]).await;
    assert_eq!(
        received.one("X-Forwarded-For"),
        format!("203.0.113.9, {chain}, 127.0.0.1")
    );
}

#[tokio::test]
async fn metadata_names_the_public_url_or_what_the_client_asked_for() {
    let path = "/.well-known/oauth-protected-resource";
    let upstream = StubUpstream::start();
    for (public_url, networks, expected) in [
        (
            Some("https://events.example.com"),
            &[][..],
            "https://events.example.com",
        ),
        (None, &[][..], "http://tracking.test"),
        (None, &[PROXY][..], "https://events.test:8443"),
    ] {
        let mut setup = Setup::new(&upstream);
        trusting(&mut setup, networks);
        setup.config.public_url = public_url.map(str::to_owned);
        let gateway = setup.start().await;
        let behind = |http: Http| {
            http.header("X-Forwarded-Proto: https")
                .header("X-Forwarded-Host: events.test:8443")
        };
        let metadata = gateway
            .send(&behind(Http::new("GET", "tracking.test", path)))
            .await;
        assert_eq!(metadata.json()["resource"], expected);
        let denied = gateway.send(&behind(Http::batch(ENFORCED))).await;
        denied.assert_denied(401, "token_missing");
        let challenge = format!("Bearer resource_metadata=\"{expected}{path}\"");
        assert_eq!(denied.one("WWW-Authenticate"), challenge);
    }
}
