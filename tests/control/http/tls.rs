//! TLS on the control plane's listener: certificates by name, protocols by ALPN, client certificates, bounded handshakes.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis::config::ListenerTls;
use portcullis::http_server::Bounds;
use portcullis::tls::acceptor::Acceptor;
use portcullis::tls::metrics::TlsMetrics;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certs::{Authority, Issued};
use crate::support::{DEADLINE, TempDir, TestControl};

const REQUEST: &[u8] = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(DEADLINE, future).await;
    done.unwrap_or_else(|_| panic!("never happened: {what}"))
}

async fn start(
    dir: &TempDir,
    bounds: Bounds,
    certificates: &[&Issued],
    client_ca: Option<&Authority>,
) -> TestControl {
    let config = ListenerTls {
        certificates: certificates
            .iter()
            .map(|held| (held.cert.clone(), held.key.clone()))
            .collect(),
        client_ca: client_ca.map(Authority::file),
    };
    let metrics = TlsMetrics::new("control_plane").unwrap();
    let acceptor = Acceptor::new("control.test", &config, metrics).unwrap();
    TestControl::start_listening(dir, |_| {}, bounds, Some(Arc::new(acceptor))).await
}

async fn handshake(
    server: &TestControl,
    name: &str,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(server.address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    within("a handshake or its end", connecting).await
}

/// The beginning of the response to a request, as far as one came.
async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    let mut answer = Vec::new();
    let _ = stream.write_all(REQUEST).await;
    let _ = within("a response or an end", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn control_plane_serves_http1_and_http2_over_tls() {
    let dir = TempDir::new();
    let authority = Authority::new();
    let server = start(&dir, Bounds::default(), &[&authority.issue("auth.test")], None).await;
    let http1 = authority.client(&["http/1.1"], None);
    let mut stream = handshake(&server, "auth.test", http1).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200"));

    let both = authority.client(&["http/1.1", "h2"], None);
    let stream = handshake(&server, "auth.test", both).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("https://auth.test/.well-known/jwks.json");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let answer = within("a response", sender.send_request(request)).await;
    assert_eq!(answer.unwrap().status(), 200);
}

#[tokio::test]
async fn control_plane_selects_the_certificate_by_name() {
    let dir = TempDir::new();
    let authority = Authority::new();
    let (one, two) = (authority.issue("one.test"), authority.issue("*.two.test"));
    let server = start(&dir, Bounds::default(), &[&one, &two], None).await;
    for (name, shown) in [("one.test", &one), ("a.two.test", &two)] {
        let stream = handshake(&server, name, authority.client(&[], None))
            .await
            .unwrap();
        let chain = stream.get_ref().1.peer_certificates();
        assert_eq!(chain, Some(shown.chain.as_slice()), "{name}");
    }
}

#[tokio::test]
async fn control_plane_with_client_ca_requires_a_certificate() {
    let dir = TempDir::new();
    let (authority, clients) = (Authority::new(), Authority::new());
    let server = start(
        &dir,
        Bounds::default(),
        &[&authority.issue("auth.test")],
        Some(&clients),
    )
    .await;
    let strange = Authority::new().issue("client.test");
    for own in [None, Some(&strange)] {
        // In TLS 1.3 the client is done before the server has looked; the rejection is what it reads next.
        if let Ok(mut stream) = handshake(&server, "auth.test", authority.client(&[], own)).await {
            assert_eq!(ask(&mut stream).await, "");
        }
    }
    let good = clients.issue("client.test");
    let config = authority.client(&[], Some(&good));
    let mut stream = handshake(&server, "auth.test", config).await.unwrap();
    assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn plain_http_is_not_served_where_tls_is_configured() {
    let dir = TempDir::new();
    let authority = Authority::new();
    let server = start(&dir, Bounds::default(), &[&authority.issue("auth.test")], None).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let mut answer = Vec::new();
    let _ = within("the end", stream.read_to_end(&mut answer)).await;
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1"));
}

/// A client that never completes its handshake keeps its place only until the handshake timeout, also while it sends
/// the handshake byte by byte.
#[tokio::test]
async fn unfinished_handshake_gives_its_connection_back() {
    let dir = TempDir::new();
    let authority = Authority::new();
    let bounds = Bounds {
        connections: 2,
        connections_per_client: 2,
        header_timeout: Duration::from_millis(300),
        ..Bounds::default()
    };
    let server = start(&dir, bounds, &[&authority.issue("auth.test")], None).await;
    let ends = [&b""[..], &b"\x16\x03\x01\x02\x00\x01"[..]].map(|begun| async {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(begun).await.unwrap();
        let mut rest = Vec::new();
        let _ = within("the end of the handshake", stream.read_to_end(&mut rest)).await;
    });
    futures::future::join_all(ends).await;
    let mut stream = handshake(&server, "auth.test", authority.client(&[], None))
        .await
        .unwrap();
    assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200"));
}
