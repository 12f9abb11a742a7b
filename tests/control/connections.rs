//! Connections that only hold a place: they end, and nobody has all places.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis::control::service::Bounds;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::support::{DEADLINE, TempDir, TestControl};

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
async fn connection_on_which_no_request_begins_ends() {
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
async fn kept_connection_that_answers_pings_ends_when_it_asks_for_nothing() {
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
async fn reader_who_takes_nothing_of_an_answer_loses_the_connection() {
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
async fn nobody_has_all_places() {
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
