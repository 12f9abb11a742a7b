//! What clients that dribble cost the others: p99 of ordinary requests with and without 2,000 connections
//! that send a byte at a time or nothing, and the memory that those hold.
//!
//! What would worry us: a ratio above 1.5, or memory that grows from round to round. Rounds with and without
//! take turns in one run, so that another load on the machine meets both. Run it with
//! `cargo bench --bench slow_clients`; `SLOW_CLIENTS` and `ROUNDS` change its size, `GATEWAY_BIN` the program.
//!
//! With `FLOOD=10000` it measures something else: so many connections, slow or idle, of one address and of
//! `ADDRESSES` (40), to either listener, again and again for `SECONDS` (10); and the slowest request of one other
//! address meanwhile, on a new connection each. What would worry us: more than 100 ms, or a request not served.

#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a bench reads the time and the environment, and may fail by panicking"
)]

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Connections of ordinary clients, each with one request at a time.
const ORDINARY: usize = 8;

/// Between two requests of an ordinary client: far from saturation, where p99 would measure the queue.
const PACE: Duration = Duration::from_millis(5);

/// Between two bytes of a slow client.
const DRIBBLE: Duration = Duration::from_millis(500);

const ROUND: Duration = Duration::from_secs(8);

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
      unknown_sources: forward
      upstream: main
  upstreams:
    main: {servers: ["UPSTREAM"]}
policy: {source: file, file: "policy.yaml"}
issuers: [{issuer: "https://auth.test", jwks_file: "jwks.json", algorithms: [ES256], audience: ["https://gateway.test"]}]
control_plane: {listen: "CONTROL", store: "sqlite:portcullis.db"}
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
    control: SocketAddr,
    dir: std::path::PathBuf,
}

impl Gateway {
    async fn start(upstream: SocketAddr) -> Self {
        let dir = std::env::temp_dir().join(format!("portcullis-slow-clients-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (address, control) = (free_address(), free_address());
        let config = CONFIG
            .replace("CONTROL", &control.to_string())
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
            control,
            dir,
        };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).await.is_err() {
            assert!(Instant::now() < until, "the gateway does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        gateway
    }

    /// Resident memory in MiB.
    fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib / 1024
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

/// One slow client: a head, a body or nothing, a byte at a time, again whenever it is cut off.
async fn slow(address: SocketAddr, nth: usize, stop: Arc<AtomicBool>, cut: Arc<AtomicUsize>) {
    let head = b"POST /v1/batch HTTP/1.1\r\nHost: tracking.test\r\nContent-Length: 100000\r\n\r\n";
    // Not all in the same moment.
    tokio::time::sleep(Duration::from_millis((nth % 500) as u64)).await;
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(address).await else {
            tokio::time::sleep(DRIBBLE).await;
            continue;
        };
        let mut left: &[u8] = match nth % 3 {
            0 => head,
            1 => {
                let _ = stream.write_all(head).await;
                b""
            }
            _ => b"",
        };
        let mut read = [0; 1024];
        loop {
            let is_over = tokio::time::timeout(DRIBBLE, stream.read(&mut read))
                .await
                .is_ok();
            if is_over || stop.load(Ordering::Relaxed) {
                cut.fetch_add(usize::from(is_over), Ordering::Relaxed);
                break;
            }
            let byte = match (nth % 3, left.split_first()) {
                (0, Some((byte, rest))) => {
                    left = rest;
                    *byte
                }
                (2, _) => continue,
                _ => b' ',
            };
            if stream.write_all(&[byte]).await.is_err() {
                break;
            }
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

/// In what time a flood's connections are opened, and how long one that was refused or cut off waits before it is
/// opened again. Much faster, and this measures how many connections a second the machine can make.
const RAMP_MS: u64 = 4_000;
const AGAIN: Duration = Duration::from_secs(5);

/// How a flood's connections behave once they are open.
#[derive(Clone, Copy, Debug)]
enum Flood {
    /// One small request, answered without an upstream; then nothing.
    Idle,
    /// A head that never ends, a byte at a time.
    Slow,
}

/// One connection of a flood from this address, and again whenever it is refused or cut off.
async fn flood(nth: u64, from: [u8; 4], to: SocketAddr, how: Flood, stop: Arc<AtomicBool>) {
    tokio::time::sleep(Duration::from_millis(nth % RAMP_MS)).await;
    while !stop.load(Ordering::Relaxed) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let Ok(mut stream) = socket.connect(to).await else {
            tokio::time::sleep(DRIBBLE).await;
            continue;
        };
        let begin: &[u8] = match how {
            Flood::Idle => b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n",
            Flood::Slow => b"POST /v1/batch HTTP/1.1\r\nHost: tracking.test\r\nX: ",
        };
        if stream.write_all(begin).await.is_err() {
            continue;
        }
        let mut read = [0; 1024];
        while !stop.load(Ordering::Relaxed) {
            match tokio::time::timeout(DRIBBLE, stream.read(&mut read)).await {
                Ok(Ok(1..)) => {}
                Ok(_) => break,
                Err(_) if matches!(how, Flood::Slow) => {
                    if stream.write_all(b"x").await.is_err() {
                        break;
                    }
                }
                Err(_) => {}
            }
        }
        let again = Instant::now() + AGAIN;
        while !stop.load(Ordering::Relaxed) && Instant::now() < again {
            tokio::time::sleep(DRIBBLE).await;
        }
    }
}

/// Another client, in a thread of its own: how long each of its requests took, connecting included, and how many
/// were not served.
fn other_client(to: SocketAddr, request: &[u8], stop: &AtomicBool) -> (Vec<Duration>, usize) {
    let (mut times, mut failed) = (Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let exchange = || -> std::io::Result<bool> {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
            socket.bind(&SocketAddr::from(([127, 0, 0, 200], 0)).into())?;
            socket.connect(&to.into())?;
            let mut stream = std::net::TcpStream::from(socket);
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(request)?;
            let mut begin = [0; 12];
            stream.read_exact(&mut begin)?;
            Ok(&begin == b"HTTP/1.1 200")
        };
        if !exchange().unwrap_or(false) {
            failed += 1;
        }
        times.push(began.elapsed());
        std::thread::sleep(PACE);
    }
    (times, failed)
}

async fn measure_floods(gateway: &Gateway, connections: usize) {
    let (addresses, seconds) = (number("ADDRESSES", 40), number("SECONDS", 10));
    let get = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    println!("memory before: {} MiB", gateway.memory());
    for (plane, to, request) in [
        ("gateway", gateway.address, Arc::new(request())),
        ("control plane", gateway.control, Arc::new(get)),
    ] {
        for how in [Flood::Idle, Flood::Slow] {
            for addresses in [0, 1, addresses] {
                let stop = Arc::new(AtomicBool::new(false));
                let flooding = if addresses == 0 { 0 } else { connections };
                let floods: Vec<_> = (0..flooding)
                    .map(|nth| {
                        let from = [127, 0, 0, u8::try_from(1 + nth % addresses).unwrap()];
                        tokio::spawn(flood(nth as u64, from, to, how, Arc::clone(&stop)))
                    })
                    .collect();
                let (asked, stopped) = (Arc::clone(&request), Arc::clone(&stop));
                let other = std::thread::spawn(move || other_client(to, &asked, &stopped));
                tokio::time::sleep(Duration::from_secs(seconds as u64)).await;
                let memory = gateway.memory();
                stop.store(true, Ordering::Relaxed);
                for flood in floods {
                    flood.await.unwrap();
                }
                let (mut times, failed) = other.join().unwrap();
                times.sort_unstable();
                // What is left of this flood does not count for the next one.
                tokio::time::sleep(Duration::from_secs(2)).await;
                println!(
                    "{plane}, {how:?}, {flooding} connections of {addresses} addresses: another address p50 {:?} \
                     p99 {:?} worst {:?} of {}, {failed} not served, memory {memory} MiB",
                    times[times.len() / 2],
                    times[times.len() * 99 / 100],
                    times[times.len() - 1],
                    times.len(),
                );
            }
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let (slow_clients, rounds) = (number("SLOW_CLIENTS", 2_000), number("ROUNDS", 3));
    let gateway = Gateway::start(upstream().await).await;
    let flood = number("FLOOD", 0);
    if flood > 0 {
        measure_floods(&gateway, flood).await;
        return;
    }
    measure(gateway.address).await;
    println!("memory before: {} MiB", gateway.memory());
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let (p50, p99, count) = measure(gateway.address).await;
        println!("round {round} without: p50 {p50:?} p99 {p99:?} of {count}");
        without.push(p99);
        let (stop, cut) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let dribbling: Vec<_> = (0..slow_clients)
            .map(|nth| tokio::spawn(slow(gateway.address, nth, Arc::clone(&stop), Arc::clone(&cut))))
            .collect();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (p50, p99, count) = measure(gateway.address).await;
        let memory = gateway.memory();
        let cut = cut.load(Ordering::Relaxed);
        println!(
            "round {round} with {slow_clients}: p50 {p50:?} p99 {p99:?} of {count}, memory {memory} MiB, {cut} cut off"
        );
        with.push(p99);
        stop.store(true, Ordering::Relaxed);
        for client in dribbling {
            client.await.unwrap();
        }
    }
    without.sort_unstable();
    with.sort_unstable();
    let (without, with) = (without[rounds / 2], with[rounds / 2]);
    println!("memory after: {} MiB", gateway.memory());
    println!(
        "median p99 without {without:?}, with {with:?}, ratio {:.2}",
        with.as_secs_f64() / without.as_secs_f64()
    );
}
