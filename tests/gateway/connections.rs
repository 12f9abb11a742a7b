//! Connection limits: whose connection is refused, whose is evicted, and who is served meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis::domain::network::Network;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use crate::certs::Authority;
use crate::client::{Answer, H1, H2, tls};
use crate::gateway::{ENFORCED, Http, Setup, TestGateway, token};
use crate::upstream::StubUpstream;
use crate::wait::{until, within};

const NEIGHBOUR: [u8; 4] = [127, 0, 0, 200];

async fn start(upstream: &StubUpstream, connections: usize, per_client: usize) -> TestGateway {
    let mut setup = Setup::new(upstream);
    setup.config.limits.connections = connections;
    setup.config.limits.connections_per_client = per_client;
    setup.start().await
}

fn refused(gateway: &TestGateway, reason: &str) -> f64 {
    let labels = [("plane", "gateway"), ("reason", reason)];
    gateway.metric("portcullis_connections_refused_total", &labels)
}

fn evicted(gateway: &TestGateway) -> f64 {
    gateway.metric("portcullis_connections_evicted_total", &[("plane", "gateway")])
}

async fn ask(client: &mut H1) -> Answer {
    client.send(&Http::good_batch(ENFORCED).bytes()).await;
    client.answer().await
}

/// A kept connection from this address on which one request was served.
async fn kept(gateway: &TestGateway, from: [u8; 4]) -> H1 {
    let mut client = H1::connect_from(from, gateway.address()).await;
    ask(&mut client).await.assert_ok();
    client
}

/// A connection on which a request is being served: its body has not ended.
async fn busy(gateway: &TestGateway, from: [u8; 4], busy_before: usize) -> H1 {
    let mut client = H1::connect_from(from, gateway.address()).await;
    let head = Http::new("POST", "tracking.test", "/v1/batch")
        .bearer(&token(ENFORCED))
        .header("Content-Length: 1000");
    client.send(&head.bytes()).await;
    client.send(&[b' '; 600]).await;
    let held = 600.0 * (busy_before + 1) as f64;
    until("the body is held", || {
        gateway.metric("portcullis_held_body_bytes", &[]) >= held
    })
    .await;
    client
}

/// Lets the clock by which idleness is measured go on, so that what follows is younger.
async fn tick() {
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(5) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn client_at_its_limit_is_answered_503_and_no_other() {
    let upstream = StubUpstream::start();
    let gateway = start(&upstream, 10, 2).await;
    assert_eq!(
        (refused(&gateway, "client_limit"), refused(&gateway, "full")),
        (0.0, 0.0)
    );
    let held = [kept(&gateway, NEIGHBOUR).await, kept(&gateway, NEIGHBOUR).await];
    let mut third = H1::connect_from(NEIGHBOUR, gateway.address()).await;
    let answer = ask(&mut third).await;
    answer.assert_denied(503, "overloaded");
    assert_eq!(
        (answer.one("Retry-After"), answer.one("Connection")),
        ("1", "close")
    );
    third.assert_closed().await;
    kept(&gateway, [127, 0, 0, 2]).await;
    assert_eq!((refused(&gateway, "client_limit"), evicted(&gateway)), (1.0, 0.0));
    drop(held);
    until("they have ended", || gateway.open_connections() == 0.0).await;
    kept(&gateway, NEIGHBOUR).await;
}

#[tokio::test]
async fn load_balancer_has_no_client_limit() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.limits.connections_per_client = 1;
    setup.config.trusted_proxies = vec![Network::parse("127.0.0.200").unwrap()];
    let gateway = setup.start().await;
    let _held = [kept(&gateway, NEIGHBOUR).await, kept(&gateway, NEIGHBOUR).await];
    assert_eq!(refused(&gateway, "client_limit"), 0.0);
}

#[tokio::test]
async fn full_gateway_evicts_the_longest_idle_connection() {
    let upstream = StubUpstream::start();
    let gateway = start(&upstream, 3, 3).await;
    let mut first = kept(&gateway, [127, 0, 0, 1]).await;
    tick().await;
    let mut second = kept(&gateway, [127, 0, 0, 2]).await;
    tick().await;
    let mut third = kept(&gateway, [127, 0, 0, 3]).await;
    tick().await;
    // The first is the youngest now.
    ask(&mut first).await.assert_ok();
    kept(&gateway, NEIGHBOUR).await;
    second.assert_closed().await;
    ask(&mut first).await.assert_ok();
    ask(&mut third).await.assert_ok();
    assert_eq!((evicted(&gateway), refused(&gateway, "full")), (1.0, 0.0));
}

#[tokio::test]
async fn client_with_most_connections_is_evicted_first() {
    let upstream = StubUpstream::start();
    let gateway = start(&upstream, 4, 3).await;
    let mut oldest = kept(&gateway, [127, 0, 0, 1]).await;
    tick().await;
    let mut many = Vec::new();
    for _ in 0..3 {
        many.push(kept(&gateway, [127, 0, 0, 2]).await);
        tick().await;
    }
    let mut newcomer = kept(&gateway, NEIGHBOUR).await;
    many[0].assert_closed().await;
    for client in [&mut oldest, &mut newcomer, &mut many[1]] {
        ask(client).await.assert_ok();
    }
}

#[tokio::test]
async fn busy_connection_is_never_evicted() {
    let upstream = StubUpstream::start();
    let gateway = start(&upstream, 3, 3).await;
    let mut first = busy(&gateway, [127, 0, 0, 1], 0).await;
    let mut second = busy(&gateway, [127, 0, 0, 1], 1).await;
    let mut idle = kept(&gateway, [127, 0, 0, 2]).await;
    // The only idle one goes, though its client has fewest.
    let mut third = busy(&gateway, NEIGHBOUR, 2).await;
    idle.assert_closed().await;
    let mut fourth = H1::connect_from([127, 0, 0, 3], gateway.address()).await;
    let answer = ask(&mut fourth).await;
    answer.assert_denied(503, "overloaded");
    assert_eq!(answer.one("Retry-After"), "1");
    assert_eq!((evicted(&gateway), refused(&gateway, "full")), (1.0, 1.0));
    for client in [&mut first, &mut second, &mut third] {
        client.send(&[b' '; 400]).await;
        // The body is blank: it is denied, and answered whole.
        assert!(client.answer().await.complete);
    }
    // Once their requests have ended, they are idle like any other.
    kept(&gateway, [127, 0, 0, 4]).await;
}

#[tokio::test]
async fn unfinished_head_is_evicted() {
    let upstream = StubUpstream::start();
    let gateway = start(&upstream, 1, 1).await;
    let mut slow = H1::connect_from([127, 0, 0, 1], gateway.address()).await;
    slow.send(b"POST /v1/batch HTTP/1.1\r\nHost: tracking.test\r\n")
        .await;
    until("it is accepted", || gateway.open_connections() == 1.0).await;
    kept(&gateway, NEIGHBOUR).await;
    slow.assert_closed().await;
}

#[tokio::test]
async fn unfinished_tls_handshake_is_evicted() {
    let authority = Authority::new();
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.limits.connections = 1;
    let issued = authority.issue("tracking.test");
    setup.listener_tls(portcullis::config::ListenerTls {
        certificates: vec![(issued.cert.clone(), issued.key.clone())],
        client_ca: None,
    });
    let gateway = setup.start().await;
    let mut silent = H1::connect(gateway.address()).await;
    until("it is accepted", || gateway.open_connections() == 1.0).await;
    let stream = tls(gateway.address(), "tracking.test", authority.client(&[], None)).await;
    ask(&mut H1::over(stream.unwrap())).await.assert_ok();
    silent.assert_closed().await;
}

#[tokio::test]
async fn http2_connection_is_evicted_only_between_requests() {
    let upstream = StubUpstream::start();
    let gateway = start(&upstream, 1, 1).await;
    let client = H2::connect(gateway.address()).await;
    let request = || {
        http::Request::post("http://tracking.test/v1/batch")
            .header("authorization", format!("Bearer {}", token(ENFORCED)))
            .body(())
            .unwrap()
    };
    let (response, mut sending) = client.begin(request(), false).await;
    sending.send_data(vec![b' '; 600].into(), false).unwrap();
    until("the body is held", || {
        gateway.metric("portcullis_held_body_bytes", &[]) >= 600.0
    })
    .await;
    let mut other = H1::connect_from(NEIGHBOUR, gateway.address()).await;
    ask(&mut other).await.assert_denied(503, "overloaded");
    let batch = crate::gateway::batch(ENFORCED);
    sending.send_data(batch.into_bytes().into(), true).unwrap();
    let answer = within("an answer", crate::client::read_response(response)).await;
    answer.unwrap().assert_ok();
    until_served(&gateway, NEIGHBOUR).await;
    assert!(evicted(&gateway) >= 1.0);
    drop(client);
}

/// Resolves when a client from this address is served: the end of an answer is seen before that of its request.
async fn until_served(gateway: &TestGateway, from: [u8; 4]) {
    let served = async {
        loop {
            let mut client = H1::connect_from(from, gateway.address()).await;
            client.send(&Http::good_batch(ENFORCED).bytes()).await;
            if client
                .try_answer_to("POST")
                .await
                .is_some_and(|answer| answer.status == 200)
            {
                return;
            }
        }
    };
    within("it is served", served).await;
}

/// Opens connections from an address, says a part of a head on every second one, and keeps what it gets.
async fn flood(from: [u8; 4], to: SocketAddr, attempts: usize) -> Vec<tokio::net::TcpStream> {
    let mut held = Vec::new();
    for attempt in 0..attempts {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let Ok(mut stream) = socket.connect(to).await else {
            continue;
        };
        if attempt % 2 == 0 {
            let _ = stream.write_all(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\n").await;
        }
        held.push(stream);
        // This process has a limit of open files, too.
        if held.len() > 400 {
            held.drain(..100);
        }
    }
    held
}

async fn assert_served_throughout(addresses: Vec<[u8; 4]>, attempts: usize) {
    let upstream = StubUpstream::start();
    let gateway = start(&upstream, 300, 75).await;
    let to = gateway.address();
    let is_over = Arc::new(AtomicBool::new(false));
    let mut floods = JoinSet::new();
    for from in &addresses {
        floods.spawn(flood(*from, to, attempts / addresses.len()));
    }
    let stop = Arc::clone(&is_over);
    let ending = tokio::spawn(async move {
        let held = floods.join_all().await;
        stop.store(true, Ordering::Relaxed);
        held
    });
    let mut client = kept(&gateway, NEIGHBOUR).await;
    loop {
        kept(&gateway, NEIGHBOUR).await;
        ask(&mut client).await.assert_ok();
        if is_over.load(Ordering::Relaxed) {
            break;
        }
    }
    let mut held = ending.await.unwrap();
    assert!(gateway.open_connections() <= 300.0);
    match addresses.len() {
        1 => assert!(refused(&gateway, "client_limit") > 0.0),
        _ => assert!(evicted(&gateway) > 0.0),
    }
    // The last one gets the reason, or stays open.
    let mut last = held.pop().unwrap().pop().unwrap();
    drop(held);
    let _ = last.write_all(b"\r\n\r\n").await;
    let mut begin = [0; 9];
    within("an answer", last.read_exact(&mut begin)).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 ");
}

#[tokio::test]
async fn flood_of_one_address_leaves_room_for_others() {
    assert_served_throughout(vec![[127, 0, 0, 1]], 2_000).await;
}

#[tokio::test]
async fn flood_of_many_addresses_leaves_room_for_others() {
    let addresses = (1..=20).map(|n| [127, 0, 0, n]).collect();
    assert_served_throughout(addresses, 2_000).await;
}
