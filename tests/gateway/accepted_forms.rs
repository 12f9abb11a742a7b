//! Forms of requests that the RFCs make a server accept, and that some other server has been attacked with: each goes
//! upstream as one request with one reading.

use std::time::Duration;

use bytes::Bytes;
use http::Request;

use crate::client::{H1, H2, read_response};
use crate::frames::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, frame};
use crate::gateway::{ENFORCED, Http, Setup, batch, token};
use crate::upstream::{Received, Reply, StubUpstream};
use crate::wait::within;

/// A good batch with another request line, in HTTP/1.1 or HTTP/1.0.
fn good(line: &str, headers: &[&str]) -> Vec<u8> {
    let body = batch(ENFORCED);
    let mut out = format!("{line}\r\n");
    for header in headers {
        out.push_str(&format!("{header}\r\n"));
    }
    out.push_str(&format!(
        "Authorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
        token(ENFORCED),
        body.len()
    ));
    out.into_bytes()
}

/// A setup whose APIs serve any host, by their paths alone.
fn any_host(upstream: &StubUpstream) -> Setup {
    let mut setup = Setup::new(upstream);
    for api in &mut setup.config.apis {
        api.hosts = vec!["*".to_owned()];
    }
    setup
}

/// What every server reads in one way.
fn assert_unambiguous(request: &Received) {
    assert!(request.target.starts_with('/'), "{}", request.target);
    request.one("Host");
    assert!(request.complete);
    assert_eq!(request.one("Content-Length"), batch(ENFORCED).len().to_string());
    for name in [
        "Transfer-Encoding",
        "Upgrade",
        "HTTP2-Settings",
        "Connection",
        "Expect",
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "Trailer",
    ] {
        assert!(request.all(name).is_empty(), "{name}: {:?}", request.headers);
    }
}

#[tokio::test]
async fn absolute_form_is_forwarded_in_origin_form() {
    for (target, path) in [
        ("http://tracking.test/v1/batch", "/v1/batch"),
        ("HTTP://tracking.test/v1/batch?a=b", "/v1/batch?a=b"),
        ("https://tracking.test/v1/batch", "/v1/batch"),
    ] {
        let upstream = StubUpstream::start();
        let gateway = Setup::new(&upstream).start().await;
        let bytes = good(&format!("POST {target} HTTP/1.1"), &["Host: tracking.test"]);
        gateway.send_raw(bytes).await.assert_ok();
        let received = upstream.only();
        assert_eq!(received.target, path);
        assert_eq!(received.one("Host"), "tracking.test");
        assert_unambiguous(&received);
    }
}

#[tokio::test]
async fn absolute_form_is_decided_by_its_own_path_and_host() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    // The enforced API decides, not the one of another path.
    let open = Http::batch(ENFORCED);
    let absolute = Http {
        target: "http://tracking.test/v1/batch".to_owned(),
        ..open
    };
    gateway.send(&absolute).await.assert_denied(401, "token_missing");
    upstream.assert_untouched();
}

#[tokio::test]
async fn absolute_form_with_two_readings_is_rejected() {
    for (target, headers) in [
        ("http://public.test/v1/batch", vec!["Host: tracking.test"]),
        ("http://tracking.test/v1/batch", vec!["Host: public.test"]),
        ("http://tracking.test/v1/batch", vec![]),
        (
            "http://tracking.test/v1/batch",
            vec!["Host: tracking.test", "Host: tracking.test"],
        ),
        ("http://tracking.test:80/v1/batch", vec!["Host: tracking.test"]),
        ("http://a@tracking.test/v1/batch", vec!["Host: tracking.test"]),
        (
            "http://tracking.test@public.test/v1/batch",
            vec!["Host: tracking.test"],
        ),
        ("http://tracking.test.", vec!["Host: tracking.test."]),
        ("http:///v1/batch", vec!["Host: tracking.test"]),
        ("http:/v1/batch", vec!["Host: tracking.test"]),
        ("http:v1/batch", vec!["Host: tracking.test"]),
        ("http:\\\\tracking.test/v1/batch", vec!["Host: tracking.test"]),
        ("http://tracking.test\\v1/batch", vec!["Host: tracking.test"]),
        ("http://tracking.test//v1/batch", vec!["Host: tracking.test"]),
        ("http://tracking.test/x/../v1/batch", vec!["Host: tracking.test"]),
        (
            "http://tracking.test/v1/%2e%2e/batch",
            vec!["Host: tracking.test"],
        ),
        (
            "http://tracking.test/http://public.test/",
            vec!["Host: tracking.test"],
        ),
        (
            "http://http://tracking.test/v1/batch",
            vec!["Host: tracking.test"],
        ),
        ("ftp://tracking.test/v1/batch", vec!["Host: tracking.test"]),
        ("//tracking.test/v1/batch", vec!["Host: tracking.test"]),
    ] {
        let upstream = StubUpstream::start();
        let gateway = Setup::new(&upstream).start().await;
        let answer = gateway
            .send_raw(good(&format!("POST {target} HTTP/1.1"), &headers))
            .await;
        assert_eq!(answer.status, 400, "{target} {headers:?}");
        upstream.assert_untouched();
    }
}

#[tokio::test]
async fn offers_to_upgrade_are_ignored() {
    for headers in [
        vec![
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
        ],
        vec![
            "Connection: Upgrade, HTTP2-Settings",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABk",
        ],
        vec!["Connection: keep-alive, upgrade", "Upgrade: h2c, websocket"],
        vec!["Upgrade: TLS/1.0"],
        vec!["Connection: HTTP2-Settings"],
    ] {
        let upstream = StubUpstream::start();
        let gateway = Setup::new(&upstream).start().await;
        let lines = [vec!["Host: tracking.test"], headers].concat();
        let mut client = H1::connect(gateway.address()).await;
        client.send(&good("POST /v1/batch HTTP/1.1", &lines)).await;
        client.answer().await.assert_ok();
        // The connection still speaks HTTP/1.1.
        client.send(&Http::good_batch(ENFORCED).bytes()).await;
        client.answer().await.assert_ok();
        let received = upstream.received();
        assert_eq!(received.len(), 2);
        assert_unambiguous(&received[0]);
    }
}

/// What follows an offer is a request or nothing: the client cannot talk to the upstream past the gateway.
#[tokio::test]
async fn bytes_behind_an_offer_to_upgrade_are_no_tunnel() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let upstream = StubUpstream::answering(move |_| Reply::text(switching));
    let gateway = Setup::new(&upstream).start().await;
    let mut client = H1::connect(gateway.address()).await;
    let offer = good(
        "POST /v1/batch HTTP/1.1",
        &["Host: tracking.test", "Connection: Upgrade", "Upgrade: websocket"],
    );
    let tunnelled = Http::new("GET", "public.test", "/smuggled?token=x").bytes();
    client.send(&[offer, tunnelled].concat()).await;
    client.answer().await.assert_denied(502, "upstream_unavailable");
    assert_eq!(upstream.received()[0].target, "/v1/batch");
    // The second request is decided on its own.
    client.answer_to("GET").await;
    assert!(
        upstream
            .received()
            .iter()
            .all(|one| one.all("Upgrade").is_empty())
    );
}

#[tokio::test]
async fn connection_still_names_no_end_to_end_header() {
    for option in ["authorization", "upgrade, x-portcullis-source-id", "cookie"] {
        let upstream = StubUpstream::start();
        let gateway = Setup::new(&upstream).start().await;
        let named = format!("Connection: {option}");
        let bytes = good("POST /v1/batch HTTP/1.1", &["Host: tracking.test", &named]);
        gateway
            .send_raw(bytes)
            .await
            .assert_denied(400, "request_malformed");
        upstream.assert_untouched();
    }
}

#[tokio::test]
async fn http10_without_host_is_served_where_any_host_is() {
    let upstream = StubUpstream::start();
    let gateway = any_host(&upstream).start().await;
    let mut client = H1::connect(gateway.address()).await;
    client.send(&good("POST /v1/batch HTTP/1.0", &[])).await;
    client.answer().await.assert_ok();
    client.assert_closed().await;
    let received = upstream.only();
    assert_unambiguous(&received);
    assert_eq!(received.one("Host"), upstream.address().to_string());
    assert!(received.all("X-Forwarded-Host").is_empty());
    // A balancer's probe, which names neither host nor source.
    let probe = gateway.send_raw("GET /sources HTTP/1.0\r\n\r\n").await;
    assert_eq!(probe.status, 200);
}

#[tokio::test]
async fn http10_client_gets_no_interim_response() {
    let upstream = StubUpstream::start();
    let gateway = any_host(&upstream).start().await;
    let mut client = H1::connect(gateway.address()).await;
    client
        .send(&good("POST /v1/batch HTTP/1.0", &["Expect: 100-continue"]))
        .await;
    let answer = client.answer().await;
    answer.assert_ok();
    assert_eq!(answer.interim, [0_u16; 0]);
}

#[tokio::test]
async fn http10_without_host_is_enforced_as_any_request() {
    let upstream = StubUpstream::start();
    let gateway = any_host(&upstream).start().await;
    let body = batch(ENFORCED);
    let bytes = format!(
        "POST /v1/batch HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    gateway.send_raw(bytes).await.assert_denied(401, "token_missing");
    upstream.assert_untouched();
}

#[tokio::test]
async fn missing_host_is_rejected_where_hosts_are_named() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    gateway
        .send_raw(good("POST /v1/batch HTTP/1.0", &[]))
        .await
        .assert_denied(400, "request_malformed");
    let gateway = any_host(&upstream).start().await;
    for bytes in [
        good("POST /v1/batch HTTP/1.1", &[]),
        good("POST /v1/batch HTTP/1.0", &["Host:"]),
        good("POST /v1/batch HTTP/1.0", &["Transfer-Encoding: chunked"]),
    ] {
        gateway
            .send_raw(bytes)
            .await
            .assert_denied(400, "request_malformed");
    }
    upstream.assert_untouched();
}

fn expecting(gateway: &crate::gateway::TestGateway) -> Request<()> {
    Request::post(format!("http://{}/v1/batch", gateway.address()))
        .header("host", gateway.address().to_string())
        .header("expect", "100-continue")
        .header("authorization", format!("Bearer {}", token(ENFORCED)))
        .body(())
        .unwrap()
}

#[tokio::test]
async fn expect_over_http2_gets_its_100() {
    let upstream = StubUpstream::start();
    let gateway = any_host(&upstream).start().await;
    let client = H2::connect(gateway.address()).await;
    let (mut response, mut body) = client.begin(expecting(&gateway), false).await;
    // Nothing of the body is sent before the interim response.
    let interim = std::future::poll_fn(|cx| response.poll_informational(cx));
    let interim = within("the interim response", interim).await;
    assert_eq!(interim.unwrap().unwrap().status(), 100);
    upstream.assert_untouched();
    body.send_data(Bytes::from(batch(ENFORCED)), true).unwrap();
    let answer = within("the response", read_response(response)).await.unwrap();
    answer.assert_ok();
    assert_unambiguous(&upstream.only());
}

/// A request that its head alone denies is denied without an invitation to send the body.
#[tokio::test]
async fn denied_request_over_http2_gets_no_100() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let client = H2::connect(gateway.address()).await;
    let request = Request::post("http://functions.test/?b=wk_unknown")
        .header("expect", "100-continue")
        .body(())
        .unwrap();
    let (response, _body) = client.begin(request, false).await;
    let answer = within("the response", read_response(response)).await.unwrap();
    assert!(answer.status >= 400, "{answer:?}");
    upstream.assert_untouched();
}

/// The client of row 14 of the field: it waits for a second, and sends the body then.
#[tokio::test]
async fn body_sent_without_waiting_for_the_100_is_taken() {
    let upstream = StubUpstream::start();
    let mut setup = any_host(&upstream);
    setup.config.limits.body_timeout = Duration::from_secs(10);
    let gateway = setup.start().await;
    let client = H2::connect(gateway.address()).await;
    let answer = client
        .exchange(expecting(&gateway), batch(ENFORCED).as_bytes(), 50)
        .await;
    answer.unwrap().assert_ok();
    let mut frames = Frames::connect(gateway.address()).await;
    let empty = [
        frame(HEADERS, END_HEADERS, 1, &crate::http2::good()),
        frame(DATA, END_STREAM, 1, b""),
    ];
    frames.send(&empty.concat()).await;
    frames.fate(1).await;
    assert_unambiguous(&upstream.only());
}
