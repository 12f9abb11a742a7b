//! Listeners that require the PROXY protocol: who may connect, what is read, and what the client counts as.

use std::net::SocketAddr;
use std::time::Duration;

use portcullis::config::{ListenerTls, ProxyProtocol};
use portcullis::domain::network::Network;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::certs::Authority;
use crate::client::{H1, H2};
use crate::gateway::{ENFORCED, Http, Setup, TestGateway, batch, token};
use crate::upstream::StubUpstream;
use crate::wait::{until, within};

const V1: &[u8] = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n";

fn setup(upstream: &StubUpstream) -> Setup {
    let mut setup = Setup::new(upstream);
    setup.config.trusted_proxies = vec![Network::parse("127.0.0.0/30").unwrap()];
    setup.config.listeners[0].proxy_protocol = ProxyProtocol::Require;
    setup
}

/// A version 2 header: command, family and what follows.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, family]);
    header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    header.extend(rest);
    header
}

/// 203.0.113.9:4711, as version 2 has it.
fn ipv4() -> Vec<u8> {
    vec![203, 0, 113, 9, 192, 0, 2, 1, 0x12, 0x67, 0x01, 0xbb]
}

fn results(gateway: &TestGateway) -> [f64; 4] {
    ["ok", "untrusted", "malformed", "incomplete"]
        .map(|result| gateway.metric("portcullis_proxy_headers_total", &[("result", result)]))
}

/// Whether the gateway ends the connection without a byte.
async fn is_closed_silently(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    !matches!(
        within("the connection ends", stream.read(&mut byte)).await,
        Ok(1..)
    )
}

#[tokio::test]
async fn header_of_either_version_names_the_client() {
    let with_tlvs = [ipv4(), vec![0x04, 0, 3, 0, 0, 0], vec![0xe0, 0, 0]].concat();
    let ipv6 = [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[9], &[0; 20]].concat();
    for (header, expected) in [
        (V1.to_vec(), "203.0.113.9"),
        (
            b"PROXY TCP6 2001:db8::9 2001:db8::1 4711 443\r\n".to_vec(),
            "2001:db8::9",
        ),
        (
            b"PROXY TCP6 ::ffff:203.0.113.9 ::1 1 2\r\n".to_vec(),
            "203.0.113.9",
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (v2(1, 0x11, &ipv4()), "203.0.113.9"),
        (v2(1, 0x11, &with_tlvs), "203.0.113.9"),
        (v2(1, 0x21, &ipv6), "2001:db8::9"),
        (v2(0, 0x00, &[]), "127.0.0.1"),
        (v2(0, 0x11, &ipv4()), "127.0.0.1"),
        (v2(1, 0x00, &[]), "127.0.0.1"),
    ] {
        let upstream = StubUpstream::start();
        let gateway = setup(&upstream).start().await;
        // In the same segment as the request, and byte by byte before it.
        let request = Http::good_batch(ENFORCED).bytes();
        let mut client = H1::connect(gateway.address()).await;
        client.send(&[&header[..], &request].concat()).await;
        client.answer().await.assert_ok();
        client.send(&request).await;
        client.answer().await.assert_ok();
        let mut slow = H1::connect(gateway.address()).await;
        for byte in &header {
            slow.send(&[*byte]).await;
        }
        slow.send(&request).await;
        slow.answer().await.assert_ok();
        for received in upstream.received() {
            assert_eq!(received.one("X-Forwarded-For"), expected, "{header:?}");
        }
        assert_eq!(results(&gateway), [2.0, 0.0, 0.0, 0.0]);
    }
}

#[tokio::test]
async fn connection_without_a_valid_header_ends() {
    let upstream = StubUpstream::start();
    let gateway = setup(&upstream).start().await;
    let request = Http::good_batch(ENFORCED).bytes();
    let long = format!("PROXY UNKNOWN {}", "a".repeat(200)).into_bytes();
    let cases = [
        request.clone(),
        b"PROXY TCP4 203.0.113.9\r\n".to_vec(),
        long,
        v2(1, 0x12, &ipv4()),
        v2(1, 0x11, &[0; 60_000]),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
    ];
    for (at, bytes) in cases.iter().enumerate() {
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        let _ = stream.write_all(bytes).await;
        assert!(is_closed_silently(&mut stream).await, "case {at}");
        until("it is counted", || results(&gateway)[2] > at as f64).await;
    }
    let mut cut = TcpStream::connect(gateway.address()).await.unwrap();
    cut.write_all(b"PROXY TCP4").await.unwrap();
    cut.shutdown().await.unwrap();
    assert!(is_closed_silently(&mut cut).await);
    until("it is counted", || results(&gateway) == [0.0, 0.0, 6.0, 1.0]).await;
    upstream.assert_untouched();
}

#[tokio::test]
async fn header_must_arrive_in_time() {
    let upstream = StubUpstream::start();
    let mut setup = setup(&upstream);
    setup.config.limits.header_timeout = Duration::from_millis(100);
    let gateway = setup.start().await;
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream.write_all(b"PROXY TCP4 203.0.113.9").await.unwrap();
    assert!(is_closed_silently(&mut stream).await);
    until("it is counted", || results(&gateway) == [0.0, 0.0, 0.0, 1.0]).await;
}

#[tokio::test]
async fn peer_that_is_no_trusted_proxy_is_closed() {
    let upstream = StubUpstream::start();
    let gateway = setup(&upstream).start().await;
    let mut client = H1::connect_from([127, 0, 0, 77], gateway.address()).await;
    client.send(V1).await;
    client.assert_closed().await;
    until("it is counted", || results(&gateway) == [0.0, 1.0, 0.0, 0.0]).await;
    assert_eq!(gateway.open_connections(), 0.0);
}

#[tokio::test]
async fn header_is_no_request_where_it_is_not_required() {
    let upstream = StubUpstream::start();
    let mut setup = setup(&upstream);
    setup.config.listeners[0].proxy_protocol = ProxyProtocol::Off;
    let gateway = setup.start().await;
    let bytes = [V1, &Http::good_batch(ENFORCED).bytes()].concat();
    assert_eq!(gateway.send_raw(bytes).await.status, 400);
    upstream.assert_untouched();
}

#[tokio::test]
async fn header_comes_before_tls_and_http2() {
    let authority = Authority::new();
    let certificate = authority.issue("tracking.test");
    let upstream = StubUpstream::start();
    let mut setup = setup(&upstream);
    setup.listener_tls(ListenerTls {
        certificates: vec![(certificate.cert.clone(), certificate.key.clone())],
        client_ca: None,
    });
    let gateway = setup.start().await;
    let connect = async |alpn: &str| {
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        stream.write_all(V1).await.unwrap();
        let connector =
            tokio_rustls::TlsConnector::from(std::sync::Arc::new(authority.client(&[alpn], None)));
        let name = rustls_pki_types::ServerName::try_from("tracking.test").unwrap();
        connector.connect(name, stream).await.unwrap()
    };
    let mut client = H1::over(connect("http/1.1").await);
    client.send(&Http::good_batch(ENFORCED).bytes()).await;
    client.answer().await.assert_ok();
    let request = http::Request::post("https://tracking.test/v1/batch")
        .header("authorization", format!("Bearer {}", token(ENFORCED)))
        .body(())
        .unwrap();
    let http2 = H2::over(connect("h2").await).await;
    let answer = http2.exchange(request, batch(ENFORCED).as_bytes(), 100).await;
    answer.unwrap().assert_ok();
    for received in upstream.received() {
        assert_eq!(received.one("X-Forwarded-For"), "203.0.113.9");
        assert_eq!(received.one("X-Forwarded-Proto"), "https");
    }
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn forwarding_headers_are_believed_of_the_named_client_only() {
    for (named, expected) in [
        ("203.0.113.9", "203.0.113.9"),
        ("127.0.0.2", "198.51.100.1, 127.0.0.2"),
    ] {
        let upstream = StubUpstream::start();
        let gateway = setup(&upstream).start().await;
        let request = Http::good_batch(ENFORCED).header("X-Forwarded-For: 198.51.100.1");
        let header = format!("PROXY TCP4 {named} 192.0.2.1 1 2\r\n");
        let answer = gateway
            .send_raw([header.as_bytes(), &request.bytes()].concat())
            .await;
        answer.assert_ok();
        assert_eq!(upstream.only().one("X-Forwarded-For"), expected);
    }
}

async fn connected(to: SocketAddr, client: &str) -> H1 {
    let mut connection = H1::connect(to).await;
    let header = format!("PROXY TCP4 {client} 192.0.2.1 1 2\r\n");
    connection.send(header.as_bytes()).await;
    connection.send(&Http::good_batch(ENFORCED).bytes()).await;
    connection
}

#[tokio::test]
async fn connection_limit_counts_the_named_client() {
    let upstream = StubUpstream::start();
    let mut setup = setup(&upstream);
    setup.config.limits.connections = 20;
    setup.config.limits.connections_per_client = 2;
    let gateway = setup.start().await;
    let refused = |gateway: &TestGateway| {
        gateway.metric(
            "portcullis_connections_refused_total",
            &[("reason", "client_limit")],
        )
    };
    let mut held = Vec::new();
    for client in ["203.0.113.9", "203.0.113.9", "203.0.113.10", "203.0.113.10"] {
        let mut connection = connected(gateway.address(), client).await;
        connection.answer().await.assert_ok();
        held.push(connection);
    }
    let mut third = connected(gateway.address(), "203.0.113.9").await;
    third.answer().await.assert_denied(503, "overloaded");
    third.assert_closed().await;
    assert_eq!(refused(&gateway), 1.0);
    // The load balancer's own connections have no such limit.
    for _ in 0..3 {
        let mut own = H1::connect(gateway.address()).await;
        own.send(b"PROXY UNKNOWN\r\n").await;
        own.send(&Http::good_batch(ENFORCED).bytes()).await;
        own.answer().await.assert_ok();
        held.push(own);
    }
    assert_eq!(refused(&gateway), 1.0);
    held.clear();
    until("they have ended", || gateway.open_connections() == 0.0).await;
    connected(gateway.address(), "203.0.113.9")
        .await
        .answer()
        .await
        .assert_ok();
}

#[tokio::test]
async fn connection_waiting_for_its_header_is_evicted_first() {
    let upstream = StubUpstream::start();
    let mut setup = setup(&upstream);
    setup.config.limits.connections = 2;
    setup.config.limits.connections_per_client = 2;
    let gateway = setup.start().await;
    let mut silent = H1::connect(gateway.address()).await;
    until("it is open", || gateway.open_connections() == 1.0).await;
    let mut held = connected(gateway.address(), "203.0.113.9").await;
    held.answer().await.assert_ok();
    let mut next = connected(gateway.address(), "203.0.113.10").await;
    next.answer().await.assert_ok();
    silent.assert_closed().await;
    held.send(&Http::good_batch(ENFORCED).bytes()).await;
    held.answer().await.assert_ok();
}
