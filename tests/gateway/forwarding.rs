//! What goes upstream and what comes back: pools, failures, every kind of response.

mod responses;

use std::time::Duration;

use http::Request;
use parking_lot::Mutex;
use portcullis::config::{Authorities, HealthCheck, UpstreamTls};

use crate::certs::Authority;
use crate::client::{Answer, H1, H2};
use crate::gateway::{ENFORCED, Http, Setup, TestGateway, batch, pool, shared, token};
use crate::upstream::{Reply, ReservedPort, StubUpstream};
use crate::wait::{until, within};

/// A request that is forwarded without a token, so that these tests are about forwarding alone.
fn get(target: &str) -> Http {
    Http::new("GET", "public.test", target)
}

async fn over_http2(gateway: &TestGateway, method: &str) -> Answer {
    try_over_http2(gateway, method).await.unwrap()
}

async fn try_over_http2(gateway: &TestGateway, method: &str) -> Result<Answer, h2::Error> {
    let request = Request::builder().method(method).uri("http://public.test/things");
    let request = request.body(()).unwrap();
    H2::connect(gateway.address())
        .await
        .exchange(request, b"", 1)
        .await
}

fn named(name: &'static str) -> StubUpstream {
    StubUpstream::answering(move |_| {
        Reply::text(&format!(
            "HTTP/1.1 200 OK\r\nX-Server: {name}\r\nContent-Length: 0\r\n\r\n"
        ))
    })
}

#[tokio::test]
async fn servers_of_a_pool_take_turns() {
    let servers = [named("a"), named("b"), named("c")];
    let gateway = Setup::to(&servers.each_ref().map(StubUpstream::address))
        .start()
        .await;
    for _ in 0..9 {
        assert_eq!(gateway.send(&get("/things")).await.status, 200);
    }
    assert_eq!(
        servers.each_ref().map(|server| server.received().len()),
        [3, 3, 3]
    );
}

#[tokio::test]
async fn connection_to_a_server_is_kept() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    for _ in 0..5 {
        gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
    }
    assert_eq!((upstream.received().len(), upstream.connections()), (5, 1));
}

#[tokio::test]
async fn server_that_is_down_is_skipped_and_nothing_sent_twice() {
    let down = ReservedPort::new();
    let up = StubUpstream::start();
    let gateway = Setup::to(&[down.address(), up.address()]).start().await;
    for _ in 0..6 {
        gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
    }
    assert_eq!(up.received().len(), 6);
}

#[tokio::test]
async fn pool_that_is_down_is_a_bad_gateway() {
    let down = [ReservedPort::new(), ReservedPort::new()];
    let gateway = Setup::to(&down.each_ref().map(ReservedPort::address))
        .start()
        .await;
    let answer = gateway.send(&Http::good_batch(ENFORCED)).await;
    answer.assert_denied(502, "upstream_unavailable");
    assert_eq!(answer.json()["error"], "bad_gateway");
}

#[tokio::test]
async fn health_check_takes_a_server_out_and_back_in() {
    let is_well = shared(true);
    let held = is_well.clone();
    let sick = StubUpstream::answering(move |request| {
        let status = if request.target == "/health" && !*held.lock() {
            "503 No"
        } else {
            "200 OK"
        };
        Reply::text(&format!(
            "HTTP/1.1 {status}\r\nX-Server: sick\r\nContent-Length: 0\r\n\r\n"
        ))
    });
    let well = named("well");
    let mut setup = Setup::to(&[sick.address(), well.address()]);
    setup.upstream().health_check = Some(HealthCheck {
        path: Some("/health".to_owned()),
        host: None,
        interval: Duration::from_millis(20),
        timeout: Duration::from_secs(10),
        healthy_after: 2,
        unhealthy_after: 2,
    });
    let gateway = setup.start().await;
    until_served_by(&gateway, &["sick", "well"]).await;
    *is_well.lock() = false;
    until_served_by(&gateway, &["well"]).await;
    *is_well.lock() = true;
    until_served_by(&gateway, &["sick", "well"]).await;
}

/// Resolves when six requests in a row were answered by these servers, and by no other.
async fn until_served_by(gateway: &TestGateway, names: &[&str]) {
    let served = async {
        loop {
            let mut seen = Vec::new();
            for _ in 0..6 {
                let answer = gateway.send(&get("/things")).await;
                assert_eq!(answer.status, 200);
                seen.push(answer.one("X-Server").to_owned());
            }
            seen.sort_unstable();
            seen.dedup();
            if seen == names {
                return;
            }
        }
    };
    within("the servers changed", served).await;
}

#[tokio::test]
async fn health_check_by_connecting_takes_a_server_out() {
    let down = ReservedPort::new();
    let gateway_to = |address| {
        let mut setup = Setup::to(&[address]);
        setup.upstream().health_check = Some(HealthCheck {
            path: None,
            host: None,
            interval: Duration::from_millis(20),
            timeout: Duration::from_secs(10),
            healthy_after: 1,
            unhealthy_after: 1,
        });
        setup
    };
    let gateway = gateway_to(down.address()).start().await;
    gateway
        .send(&Http::good_batch(ENFORCED))
        .await
        .assert_denied(502, "upstream_unavailable");
    let _up = StubUpstream::answering_on(down, |_| Reply::ok());
    let back = async { while gateway.send(&get("/things")).await.status != 200 {} };
    within("the server was taken back in", back).await;
}

#[tokio::test]
async fn slow_server_is_a_gateway_timeout() {
    let upstream = StubUpstream::answering(|_| Reply::Hang);
    let mut setup = Setup::new(&upstream);
    setup.upstream().timeouts.read = Duration::from_millis(50);
    let gateway = setup.start().await;
    let answer = gateway.send(&Http::good_batch(ENFORCED)).await;
    answer.assert_denied(504, "upstream_timeout");
    assert_eq!(answer.json()["error"], "gateway_timeout");
    upstream.only();
}

#[tokio::test]
async fn malformed_response_is_a_bad_gateway() {
    for garbage in [
        "garbage\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 200",
        "",
    ] {
        let upstream = StubUpstream::answering(move |_| Reply::BytesThenClose(garbage.as_bytes().to_vec()));
        let gateway = Setup::new(&upstream).start().await;
        let answer = gateway.send(&Http::good_batch(ENFORCED)).await;
        assert_eq!(
            answer.verdict(),
            (502, "upstream_unavailable".to_owned()),
            "{garbage:?}"
        );
        // The request was sent, so it may have been acted upon: it is not sent again.
        upstream.only();
    }
}

#[tokio::test]
async fn request_is_sent_to_one_server_only_once_any_of_it_was_sent() {
    let servers = [(); 2].map(|()| StubUpstream::answering(|_| Reply::BytesThenClose(Vec::new())));
    let gateway = Setup::to(&servers.each_ref().map(StubUpstream::address))
        .start()
        .await;
    gateway
        .send(&Http::good_batch(ENFORCED))
        .await
        .assert_denied(502, "upstream_unavailable");
    assert_eq!(
        servers
            .iter()
            .map(|server| server.received().len())
            .sum::<usize>(),
        1
    );
}

#[tokio::test]
async fn request_headers_pass_unchanged_except_hop_by_hop() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let request = get("/things?a=%20b&c")
        .header("User-Agent: analytics-python/2.4.0")
        .header("X-Retry-Count: 1")
        .header("X-Twice: one")
        .header("X-Twice: two")
        .header("X-Bytes: \u{e9}")
        .header("Connection: keep-alive")
        .header("Keep-Alive: timeout=5")
        .header("TE: trailers")
        .header("Proxy-Authorization: Basic x")
        .header("Trailer: X-Last");
    gateway.send(&request).await.assert_ok();
    let received = upstream.only();
    assert_eq!(
        (received.method.as_str(), received.target.as_str()),
        ("GET", "/things?a=%20b&c")
    );
    assert_eq!(received.one("Host"), "public.test");
    assert_eq!(received.one("User-Agent"), "analytics-python/2.4.0");
    assert_eq!(received.one("X-Retry-Count"), "1");
    assert_eq!(received.all("X-Twice"), ["one", "two"]);
    assert_eq!(received.one("X-Bytes"), "\u{e9}");
    for gone in [
        "Keep-Alive",
        "TE",
        "Proxy-Authorization",
        "Trailer",
        "Transfer-Encoding",
        "Content-Length",
    ] {
        assert_eq!(received.all(gone), [""; 0], "{gone}");
    }
}

#[tokio::test]
async fn spelling_of_header_names_is_kept() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    gateway
        .send(&get("/things").header("X-mIxEd: a"))
        .await
        .assert_ok();
    assert!(upstream.only().headers.iter().any(|(name, _)| name == "X-mIxEd"));
}

#[tokio::test]
async fn http2_request_arrives_as_http1_and_back() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let request = Request::get("http://public.test/things?x=1")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(())
        .unwrap();
    let answer = H2::connect(gateway.address()).await.get(request).await;
    answer.assert_ok();
    let received = upstream.only();
    assert_eq!(received.target, "/things?x=1");
    assert_eq!(received.all("Host"), ["public.test"]);
    // RFC 9113 section 8.2.3: HTTP/1.1 knows one Cookie header.
    assert_eq!(received.all("Cookie"), ["a=1; b=2"]);
}

#[tokio::test]
async fn http1_request_arrives_as_http2_and_back() {
    let upstream = StubUpstream::http2();
    let mut setup = Setup::new(&upstream);
    setup.upstream().http2 = true;
    let gateway = setup.start().await;
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
    let received = upstream.only();
    assert_eq!(received.authority.as_deref(), Some("tracking.test"));
    assert_eq!(received.target, "/v1/batch");
    assert_eq!(received.all("Host"), [""; 0]);
    assert_eq!(received.one("X-Portcullis-Decision"), "enforced");
    over_http2(&gateway, "GET").await.assert_ok();
    assert_eq!(upstream.connections(), 1);
}

pub fn tls_setup(upstream: &StubUpstream, authority: &Authority, sni: &str) -> Setup {
    let mut setup = Setup::new(upstream);
    setup.upstream().tls = Some(UpstreamTls {
        sni: sni.to_owned(),
        ca: Some(Authorities {
            file: authority.file(),
            digest: [0; 32],
        }),
    });
    setup
}

#[tokio::test]
async fn server_of_a_private_authority_is_spoken_to_by_its_name() {
    let authority = Authority::new();
    let upstream = StubUpstream::tls(authority.issue("upstream.test").acceptor(), |_| Reply::ok());
    let gateway = tls_setup(&upstream, &authority, "upstream.test").start().await;
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
    assert_eq!(upstream.only().one("Host"), "tracking.test");
}

#[tokio::test]
async fn server_with_an_untrusted_certificate_gets_nothing() {
    let authority = Authority::new();
    let upstream = StubUpstream::tls(authority.issue("upstream.test").acceptor(), |_| Reply::ok());
    for (trusted, name) in [(&authority, "other.test"), (&Authority::new(), "upstream.test")] {
        let gateway = tls_setup(&upstream, trusted, name).start().await;
        let answer = gateway.send(&Http::good_batch(ENFORCED)).await;
        answer.assert_denied(502, "upstream_unavailable");
    }
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn health_of_a_private_authoritys_server_is_checked_with_it() {
    let authority = Authority::new();
    let upstream = StubUpstream::tls(authority.issue("upstream.test").acceptor(), |_| Reply::ok());
    let mut setup = tls_setup(&upstream, &authority, "upstream.test");
    setup.upstream().health_check = Some(every_20_ms("/health"));
    let gateway = setup.start().await;
    until("two probes came", || upstream.received().len() >= 2).await;
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
}

#[tokio::test]
async fn health_of_an_http2_server_is_checked_in_http2() {
    let upstream = StubUpstream::http2();
    let mut setup = Setup::new(&upstream);
    setup.upstream().http2 = true;
    setup.upstream().health_check = Some(every_20_ms("/health"));
    let gateway = setup.start().await;
    until("two probes came", || upstream.received().len() >= 2).await;
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
}

fn every_20_ms(path: &str) -> HealthCheck {
    HealthCheck {
        path: Some(path.to_owned()),
        host: None,
        interval: Duration::from_millis(20),
        timeout: Duration::from_secs(10),
        healthy_after: 1,
        unhealthy_after: 1,
    }
}

#[tokio::test]
async fn apis_have_their_own_pools() {
    let (tracking, public) = (StubUpstream::start(), StubUpstream::start());
    let mut setup = Setup::new(&tracking);
    setup
        .config
        .upstreams
        .insert("other".to_owned(), pool(&[public.address()]));
    setup.config.apis[2].upstream = "other".to_owned();
    let gateway = setup.start().await;
    gateway.send(&get("/things")).await.assert_ok();
    tracking.assert_untouched();
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
    assert_eq!(public.only().target, "/things");
    assert_eq!(tracking.only().target, "/v1/batch");
}

#[tokio::test]
async fn client_that_leaves_does_not_spoil_the_connection_for_others() {
    let hold = shared(true);
    let held = hold.clone();
    let upstream = StubUpstream::answering(move |_| match *Mutex::lock(&held) {
        true => Reply::Hang,
        false => Reply::ok(),
    });
    let gateway = Setup::new(&upstream).start().await;
    let mut client = H1::connect(gateway.address()).await;
    client.send(&Http::good_batch(ENFORCED).bytes()).await;
    upstream.until_received(1).await;
    drop(client);
    *hold.lock() = false;
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
}

/// A server that answers with the head alone and closes, so that the rest of a large body meets a reset.
#[tokio::test]
async fn early_answer_of_a_server_that_closes_reaches_the_client() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut some = [0; 1_000];
            stream.read_exact(&mut some).await.unwrap();
            let answer =
                b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbig!";
            stream.write_all(answer).await.unwrap();
        }
    });
    let gateway = Setup::to(&[address]).start().await;
    let body = [vec![b' '; 900_000], batch(ENFORCED).into_bytes()].concat();
    let request = Http::new("POST", "tracking.test", "/v1/batch")
        .bearer(&token(ENFORCED))
        .body(body);
    for _ in 0..5 {
        let answer = gateway.send(&request).await;
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (413, b"big!".as_slice()),
            "{answer:?}"
        );
    }
}

/// The same in HTTP/2, where a server may end a stream before it was sent all (RFC 9113 section 8.1).
#[tokio::test]
async fn early_answer_of_an_http2_server_reaches_the_client() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            tokio::spawn(async move {
                while let Some(Ok((_unread, mut respond))) = connection.accept().await {
                    let response = http::Response::builder().status(413).body(()).unwrap();
                    let mut sending = respond.send_response(response, false).unwrap();
                    sending
                        .send_data(bytes::Bytes::from_static(b"big!"), true)
                        .unwrap();
                }
            });
        }
    });
    let mut setup = Setup::to(&[address]);
    setup.upstream().http2 = true;
    let gateway = setup.start().await;
    let body = [vec![b' '; 900_000], batch(ENFORCED).into_bytes()].concat();
    let request = Http::new("POST", "tracking.test", "/v1/batch")
        .bearer(&token(ENFORCED))
        .body(body);
    for _ in 0..5 {
        let answer = gateway.send(&request).await;
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (413, b"big!".as_slice()),
            "{answer:?}"
        );
    }
}
