//! What one address that sends the dearest bodies as fast as it can costs the others, with one worker: p99 of their
//! ordinary requests with and without it.
//!
//! The bodies are small on their way and large inflated, or a key of escapes with a block of colons behind it. What
//! would worry us: a ratio above 2. Rounds with and without take turns in one run, so that another load on the machine
//! meets both. Run it with `cargo bench --bench dear_bodies`; `CONNECTIONS` and `ROUNDS` change its size, `GATEWAY_BIN`
//! the program. The one address sends from 127.0.0.2.

#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a bench reads the time and the environment, and may fail by panicking"
)]

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections of ordinary clients, each with one request at a time.
const ORDINARY: usize = 8;

/// Between two requests of an ordinary client: far from saturation, where p99 would measure the queue.
const PACE: Duration = Duration::from_millis(5);

const ROUND: Duration = Duration::from_secs(5);

const CONFIG: &str = r#"
version: 1
gateway:
  workers: 1
  listeners: [{address: "GATEWAY"}]
  apis:
    tracking:
      hosts: ["*"]
      paths: ["/v1/*"]
      scope: "tracking_api:write"
      identify: [basic, body]
      unknown_sources: forward
      upstream: main
  upstreams:
    main: {servers: ["UPSTREAM"]}
policy: {source: file, file: "policy.yaml"}
issuers: [{issuer: "https://auth.test", jwks_file: "jwks.json", algorithms: [ES256], audience: ["https://gateway.test"]}]
observability: {listen: "127.0.0.1:0", access_log: {enabled: false}}
"#;

/// The public key of RFC 7515 appendix A.3: a gateway wants to know some issuer's keys.
const KEY_SET: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"1","alg":"ES256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// The gateway as a process of its own, ended when dropped.
struct Gateway {
    process: Child,
    address: SocketAddr,
    dir: std::path::PathBuf,
}

impl Gateway {
    async fn start(upstream: SocketAddr) -> Self {
        let dir = std::env::temp_dir().join(format!("portcullis-dear-bodies-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let address = free_address();
        let config = CONFIG
            .replace("GATEWAY", &address.to_string())
            .replace("UPSTREAM", &upstream.to_string());
        std::fs::write(dir.join("config.yaml"), config).unwrap();
        std::fs::write(dir.join("policy.yaml"), "apps: []\nsources: []\n").unwrap();
        std::fs::write(dir.join("jwks.json"), KEY_SET).unwrap();
        let program =
            std::env::var("GATEWAY_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_portcullis").to_owned());
        let process = Command::new(program)
            .args(["serve", "--config"])
            .arg(dir.join("config.yaml"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let gateway = Self {
            process,
            address,
            dir,
        };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).await.is_err() {
            assert!(Instant::now() < until, "the gateway does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        gateway
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Answers every request with a small 200; they come whole and in one piece, or nearly.
async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let mut read = vec![0; 16 * 1024];
                let mut held = Vec::new();
                while let Ok(count @ 1..) = stream.read(&mut read).await {
                    held.extend_from_slice(&read[..count]);
                    if held.ends_with(b"}") {
                        held.clear();
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
                        if stream.write_all(answer).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

fn request() -> Vec<u8> {
    let events = r#"{"type":"track","event":"e","properties":{"a":1}},"#.repeat(40);
    let body = format!(
        "{{\"batch\":[{}],\"writeKey\":\"wk_bench\"}}",
        events.trim_end_matches(',')
    );
    let head = "POST /v1/batch HTTP/1.1\r\nHost: tracking.test\r\nContent-Type: application/json\r\n";
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// One ordinary client: how long each of its requests took.
async fn ordinary(address: SocketAddr, until: Instant) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let request = request();
    let mut times = Vec::new();
    let mut answer = vec![0; 4096];
    while Instant::now() < until {
        let began = Instant::now();
        stream.write_all(&request).await.unwrap();
        let mut held = 0;
        while !answer[..held].ends_with(b"{}") {
            let read = stream.read(&mut answer[held..]).await.unwrap();
            assert!(read > 0, "an ordinary client was cut off");
            held += read;
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 200"),
            "an ordinary client was refused"
        );
        times.push(began.elapsed());
        tokio::time::sleep(PACE).await;
    }
    times
}

/// The kinds of dear bodies, as requests.
fn dear_requests() -> Vec<(&'static str, Vec<u8>)> {
    let gzip = |text: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    // Now and then another escape, so that compressed it is not smaller than is believed.
    let key = |bytes: usize| {
        let (mut key, mut state) = ("{\"".to_owned(), 1_u64);
        while key.len() < bytes {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            key.extend(std::iter::repeat_n(
                "\\n",
                usize::try_from(state >> 33).unwrap() % 280,
            ));
            key.push_str("\\t");
        }
        format!("{key}\"{}", ":".repeat(64)).into_bytes()
    };
    let events = r#"{"a":[1,[],{"b":"\u00e9"}],"n":-1.5e3,"writeKey":"k"},"#.repeat(8_000_000 / 52);
    let batch = format!(r#"{{"batch":[{}{{}}],"writeKey":"k"}}"#, events).into_bytes();
    let request = |coding: &str, body: Vec<u8>| {
        let head = format!(
            "POST /v1/batch HTTP/1.1\r\nHost: tracking.test\r\n{coding}Content-Length: {}\r\n\r\n",
            body.len()
        );
        [head.into_bytes(), body].concat()
    };
    let coded = "Content-Encoding: gzip\r\n";
    vec![
        ("long key, gzip", request(coded, gzip(&key(8_300_000)))),
        ("long key, plain", request("", key((1 << 20) - 1_024))),
        ("dense batch, gzip", request(coded, gzip(&batch))),
        ("dense batch, plain", request("", batch[..1 << 20].to_vec())),
    ]
}

/// One connection of the one address: the request again and again, without waiting longer than for its answer.
async fn dear(address: SocketAddr, request: Arc<Vec<u8>>, stop: Arc<AtomicBool>, answered: Arc<AtomicUsize>) {
    let mut read = vec![0; 64 * 1024];
    while !stop.load(Ordering::Relaxed) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let Ok(mut stream) = socket.connect(address).await else {
            continue;
        };
        while !stop.load(Ordering::Relaxed) && stream.write_all(&request).await.is_ok() {
            match stream.read(&mut read).await {
                Ok(1..) => answered.fetch_add(1, Ordering::Relaxed),
                _ => break,
            };
        }
    }
}

async fn measure(address: SocketAddr) -> (Duration, Duration, usize) {
    let until = Instant::now() + ROUND;
    let clients: Vec<_> = (0..ORDINARY)
        .map(|_| tokio::spawn(ordinary(address, until)))
        .collect();
    let mut times = Vec::new();
    for client in clients {
        times.extend(client.await.unwrap());
    }
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100], times.len())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let (connections, rounds) = (number("CONNECTIONS", 16), number("ROUNDS", 3));
    let gateway = Gateway::start(upstream().await).await;
    measure(gateway.address).await;
    for (name, request) in dear_requests() {
        let request = Arc::new(request);
        println!(
            "{name}: {} bytes, {connections} connections of one address",
            request.len()
        );
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for round in 1..=rounds {
            let (p50, p99, count) = measure(gateway.address).await;
            println!("  round {round} without: p50 {p50:?} p99 {p99:?} of {count}");
            without.push(p99);
            let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
            let sending: Vec<_> = (0..connections)
                .map(|_| {
                    let (request, stop) = (Arc::clone(&request), Arc::clone(&stop));
                    tokio::spawn(dear(gateway.address, request, stop, Arc::clone(&answered)))
                })
                .collect();
            let (p50, p99, count) = measure(gateway.address).await;
            let answered = answered.load(Ordering::Relaxed);
            println!(
                "  round {round} with: p50 {p50:?} p99 {p99:?} of {count}, {answered} dear ones answered"
            );
            with.push(p99);
            stop.store(true, Ordering::Relaxed);
            for client in sending {
                client.await.unwrap();
            }
        }
        without.sort_unstable();
        with.sort_unstable();
        let (without, with) = (without[rounds / 2], with[rounds / 2]);
        let ratio = with.as_secs_f64() / without.as_secs_f64();
        println!("  median p99 without {without:?}, with {with:?}, ratio {ratio:.2}");
    }
}
