//! What clients can make the control plane hold: memory over idle of the whole process, the bundled gateway with it,
//! under bodies that never end and under responses that nobody reads.
//!
//! What would worry us: more than 512 MiB over idle, or another client that is not served meanwhile. Run it with
//! `cargo bench --bench control_memory`; `CONNECTIONS` (of each address), `STREAMS` (of each connection),
//! `ADDRESSES` and `SECONDS` change its size, `CONTROL_BIN` the program.

#![allow(
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a bench reads the time and the environment, and may fail by panicking"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use futures::StreamExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

const CONFIG: &str = r#"
version: 1
gateway:
  workers: 2
  listeners: [{address: "GATEWAY"}]
  apis:
    tracking:
      hosts: ["*"]
      paths: ["/v1/*"]
      scope: "tracking_api:write"
      identify: [basic, body]
      upstream: main
  upstreams:
    main: {servers: ["127.0.0.1:9"]}
policy: {source: bundled}
control_plane: {listen: "CONTROL", store: "sqlite:store.db"}
observability: {listen: "127.0.0.1:0", access_log: {enabled: false}}
"#;

const EMAIL: &str = "owner@example.com";
const PASSWORD: &str = "a long password of a bench";

/// Apps whose keys are pasted with 15 kB around them.
const APPS: usize = 200;

type Body = UnsyncBoxBody<Bytes, Infallible>;

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn program() -> Command {
    let built = || env!("CARGO_BIN_EXE_portcullis").to_owned();
    Command::new(std::env::var("CONTROL_BIN").unwrap_or_else(|_| built()))
}

/// Both planes as a process of their own, ended when dropped.
struct Server {
    process: Child,
    control: SocketAddr,
    dir: PathBuf,
}

impl Server {
    async fn start(nth: usize) -> Self {
        let name = format!("portcullis-control-memory-{}-{nth}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let control = free_address();
        let config = CONFIG
            .replace("GATEWAY", &free_address().to_string())
            .replace("CONTROL", &control.to_string());
        let path = dir.join("config.yaml");
        std::fs::write(&path, config).unwrap();
        let mut owner = program()
            .args([
                "admin",
                "owner",
                "--email",
                EMAIL,
                "--workspace",
                "Bench",
                "--config",
            ])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        writeln!(owner.stdin.take().unwrap(), "{PASSWORD}").unwrap();
        assert!(owner.wait().unwrap().success(), "no owner was made");
        let process = program()
            .args(["serve", "--config"])
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            process,
            control,
            dir,
        };
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(control).await.is_err() {
            assert!(Instant::now() < until, "the control plane does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    /// Resident memory in MiB, now and at its highest.
    fn memory(&self) -> (usize, usize) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let mib = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
            kib / 1024
        };
        (mib("VmRSS:"), mib("VmHWM:"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

async fn http2(from: &str, server: SocketAddr, window: u32) -> Option<SendRequest<Body>> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let stream = TokioIo::new(socket.connect(server).await.ok()?);
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .handshake(stream)
        .await
        .ok()?;
    tokio::spawn(connection);
    Some(sender)
}

fn empty() -> Body {
    Empty::new().boxed_unsync()
}

/// 60 kB, and then nothing.
fn unfinished() -> Body {
    let part = Frame::data(Bytes::from_static(&[b'x'; 60_000]));
    let parts = futures::stream::once(async { Ok(part) }).chain(futures::stream::pending());
    StreamBody::new(parts).boxed_unsync()
}

async fn call(sender: &mut SendRequest<Body>, request: http::Request<Body>) -> (http::HeaderMap, Value) {
    let response = sender.send_request(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&body);
    assert!(head.status.is_success(), "{} {text}", head.status);
    (head.headers, serde_json::from_slice(&body).unwrap_or_default())
}

/// Signs in as the owner and makes the apps. Answers the session's cookie and the path of the list.
async fn prepare(server: &Server) -> (String, String) {
    let mut sender = http2("127.0.0.1", server.control, 1 << 20).await.unwrap();
    let request = |method: &str, path: &str, cookie: &str, body: Value| {
        http::Request::builder()
            .method(method)
            .uri(format!("http://x{path}"))
            .header("cookie", cookie)
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())).boxed_unsync())
            .unwrap()
    };
    let sign_in = json!({"email": EMAIL, "password": PASSWORD});
    let (headers, _) = call(&mut sender, request("POST", "/api/v1/session", "", sign_in)).await;
    let cookies = headers.get_all("set-cookie").iter();
    let cookies: Vec<_> = cookies
        .map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap())
        .collect();
    let cookie = cookies.join("; ");
    let (_, workspaces) = call(
        &mut sender,
        request("GET", "/api/v1/workspaces", &cookie, Value::Null),
    )
    .await;
    let id = workspaces["items"][0]["id"].as_str().unwrap();
    let path = format!("/api/v1/workspaces/{id}/apps");
    let around = "a comment ".repeat(1_500);
    for at in 0..APPS {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let der = base64::engine::general_purpose::STANDARD
            .encode(rcgen::PublicKeyData::subject_public_key_info(&key));
        let pem = format!("{around}\n-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n");
        let app = json!({
            "name": format!("app {at}"), "scopes": ["tracking_api:write"],
            "public_key": {"name": "key", "pem": pem},
        });
        call(&mut sender, request("POST", &path, &cookie, app)).await;
    }
    (cookie, format!("{path}?limit=200"))
}

/// What became of the requests of an attack.
#[derive(Default)]
struct Outcomes {
    counts: Mutex<BTreeMap<String, usize>>,
    /// Responses that are not read.
    kept: Mutex<Vec<http::Response<Incoming>>>,
}

impl Outcomes {
    fn note(&self, outcome: Result<http::Response<Incoming>, hyper::Error>) {
        let word = match outcome {
            Ok(response) => {
                let word = response.status().as_u16().to_string();
                self.kept.lock().unwrap().push(response);
                word
            }
            Err(_) => "reset".to_owned(),
        };
        *self.counts.lock().unwrap().entry(word).or_default() += 1;
    }
}

/// How long a request of another client takes, every 100 ms until `until`: the longest, and how many were not answered 200.
async fn somebody_else(server: SocketAddr, until: Instant) -> (Duration, usize) {
    let (mut longest, mut failed) = (Duration::ZERO, 0);
    while Instant::now() < until {
        let began = Instant::now();
        let one = async {
            let mut sender = http2("127.0.9.9", server, 1 << 20).await?;
            let request = http::Request::get("http://x/.well-known/jwks.json");
            let response = sender.send_request(request.body(empty()).unwrap()).await.ok()?;
            (response.status() == 200).then_some(())
        };
        if !matches!(
            tokio::time::timeout(Duration::from_secs(5), one).await,
            Ok(Some(()))
        ) {
            failed += 1;
        }
        longest = longest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    (longest, failed)
}

async fn attack(name: &str, server: &Server, window: u32, request: impl Fn() -> http::Request<Body>) {
    let (connections, streams) = (number("CONNECTIONS", 250), number("STREAMS", 127));
    let seconds = number("SECONDS", 20) as u64;
    let (idle, _) = server.memory();
    let outcomes = Arc::new(Outcomes::default());
    let mut requests = JoinSet::new();
    let until = Instant::now() + Duration::from_secs(seconds);
    let other = tokio::spawn(somebody_else(server.control, until));
    let mut senders = Vec::new();
    for address in 1..=number("ADDRESSES", 1) {
        for _ in 0..connections {
            let Some(mut sender) = http2(&format!("127.0.0.{address}"), server.control, window).await else {
                continue;
            };
            for _ in 0..streams {
                let (sent, outcomes) = (sender.send_request(request()), Arc::clone(&outcomes));
                requests.spawn(async move { outcomes.note(sent.await) });
            }
            senders.push(sender);
        }
    }
    let mut most = 0;
    while Instant::now() < until {
        most = most.max(server.memory().0);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let most = most.max(server.memory().1);
    let (longest, failed) = other.await.unwrap();
    println!(
        "{name}: {idle} MiB idle, {most} MiB at most, {} MiB over idle; answered {:?}; another client waited {} ms at most, {failed} failed",
        most - idle,
        outcomes.counts.lock().unwrap(),
        longest.as_millis(),
    );
    requests.shutdown().await;
}

#[tokio::main]
async fn main() {
    let server = Server::start(0).await;
    attack("bodies that never end", &server, 1 << 20, || {
        http::Request::post("http://x/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(unfinished())
            .unwrap()
    })
    .await;
    drop(server);

    let server = Server::start(1).await;
    let (cookie, path) = prepare(&server).await;
    attack("lists that nobody reads", &server, 1, || {
        http::Request::get(format!("http://x{path}"))
            .header("cookie", &cookie)
            .body(empty())
            .unwrap()
    })
    .await;
}
