//! TLS listeners: certificates by name, protocols by ALPN, client certificates.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use portcullis::config::ListenerTls;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, NamedGroup, SupportedProtocolVersion};
use rustls_pki_types::ServerName;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certs::{Authority, Issued};
use crate::client::{H1, H2, tls};
use crate::gateway::{ENFORCED, Http, Setup, TestGateway, batch, token};
use crate::limits::connect_without_room;
use crate::upstream::{Reply, StubUpstream};
use crate::wait::until;

async fn start(
    upstream: &StubUpstream,
    certificates: &[&Issued],
    client_ca: Option<&Authority>,
) -> TestGateway {
    start_with(Setup::new(upstream), certificates, client_ca).await
}

async fn start_with(
    mut setup: Setup,
    certificates: &[&Issued],
    client_ca: Option<&Authority>,
) -> TestGateway {
    setup.listener_tls(ListenerTls {
        certificates: certificates
            .iter()
            .map(|held| (held.cert.clone(), held.key.clone()))
            .collect(),
        client_ca: client_ca.map(Authority::file),
    });
    setup.start().await
}

#[tokio::test]
async fn certificate_fits_the_name_asked_for() {
    let authority = Authority::new();
    let (tracking, public) = (authority.issue("tracking.test"), authority.issue("*.public.test"));
    let upstream = StubUpstream::start();
    let gateway = start(&upstream, &[&tracking, &public], None).await;
    for (name, shown) in [
        ("tracking.test", &tracking),
        ("a.public.test", &public),
        ("b.public.test", &public),
    ] {
        let stream = tls(gateway.address(), name, authority.client(&[], None))
            .await
            .unwrap();
        assert_eq!(
            stream.get_ref().1.peer_certificates(),
            Some(shown.chain.as_slice()),
            "{name}"
        );
    }
    // Nothing fits, so the first is shown, which this client does not take.
    assert!(
        tls(gateway.address(), "elsewhere.test", authority.client(&[], None))
            .await
            .is_err()
    );
}

/// Over TLS there is always something left to be written: the last record, and the word that it was the last.
#[tokio::test]
async fn connection_whose_answer_is_never_read_is_given_up() {
    let authority = Authority::new();
    let upstream = StubUpstream::answering(|_| {
        let body = "a".repeat(8 << 20);
        Reply::text(&format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    });
    let mut setup = Setup::new(&upstream);
    setup.config.limits.body_timeout = Duration::from_millis(200);
    let gateway = start_with(setup, &[&authority.issue("tracking.test")], None).await;
    let socket = connect_without_room(gateway.address()).await;
    let name = ServerName::try_from("tracking.test").unwrap();
    let connector = TlsConnector::from(Arc::new(authority.client(&[], None)));
    let mut client = connector.connect(name, socket).await.unwrap();
    client
        .write_all(&Http::good_batch(ENFORCED).bytes())
        .await
        .unwrap();
    client.flush().await.unwrap();
    upstream.until_received(1).await;
    until("the connection is given up", || gateway.open_connections() < 1.0).await;
}

#[tokio::test]
async fn http1_is_served_over_tls() {
    let authority = Authority::new();
    let upstream = StubUpstream::start();
    let gateway = start(&upstream, &[&authority.issue("tracking.test")], None).await;
    for (offered, agreed) in [(&["http/1.1"][..], Some(&b"http/1.1"[..])), (&[], None)] {
        let stream = tls(
            gateway.address(),
            "tracking.test",
            authority.client(offered, None),
        )
        .await
        .unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed);
        let mut client = H1::over(stream);
        client.send(&Http::good_batch(ENFORCED).bytes()).await;
        client.answer().await.assert_ok();
    }
    assert_eq!(upstream.received()[0].one("X-Forwarded-Proto"), "https");
}

#[tokio::test]
async fn http2_is_preferred_over_tls() {
    let authority = Authority::new();
    let upstream = StubUpstream::start();
    let gateway = start(&upstream, &[&authority.issue("tracking.test")], None).await;
    let config = authority.client(&["http/1.1", "h2"], None);
    let stream = tls(gateway.address(), "tracking.test", config).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let request = Request::post("https://tracking.test/v1/batch")
        .header("authorization", format!("Bearer {}", token(ENFORCED)))
        .body(())
        .unwrap();
    let client = H2::over(stream).await;
    client
        .exchange(request, batch(ENFORCED).as_bytes(), 10)
        .await
        .unwrap()
        .assert_ok();
    assert_eq!(upstream.only().one("X-Forwarded-Proto"), "https");
}

#[tokio::test]
async fn challenge_over_tls_names_the_metadata_over_tls() {
    let authority = Authority::new();
    let upstream = StubUpstream::start();
    let gateway = start(&upstream, &[&authority.issue("tracking.test")], None).await;
    let stream = tls(gateway.address(), "tracking.test", authority.client(&[], None))
        .await
        .unwrap();
    let mut client = H1::over(stream);
    client.send(&Http::batch(ENFORCED).bytes()).await;
    let answer = client.answer().await;
    assert_eq!(
        answer.one("WWW-Authenticate"),
        r#"Bearer resource_metadata="https://tracking.test/.well-known/oauth-protected-resource""#
    );
    upstream.assert_untouched();
}

#[tokio::test]
async fn client_without_a_required_certificate_is_refused() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let upstream = StubUpstream::start();
    let gateway = start(&upstream, &[&authority.issue("tracking.test")], Some(&clients)).await;
    let (good, strange) = (
        clients.issue("client.test"),
        Authority::new().issue("client.test"),
    );
    for own in [None, Some(&strange)] {
        // In TLS 1.3 the client is done before the server has looked; the refusal is what it reads next.
        if let Ok(stream) = tls(gateway.address(), "tracking.test", authority.client(&[], own)).await {
            let mut client = H1::over(stream);
            client.send(&Http::good_batch(ENFORCED).bytes()).await;
            assert!(client.try_answer_to("POST").await.is_none());
        }
    }
    upstream.assert_untouched();
    let config = authority.client(&[], Some(&good));
    let mut client = H1::over(tls(gateway.address(), "tracking.test", config).await.unwrap());
    client.send(&Http::good_batch(ENFORCED).bytes()).await;
    client.answer().await.assert_ok();
}

#[tokio::test]
async fn plain_http_on_a_tls_listener_is_not_served() {
    let authority = Authority::new();
    let upstream = StubUpstream::start();
    let gateway = start(&upstream, &[&authority.issue("tracking.test")], None).await;
    let mut client = H1::connect(gateway.address()).await;
    client.send(&Http::good_batch(ENFORCED).bytes()).await;
    assert!(client.try_answer_to("POST").await.is_none());
    upstream.assert_untouched();
}

/// A handshake of a client with this config.
async fn connect(gateway: &TestGateway, config: &ClientConfig) -> TlsStream<TcpStream> {
    tls(gateway.address(), "tracking.test", config.clone())
        .await
        .unwrap()
}

/// The certificate shown to a new client that trusts `authority`.
async fn shown(gateway: &TestGateway, authority: &Authority) -> Vec<u8> {
    let stream = connect(gateway, &authority.client(&[], None)).await;
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

async fn assert_served(stream: TlsStream<TcpStream>) {
    let mut client = H1::over(stream);
    client.send(&Http::good_batch(ENFORCED).bytes()).await;
    client.answer().await.assert_ok();
}

#[tokio::test]
async fn renewed_certificate_is_used_for_new_connections() {
    let authority = Authority::new();
    let upstream = StubUpstream::start();
    let first = authority.issue("tracking.test");
    let gateway = start(&upstream, &[&first], None).await;
    let mut kept = H1::over(connect(&gateway, &authority.client(&[], None)).await);
    kept.send(&Http::good_batch(ENFORCED).bytes()).await;
    kept.answer().await.assert_ok();
    // The same files with new content.
    let second = authority.issue("tracking.test");
    assert_ne!(first.chain, second.chain);
    until("the new certificate is read", || {
        gateway.metric("portcullis_tls_reload_total", &[("result", "ok")]) > 0.0
    })
    .await;
    assert_eq!(shown(&gateway, &authority).await, second.chain[0].to_vec());
    kept.send(&Http::good_batch(ENFORCED).bytes()).await;
    kept.answer().await.assert_ok();
}

#[tokio::test]
async fn half_written_pair_leaves_the_last_good_one_in_use() {
    let authority = Authority::new();
    let upstream = StubUpstream::start();
    let good = authority.issue("tracking.test");
    let old_cert = std::fs::read(&good.cert).unwrap();
    let gateway = start(&upstream, &[&good], None).await;
    let refused = |times: f64| {
        let gateway = &gateway;
        async move {
            until("the pair is refused", || {
                gateway.metric("portcullis_tls_reload_total", &[("result", "error")]) >= times
            })
            .await;
        }
    };
    // A key that belongs to another certificate.
    let other = authority.issue("other.test");
    std::fs::copy(&other.key, &good.key).unwrap();
    refused(1.0).await;
    assert_eq!(shown(&gateway, &authority).await, good.chain[0].to_vec());
    // Half a certificate.
    std::fs::write(&good.cert, &old_cert[..old_cert.len() / 2]).unwrap();
    refused(2.0).await;
    assert_eq!(shown(&gateway, &authority).await, good.chain[0].to_vec());
    // Both whole again, and new.
    let next = authority.issue("tracking.test");
    until("the new pair is read", || {
        gateway.metric("portcullis_tls_reload_total", &[("result", "ok")]) > 0.0
    })
    .await;
    assert_eq!(shown(&gateway, &authority).await, next.chain[0].to_vec());
}

#[tokio::test]
async fn both_versions_are_spoken_and_the_key_exchange_is_hybrid() {
    let authority = Authority::new();
    let upstream = StubUpstream::start();
    let gateway = start(&upstream, &[&authority.issue("tracking.test")], None).await;
    let group = |stream: &TlsStream<TcpStream>| {
        let group = stream.get_ref().1.negotiated_key_exchange_group();
        group.map(|group| group.name())
    };
    let newest = connect(&gateway, &authority.client(&[], None)).await;
    assert_eq!(group(&newest), Some(NamedGroup::X25519MLKEM768));
    assert_served(newest).await;
    let older = connect(&gateway, &authority.client_of(&TLS12)).await;
    assert_eq!(group(&older), Some(NamedGroup::X25519));
    assert_served(older).await;
}

/// How the second handshake of a client went, after a first one that was used.
async fn second_handshake(gateway: &TestGateway, config: &ClientConfig) -> Option<HandshakeKind> {
    let mut client = H1::over(connect(gateway, config).await);
    client.send(&Http::good_batch(ENFORCED).bytes()).await;
    client.answer().await.assert_ok();
    let second = connect(gateway, config).await;
    let kind = second.get_ref().1.handshake_kind();
    assert_served(second).await;
    kind
}

#[tokio::test]
async fn session_is_resumed_on_every_worker_and_after_a_renewal() {
    let authority = Authority::new();
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.workers = 4;
    let gateway = start_with(setup, &[&authority.issue("tracking.test")], None).await;
    let versions: [&'static SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
    for version in versions {
        let config = authority.client_of(version);
        // Connections go to any of the workers.
        for round in 0..8 {
            let kind = second_handshake(&gateway, &config).await;
            assert_eq!(kind, Some(HandshakeKind::Resumed), "{version:?}, round {round}");
        }
        let held = authority.client_of(version);
        assert_served(connect(&gateway, &held).await).await;
        let before = gateway.metric("portcullis_tls_reload_total", &[("result", "ok")]);
        authority.issue("tracking.test");
        until("the new certificate is read", || {
            gateway.metric("portcullis_tls_reload_total", &[("result", "ok")]) > before
        })
        .await;
        let again = connect(&gateway, &held).await;
        assert_eq!(again.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
    }
}

#[tokio::test]
async fn client_certificate_is_asked_for_on_every_connection() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let upstream = StubUpstream::start();
    let gateway = start(&upstream, &[&authority.issue("tracking.test")], Some(&clients)).await;
    let good = clients.issue("client.test");
    let versions: [&'static SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
    for version in versions {
        let config = authority.client_with(version, &good);
        let kind = second_handshake(&gateway, &config).await;
        assert_ne!(kind, Some(HandshakeKind::Resumed), "{version:?}");
    }
}

#[tokio::test]
async fn silent_client_is_let_go_when_its_handshake_time_is_over() {
    let authority = Authority::new();
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.limits.handshake_timeout = Duration::from_millis(100);
    let gateway = start_with(setup, &[&authority.issue("tracking.test")], None).await;
    H1::connect(gateway.address()).await.assert_closed().await;
    until("it is counted", || {
        gateway.metric("portcullis_tls_handshakes_total", &[("result", "timeout")]) == 1.0
    })
    .await;
    upstream.assert_untouched();
}

#[tokio::test]
async fn expiry_of_each_certificate_is_a_metric() {
    let authority = Authority::new();
    let upstream = StubUpstream::start();
    let issued = authority.issue("tracking.test");
    let gateway = start(&upstream, &[&issued], None).await;
    let labels = [
        ("listener", "127.0.0.1:0"),
        ("certificate", issued.cert.to_str().unwrap()),
    ];
    // What rcgen gives unless told otherwise: the first day of the year 4096.
    assert_eq!(
        gateway.metric("portcullis_tls_certificate_expiry_timestamp_seconds", &labels),
        67_090_118_400.0
    );
}
