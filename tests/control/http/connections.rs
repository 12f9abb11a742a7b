//! Connection limits and timeouts of the control plane.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis::http_server::Bounds;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{DEADLINE, TempDir, TestControl};

/// As patient as a test can be.
const SHORT: Bounds = Bounds {
    connections: 64,
    connections_per_client: 8,
    header_timeout: Duration::from_secs(1),
    crowded_timeout: Duration::from_secs(1),
    idle: Duration::from_millis(1_500),
    drain: Duration::from_millis(300),
};

const REQUEST: &[u8] = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n";

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(DEADLINE, future).await;
    done.unwrap_or_else(|_| panic!("never happened: {what}"))
}

/// A new connection from this address, if its first request is answered; it is closed otherwise.
async fn served(from: &str, server: SocketAddr) -> Option<TcpStream> {
    let mut stream = connect(from, server).await;
    let _ = stream.write_all(REQUEST).await;
    let mut begin = [0; 12];
    let read = within("an answer or an end", stream.read_exact(&mut begin)).await;
    (read.is_ok() && &begin == b"HTTP/1.1 200").then_some(stream)
}

/// The first new connection that is served.
async fn until_served(from: &str, server: SocketAddr) -> TcpStream {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    within("an answer", async {
        loop {
            if let Some(stream) = served(from, server).await {
                return stream;
            }
            ticks.tick().await;
        }
    })
    .await
}

async fn connect(from: &str, server: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(server).await.unwrap()
}

#[tokio::test]
async fn connection_without_request_times_out() {
    let dir = TempDir::new();
    let server = TestControl::start_within(&dir, |_| {}, SHORT).await;
    let said: [&[u8]; 5] = [
        b"",
        b"P",
        b"PRI * HTTP/2.0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
    ];
    let ends = said.map(|said| async {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut rest = Vec::new();
        let what = format!("the end after {:?}", String::from_utf8_lossy(said));
        let _ = within(&what, stream.read_to_end(&mut rest)).await;
    });
    futures::future::join_all(ends).await;
    until_served("127.0.0.1", server.address).await;
}

#[tokio::test]
async fn idle_http2_connection_times_out_despite_pings() {
    let dir = TempDir::new();
    let server = TestControl::start_within(&dir, |_| {}, SHORT).await;
    let stream = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    for _ in 0..2 {
        let request = http::Request::get("http://x/.well-known/jwks.json");
        let answer = sender
            .send_request(request.body(Empty::<Bytes>::new()).unwrap())
            .await;
        assert_eq!(answer.unwrap().status(), 200);
    }
    let _ = within("the end of an idle connection", connection).await;
}

#[tokio::test]
async fn unread_response_closes_the_connection() {
    let dir = TempDir::new();
    let bounds = Bounds {
        connections_per_client: 1,
        ..SHORT
    };
    let server = TestControl::start_within(&dir, |_| {}, bounds).await;
    let stream = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1)
        .handshake(stream)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get("http://x/api/v1/openapi.json");
    let answer = sender
        .send_request(request.body(Empty::<Bytes>::new()).unwrap())
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let _ = within("the end over HTTP/2", connection).await;
    drop(answer);

    // Answers for megabytes, and none of it is read.
    let mut stalled = until_served("127.0.0.1", server.address).await;
    let request = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";
    let flood = async {
        while stalled.write_all(request).await.is_ok() {}
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = until_served("127.0.0.1", server.address) => {}
        () = flood => {}
    }
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let dir = TempDir::new();
    let bounds = Bounds {
        connections_per_client: 4,
        ..Bounds::default()
    };
    let server = TestControl::start_within(&dir, |_| {}, bounds).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(connect("127.0.0.1", server.address).await);
    }
    assert!(served("127.0.0.1", server.address).await.is_none(), "a fifth one");
    assert!(
        served("127.0.0.2", server.address).await.is_some(),
        "another address"
    );
    held.pop();
    until_served("127.0.0.1", server.address).await;
}

/// Counters of refused and evicted connections.
fn metric(server: &TestControl, name: &str) -> f64 {
    let registry = prometheus::Registry::new();
    server.control.register_metrics(&registry).unwrap();
    let families = registry.gather();
    let held = families.iter().filter(|family| family.name() == name);
    held.flat_map(|family| family.get_metric())
        .map(|metric| metric.get_counter().get_value())
        .sum()
}

const EVICTED: &str = "portcullis_connections_evicted_total";
const REFUSED: &str = "portcullis_connections_refused_total";

#[tokio::test]
async fn rejected_connection_gets_503_with_retry_after() {
    let dir = TempDir::new();
    let bounds = Bounds {
        connections_per_client: 1,
        ..Bounds::default()
    };
    let server = TestControl::start_within(&dir, |_| {}, bounds).await;
    assert_eq!((metric(&server, REFUSED), metric(&server, EVICTED)), (0.0, 0.0));
    let _held = until_served("127.0.0.1", server.address).await;
    let mut refused = connect("127.0.0.1", server.address).await;
    refused.write_all(REQUEST).await.unwrap();
    let mut answer = String::new();
    within("the end", refused.read_to_string(&mut answer))
        .await
        .unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 503 ") && head.contains("\r\nRetry-After: 1\r\n"),
        "{head}"
    );
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["error"], "temporarily_unavailable");
    assert_eq!(metric(&server, REFUSED), 1.0);
}

#[tokio::test]
async fn rejected_http2_connection_gets_goaway() {
    let dir = TempDir::new();
    let bounds = Bounds {
        connections_per_client: 1,
        ..Bounds::default()
    };
    let server = TestControl::start_within(&dir, |_| {}, bounds).await;
    let _held = until_served("127.0.0.1", server.address).await;
    let stream = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get("http://x/.well-known/jwks.json");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let answer = within("a refusal", sender.send_request(request)).await;
    assert!(answer.is_err());
    let ended = within("the end", connection).await.unwrap();
    if let Err(error) = ended {
        assert!(format!("{error:?}").contains("ENHANCE_YOUR_CALM"), "{error:?}");
    }
}

#[tokio::test]
async fn unfinished_heads_do_not_exhaust_connections() {
    let dir = TempDir::new();
    let bounds = Bounds {
        connections: 40,
        connections_per_client: 10,
        ..Bounds::default()
    };
    let server = TestControl::start_within(&dir, |_| {}, bounds).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        for from in ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"] {
            let mut stream = connect(from, server.address).await;
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await;
            held.push(stream);
        }
        assert!(
            served("127.0.0.9", server.address).await.is_some(),
            "another address"
        );
    }
    assert!(metric(&server, EVICTED) > 0.0 && metric(&server, REFUSED) > 0.0);
}

#[tokio::test]
async fn request_in_progress_is_never_evicted() {
    let dir = TempDir::new();
    let bounds = Bounds {
        connections: 1,
        ..Bounds::default()
    };
    let server = TestControl::start_within(&dir, |_| {}, bounds).await;
    let mut busy = connect("127.0.0.1", server.address).await;
    let head = b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    busy.write_all(head).await.unwrap();
    let mut begin = [0; 25];
    within("it is asked for its body", busy.read_exact(&mut begin))
        .await
        .unwrap();
    assert!(begin.starts_with(b"HTTP/1.1 100 "));
    assert!(
        served("127.0.0.2", server.address).await.is_none(),
        "there is no room"
    );
    busy.write_all(b"a=b").await.unwrap();
    within("its answer", busy.read_exact(&mut begin)).await.unwrap();
    assert!(
        begin.starts_with(b"HTTP/1.1 40"),
        "{}",
        String::from_utf8_lossy(&begin)
    );
    until_served("127.0.0.2", server.address).await;
}

#[tokio::test]
async fn head_timeout_shrinks_when_half_full() {
    let dir = TempDir::new();
    let bounds = Bounds {
        connections: 8,
        connections_per_client: 8,
        header_timeout: Duration::from_secs(600),
        crowded_timeout: Duration::from_millis(100),
        ..Bounds::default()
    };
    let server = TestControl::start_within(&dir, |_| {}, bounds).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        let mut stream = connect("127.0.0.1", server.address).await;
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        held.push(stream);
    }
    let mut ends: tokio::task::JoinSet<_> = held
        .into_iter()
        .map(|mut stream| async move {
            let _ = stream.read(&mut [0]).await;
        })
        .collect();
    within("the end of one", ends.join_next()).await;
    until_served("127.0.0.2", server.address).await;
    assert_eq!(metric(&server, EVICTED), 0.0);
}

#[tokio::test]
async fn three_hundred_requests_at_once_are_all_answered() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let body = "grant_type=client_credentials";
    let request = format!(
        "POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut streams = Vec::new();
    for _ in 0..300 {
        streams.push(connect("127.0.0.1", server.address).await);
    }
    for stream in &mut streams {
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    let mut refused = 0;
    for mut stream in streams {
        let mut begin = [0; 12];
        within("an answer", stream.read_exact(&mut begin)).await.unwrap();
        match &begin {
            b"HTTP/1.1 503" => refused += 1,
            other => assert!(
                other.starts_with(b"HTTP/1.1 4"),
                "{}",
                String::from_utf8_lossy(other)
            ),
        }
    }
    assert_eq!(refused, 300 - 256);
}
