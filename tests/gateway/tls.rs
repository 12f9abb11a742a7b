//! TLS listeners: certificates by name, protocols by ALPN, client certificates.

use http::Request;
use portcullis::config::ListenerTls;

use crate::certs::{Authority, Issued};
use crate::client::{H1, H2, tls};
use crate::gateway::{ENFORCED, Http, Setup, TestGateway, batch, token};
use crate::upstream::StubUpstream;

async fn start(
    upstream: &StubUpstream,
    certificates: &[&Issued],
    client_ca: Option<&Authority>,
) -> TestGateway {
    let mut setup = Setup::new(upstream);
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
async fn client_without_a_certificate_is_not_served_where_one_is_required() {
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
