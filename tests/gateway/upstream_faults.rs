//! Upstreams that fail, in every way and at every moment: one defined answer each, counted, nothing sent twice,
//! and nothing half passed on as if it were whole.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::client::{Answer, H1};
use crate::gateway::{ENFORCED, Http, Setup, TestGateway};
use crate::upstream::{Reply, StubUpstream};
use crate::wait::until;

const UNAVAILABLE: (u16, &str) = (502, "upstream_unavailable");
const TIMEOUT: (u16, &str) = (504, "upstream_timeout");

fn refused(gateway: &TestGateway, reason: &str) -> f64 {
    let labels = [("api", "tracking"), ("decision", "error"), ("reason", reason)];
    gateway.metric("portcullis_requests_total", &labels)
}

/// The answer to a good batch, which must be this one, and counted.
async fn check(gateway: &TestGateway, (status, reason): (u16, &str)) -> Answer {
    let before = refused(gateway, reason);
    let answer = gateway.send(&Http::good_batch(ENFORCED)).await;
    answer.assert_denied(status, reason);
    assert_eq!(refused(gateway, reason), before + 1.0);
    answer
}

/// A server that accepts nothing, and whose queue is full: connecting to it takes for ever.
async fn full() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    let soon = Duration::from_millis(200);
    while let Ok(stream) = tokio::time::timeout(soon, TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
    }
    (listener, waiting)
}

#[tokio::test]
async fn connect_timeout_is_a_bad_gateway() {
    let (listener, _waiting) = full().await;
    let mut setup = Setup::to(&[listener.local_addr().unwrap()]);
    setup.upstream().timeouts.connect = Duration::from_millis(50);
    let gateway = setup.start().await;
    check(&gateway, UNAVAILABLE).await;
}

#[tokio::test]
async fn server_that_does_not_accept_is_skipped() {
    let (listener, _waiting) = full().await;
    let up = StubUpstream::start();
    let mut setup = Setup::to(&[listener.local_addr().unwrap(), up.address()]);
    setup.upstream().timeouts.connect = Duration::from_millis(50);
    let gateway = setup.start().await;
    for _ in 0..4 {
        gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
    }
    assert_eq!(up.received().len(), 4);
}

/// A server that reads a request and then does as told with the connection.
async fn server<F>(then: impl Fn(TcpStream, usize) -> F + Send + 'static) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if read_request(&mut stream).await {
                let nth = seen.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(then(stream, nth));
            }
        }
    });
    (address, requests)
}

/// Reads one of our batches, which end with a brace; whether one came.
async fn read_request(stream: &mut TcpStream) -> bool {
    let mut held = Vec::new();
    while !held.ends_with(b"}") {
        if !matches!(stream.read_buf(&mut held).await, Ok(1..)) {
            return false;
        }
    }
    true
}

#[tokio::test]
async fn dripping_response_head_is_a_timeout() {
    // Each byte and each interim answer comes in time, the answer does not.
    for drip in ["H", "HTTP/1.1 103 Early Hints\r\n\r\n"] {
        let (address, requests) = server(move |mut stream, _| async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            let head = if drip == "H" { "HTTP/1.1 200 OK\r\nX: " } else { "" };
            let mut sent = stream.write_all(head.as_bytes()).await;
            while sent.is_ok() {
                ticks.tick().await;
                sent = stream.write_all(drip.as_bytes()).await;
            }
        })
        .await;
        let mut setup = Setup::to(&[address]);
        setup.upstream().timeouts.read = Duration::from_millis(300);
        let gateway = setup.start().await;
        check(&gateway, TIMEOUT).await;
        assert_eq!(requests.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn oversized_response_head_is_a_bad_gateway() {
    let many = "X: y\r\n".repeat(300);
    let large = format!("X: {}\r\n", "y".repeat(3 << 20));
    for lines in [many, large] {
        let answer = format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\r\n");
        let upstream = StubUpstream::answering(move |_| Reply::BytesThenClose(answer.clone().into_bytes()));
        let gateway = Setup::new(&upstream).start().await;
        check(&gateway, UNAVAILABLE).await;
        assert_eq!(upstream.received().len(), 1);
    }
}

#[tokio::test]
async fn connection_closed_before_or_in_the_head_is_a_bad_gateway() {
    for head in ["", "HTTP", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Le"] {
        let upstream = StubUpstream::answering(move |_| Reply::BytesThenClose(head.as_bytes().to_vec()));
        let gateway = Setup::new(&upstream).start().await;
        check(&gateway, UNAVAILABLE).await;
        assert_eq!(upstream.received().len(), 1, "{head:?}");
    }
}

fn cut(gateway: &TestGateway, by: &str) -> f64 {
    gateway.metric(
        "portcullis_responses_cut_total",
        &[("api", "tracking"), ("by", by)],
    )
}

/// Bodies that end too early, or stop: each is seen as broken, by each version of HTTP/1, and counted.
#[tokio::test]
async fn truncated_response_is_seen_as_broken_and_counted() {
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    for (wire, stops) in [(length, false), (chunked, false), (length, true), (chunked, true)] {
        let bytes = wire.as_bytes().to_vec();
        let upstream = StubUpstream::answering(move |_| match stops {
            true => Reply::Bytes(bytes.clone()),
            false => Reply::BytesThenClose(bytes.clone()),
        });
        let mut setup = Setup::new(&upstream);
        setup.upstream().timeouts.read = Duration::from_millis(500);
        let gateway = setup.start().await;
        let answer = gateway.send(&Http::good_batch(ENFORCED)).await;
        assert_eq!((answer.status, answer.complete), (200, false), "{wire:?} {stops}");
        until("the cut is counted", || cut(&gateway, "upstream") == 1.0).await;
        // To such a client the end of the connection is the end of the body.
        let request = Http::good_batch(ENFORCED).bytes();
        let request = String::from_utf8(request)
            .unwrap()
            .replace(" HTTP/1.1", " HTTP/1.0");
        let mut client = H1::connect(gateway.address()).await;
        client.send(request.as_bytes()).await;
        // The reset may overtake what came before it.
        if let Some(answer) = client.try_answer_to("POST").await {
            assert!(!answer.complete, "{wire:?} {stops}: {answer:?}");
        }
        until("the cut is counted", || cut(&gateway, "upstream") == 2.0).await;
        assert_eq!(cut(&gateway, "client"), 0.0);
    }
}

#[tokio::test]
async fn client_that_closes_during_its_response_is_counted() {
    let (address, _) = server(|mut stream, _| async move {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut sent = stream.write_all(head).await;
        let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
        while sent.is_ok() {
            sent = stream.write_all(&chunk).await;
        }
    })
    .await;
    let gateway = Setup::to(&[address]).start().await;
    let mut client = TcpStream::connect(gateway.address()).await.unwrap();
    client
        .write_all(&Http::good_batch(ENFORCED).bytes())
        .await
        .unwrap();
    client.read_exact(&mut [0; 1_000]).await.unwrap();
    drop(client);
    until("the cut is counted", || cut(&gateway, "client") == 1.0).await;
    assert_eq!(cut(&gateway, "upstream"), 0.0);
}

/// A server that closes a kept connection tells it to nobody. What is sent next goes on another one.
#[tokio::test]
async fn kept_connection_closed_by_the_server_is_not_reused() {
    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    let (address, requests) = server(move |mut stream, _| {
        let count = Arc::clone(&count);
        async move {
            let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            stream.write_all(ok).await.unwrap();
            drop(stream);
            count.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let gateway = Setup::to(&[address]).start().await;
    let mut client = H1::connect(gateway.address()).await;
    for round in 1..=50 {
        client.send(&Http::good_batch(ENFORCED).bytes()).await;
        client.answer().await.assert_ok();
        until("the server has closed", || closed.load(Ordering::SeqCst) == round).await;
    }
    assert_eq!(requests.load(Ordering::SeqCst), 50);
}

/// Whether the server processed the request is unknown: the client gets 502 and decides whether to retry.
#[tokio::test]
async fn post_on_a_closing_kept_connection_is_not_retried() {
    let second = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&second);
    let (address, requests) = server(move |mut stream, _| {
        let count = Arc::clone(&count);
        async move {
            let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            stream.write_all(ok).await.unwrap();
            if read_request(&mut stream).await {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let gateway = Setup::to(&[address]).start().await;
    for round in 1..=3 {
        gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
        check(&gateway, UNAVAILABLE).await;
        assert_eq!(requests.load(Ordering::SeqCst), round);
        assert_eq!(second.load(Ordering::SeqCst), round);
    }
}
