//! Memory limits: requests in progress and unread responses, in total and for each client.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis::config::ControlLimits;
use prometheus::Registry;
use serde_json::{Value, json};
use sqlx::Executor as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{DEADLINE, TempDir, TestControl, TestKey, new_app};

const BUDGET: usize = 64 << 20;

const SHARE: usize = 4 << 20;

/// Requests on one HTTP/2 connection.
const STREAMS: usize = 32;

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(DEADLINE, future).await;
    done.unwrap_or_else(|_| panic!("never happened: {what}"))
}

async fn server(dir: &TempDir, share: usize) -> TestControl {
    TestControl::start_with(dir, |settings| {
        settings.limits = ControlLimits {
            held_bytes: BUDGET,
            held_bytes_per_client: share,
            ..ControlLimits::default()
        };
    })
    .await
}

/// What the server says that it holds.
struct HeldBytes(Registry);

impl HeldBytes {
    fn of(server: &TestControl) -> Self {
        let registry = Registry::new();
        server.control.register_metrics(&registry).unwrap();
        Self(registry)
    }

    fn now(&self) -> usize {
        let families = self.0.gather();
        let family = families
            .iter()
            .find(|family| family.name() == "portcullis_control_held_bytes");
        family.unwrap().get_metric()[0].get_gauge().get_value() as usize
    }

    async fn until_nothing(&self) {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        within("everything given back", async {
            while self.now() > 0 {
                ticks.tick().await;
            }
        })
        .await;
    }
}

async fn connect(from: &str, server: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(server).await.unwrap()
}

/// An HTTP/2 connection whose client takes at most `window` bytes of a response.
async fn http2<B>(from: &str, server: SocketAddr, window: u32) -> SendRequest<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TokioIo::new(connect(from, server).await);
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .handshake(stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

async fn is_served(from: &str, server: SocketAddr) -> bool {
    let mut stream = connect(from, server).await;
    let request = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    within("an answer", stream.read_to_end(&mut answer))
        .await
        .unwrap();
    answer.starts_with(b"HTTP/1.1 200")
}

/// A body that never ends: 15 kB, and then nothing.
type Unfinished =
    StreamBody<futures::stream::BoxStream<'static, Result<Frame<Bytes>, std::convert::Infallible>>>;

fn unfinished() -> Unfinished {
    let part = Frame::data(Bytes::from(vec![b'x'; 15_000]));
    let parts = futures::stream::once(async { Ok(part) }).chain(futures::stream::pending());
    StreamBody::new(parts.boxed())
}

#[tokio::test]
async fn unfinished_bodies_of_one_client_are_bounded() {
    let dir = TempDir::new();
    let server = server(&dir, SHARE).await;
    let held = HeldBytes::of(&server);
    let mut senders = Vec::new();
    let mut responses = FuturesUnordered::new();
    for _ in 0..6 {
        let mut sender = http2::<Unfinished>("127.0.0.1", server.address, 1 << 20).await;
        for _ in 0..STREAMS {
            let request = http::Request::post("http://x/token")
                .header("content-type", "application/x-www-form-urlencoded")
                .body(unfinished())
                .unwrap();
            responses.push(sender.send_request(request));
        }
        senders.push(sender);
    }
    // Each of these 192 bodies takes 45 kB and the request itself 12 KiB: far from all fit.
    for _ in 0..100 {
        let response = within("a rejection", responses.next()).await.unwrap().unwrap();
        assert_eq!(response.status(), 429);
        assert!(response.headers().contains_key("retry-after"));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let error: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(error["error"], "slow_down");
    }
    assert!(held.now() <= SHARE + SHARE / 8, "{}", held.now());
    assert!(is_served("127.0.0.2", server.address).await);
    drop((responses, senders));
    held.until_nothing().await;
    assert!(is_served("127.0.0.1", server.address).await);
}

#[tokio::test]
async fn unread_responses_of_one_client_are_bounded() {
    let dir = TempDir::new();
    let server = server(&dir, SHARE).await;
    let held = HeldBytes::of(&server);
    let mut unread: Vec<http::Response<Incoming>> = Vec::new();
    let (mut senders, mut rejected) = (Vec::new(), 0);
    for _ in 0..6 {
        let mut sender = http2::<Empty<Bytes>>("127.0.0.1", server.address, 1).await;
        for _ in 0..STREAMS {
            let request = http::Request::get("http://x/api/v1/openapi.json");
            let request = request.body(Empty::new()).unwrap();
            match within("a response or a reset", sender.send_request(request)).await {
                Ok(response) => unread.push(response),
                // So many rejections are unread that there is no room for another one.
                Err(_) => rejected += 1,
            }
        }
        senders.push(sender);
    }
    let taken = unread.iter().filter(|response| response.status() == 200);
    let sizes = taken.map(|response| {
        let length = response.headers()["content-length"].to_str().unwrap();
        length.parse::<usize>().unwrap()
    });
    assert!(sizes.sum::<usize>() <= SHARE);
    rejected += unread.iter().filter(|response| response.status() == 429).count();
    assert!(rejected > 100, "{rejected}");
    assert!(held.now() <= SHARE + SHARE / 8, "{}", held.now());
    assert!(is_served("127.0.0.2", server.address).await);
    drop((unread, senders));
    held.until_nothing().await;
    assert!(is_served("127.0.0.1", server.address).await);
}

#[tokio::test]
async fn client_that_reads_no_rejection_is_reset() {
    let dir = TempDir::new();
    let share = 64 << 10;
    let server = server(&dir, share).await;
    let held = HeldBytes::of(&server);
    let mut sender = http2::<Empty<Bytes>>("127.0.0.1", server.address, 1).await;
    let (mut unread, mut resets) = (Vec::new(), 0);
    for _ in 0..STREAMS {
        let request = http::Request::get("http://x/api/v1/session");
        let response = sender.send_request(request.body(Empty::new()).unwrap());
        match within("a response or a reset", response).await {
            Ok(response) => unread.push(response),
            Err(_) => resets += 1,
        }
        assert!(held.now() <= share + share / 8, "{}", held.now());
    }
    assert!(resets > 0 && !unread.is_empty(), "{resets} {}", unread.len());
    // The connection is good for more as soon as something was read.
    unread.clear();
    held.until_nothing().await;
    let request = http::Request::get("http://x/api/v1/session");
    let response = sender.send_request(request.body(Empty::new()).unwrap());
    assert_eq!(within("a response", response).await.unwrap().status(), 401);
}

#[tokio::test]
async fn exhausted_memory_share_gets_each_routes_error() {
    let dir = TempDir::new();
    // Enough for a request, and not for a body of some size.
    let server = server(&dir, 80 << 10).await;
    let body = "x".repeat(60_000);
    for (path, kind) in [
        ("/token", "application/json"),
        ("/revoke", "application/json"),
        ("/introspect", "application/json"),
        ("/api/v1/session", "application/problem+json"),
        ("/console/sign-in", "text/html; charset=utf-8"),
        ("/console/join", "text/html; charset=utf-8"),
    ] {
        let sent = if path.starts_with("/api") {
            "application/json"
        } else {
            "application/x-www-form-urlencoded"
        };
        let headers = [("Content-Type", sent), ("Sec-Fetch-Site", "same-origin")];
        let answer = server.send("POST", path, &headers, body.as_bytes()).await;
        assert_eq!(answer.status, 429, "{path} {answer:?}");
        assert_eq!(answer.header("retry-after"), Some("1"), "{path}");
        assert_eq!(answer.header("content-type"), Some(kind), "{path}");
    }
}

#[tokio::test]
async fn connection_is_usable_after_a_rejected_body() {
    let dir = TempDir::new();
    let server = server(&dir, 40 << 10).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let body = "x".repeat(60_000);
    let request = format!(
        "POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}\
         GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    within("both answers", stream.read_to_end(&mut answers))
        .await
        .unwrap();
    let answers = String::from_utf8_lossy(&answers);
    assert!(answers.starts_with("HTTP/1.1 429"), "{answers}");
    assert!(answers.contains("HTTP/1.1 200"), "{answers}");
}

#[tokio::test]
async fn committed_change_is_never_answered_429() {
    let dir = TempDir::new();
    // Less than two changes need at once.
    let server = server(&dir, 100 << 10).await;
    let tenant = server.workspace().await;
    let calls = (0..12).map(async |at| {
        let body = json!({"name": format!("name {at}"), "kind": "nodejs"});
        tenant.call("POST", "/sources", Some(body)).await.status
    });
    let statuses = futures::future::join_all(calls).await;
    assert!(statuses.iter().all(|status| [201, 429].contains(status)));
    let made = statuses.iter().filter(|status| **status == 201).count();
    let list = tenant.call("GET", "/sources?limit=200", None).await.json();
    assert_eq!(list["items"].as_array().unwrap().len(), made);
    assert!(made > 0);
}

#[tokio::test]
async fn key_is_stored_without_surrounding_text() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    for key in [
        TestKey::p256(),
        TestKey::rsa(portcullis::domain::key::Algorithm::Rs256),
        TestKey::ed25519(),
    ] {
        let mut new = new_app("pasted", &["tracking_api:write"], &key);
        let one_line = key.public_pem.lines().filter(|line| !line.starts_with("---"));
        let one_line: String = one_line.collect();
        new.public_key.pem = format!(
            "{}\n-----BEGIN PUBLIC KEY-----\n{one_line}\r\n -----END PUBLIC KEY-----\n{}",
            "a comment ".repeat(700),
            "\n".repeat(7_000)
        );
        let body = json!({
            "name": "pasted", "scopes": new.scopes,
            "public_key": {"name": "k", "pem": new.public_key.pem},
        });
        let answer = tenant.call("POST", "/apps", Some(body)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.json()["keys"][0]["pem"], key.public_pem.trim());

        // What an earlier build stored is shown and used in the same form.
        let mut sql = dir.sql().await;
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        let old = new.public_key.pem.trim().to_owned();
        sqlx::query("UPDATE app_keys SET pem = $1 WHERE app = $2")
            .bind(old)
            .bind(&id)
            .execute(&mut sql)
            .await
            .unwrap();
        let shown = tenant.call("GET", &format!("/apps/{id}"), None).await;
        assert_eq!(shown.json()["keys"][0]["pem"], key.public_pem.trim());
    }
}

#[tokio::test]
async fn large_audit_events_are_paged_by_bytes() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    for _ in 0..60 {
        tenant.source("nodejs").await;
    }
    let large = json!({"text": "x".repeat(60_000)}).to_string();
    let mut sql = dir.sql().await;
    let update = sqlx::query("UPDATE audit_events SET changed_to = $1 WHERE action = 'source.created'");
    sql.execute(update.bind(&large)).await.unwrap();

    let (mut ids, mut after, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let path = format!("/audit-events?limit=200&after={after}");
        let answer = tenant.call("GET", &path, None).await;
        assert!(answer.body.len() <= 1_100_000, "{}", answer.body.len());
        let list = answer.json();
        let items = list["items"].as_array().unwrap().iter();
        ids.extend(items.map(|item| item["id"].as_str().unwrap().to_owned()));
        pages += 1;
        match list["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    assert!(ids.len() > 60 && pages > 3, "{} {pages}", ids.len());
    let export = tenant
        .call("GET", "/audit-events/export?format=ndjson", None)
        .await;
    // It came in chunks: the lines' ids in their order say that nothing is missing.
    let text = export.text();
    let found: Vec<_> = ids.iter().map(|id| text.find(id.as_str()).unwrap()).collect();
    assert!(found.is_sorted());
}
