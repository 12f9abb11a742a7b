//! What a token costs at the token endpoint, apart from the signature arithmetic that it cannot do without.
//!
//! The whole of it: HTTP over a socket, the app's key, the assertion's signature (RS256, 2048 bits), its entry in
//! the `SQLite` store, our signature (RS256, 2048 bits). Costs are CPU time of this process, all its threads and
//! the kernel's work for it included, so that others on the machine do not count; the client is a process of its
//! own. `arithmetic` is one verification and one signature with parsed keys, before and after. What would worry
//! us: a ratio below 0.8, or p99 at half the rate of one core above 20 ms (that one is wall time: look at it on an
//! idle machine). Run it on one core: `taskset -c 0 cargo bench --bench issue`.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a bench may fail by panicking, and measures time"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis::clock::Clock;
use portcullis::config::{ControlLimits, LeakedTokens, Login, Rate, Signing};
use portcullis::control::http::server;
use portcullis::control::{Actor, Control, ControlSettings, NewApp, NewAppKey};
use portcullis::domain::ids::KeyId;
use portcullis::domain::key::{Algorithm, PublicKey, VerifyingKey};
use portcullis::http_server::Bounds;

const ISSUER: &str = "https://control.bench";
const TOKENS: usize = 20_000;
const CLIENTS: usize = 16;
/// Ticks a second of `/proc/self/stat`, the same on every Linux.
const TICKS: f64 = 100.0;

fn main() {
    match std::env::var("PORTCULLIS_BENCH_CLIENT") {
        Ok(what) => client(&what),
        Err(_) => server(),
    }
}

struct Key {
    pair: RsaKeyPair,
    der: Vec<u8>,
}

impl Key {
    fn new() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        Self {
            der: der.as_ref().to_vec(),
            pair,
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; 256];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .unwrap();
        signature
    }

    fn assertion(&self, app: &str, kid: &str, number: usize) -> String {
        let now = Clock::System.now().0;
        let header = format!(r#"{{"alg":"RS256","kid":"{kid}","typ":"JWT"}}"#);
        let claims = format!(
            r#"{{"iss":"{app}","sub":"{app}","aud":"{ISSUER}","iat":{},"exp":{},"jti":"{number}"}}"#,
            now - 5,
            now + 590
        );
        let input = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let signature = URL_SAFE_NO_PAD.encode(self.sign(input.as_bytes()));
        format!("{input}.{signature}")
    }
}

/// CPU seconds that this process has used.
fn used() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / TICKS
}

/// CPU seconds of one verification and one signature.
fn arithmetic(key: &Key) -> f64 {
    let public = PublicKey::from_spki(&key.der).unwrap();
    let verifying = VerifyingKey::new(KeyId::parse("k").unwrap(), public, Algorithm::Rs256).unwrap();
    let message = [7_u8; 400];
    let signature = key.sign(&message);
    let (rounds, before) = (8_000, used());
    for _ in 0..rounds {
        assert!(verifying.verifies(std::hint::black_box(&message), &signature));
        std::hint::black_box(key.sign(std::hint::black_box(&message)));
    }
    (used() - before) / f64::from(rounds)
}

fn server() {
    let dir = std::env::temp_dir().join(format!("portcullis-bench-issue-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(measure(&dir));
    std::fs::remove_dir_all(&dir).unwrap();
}

async fn measure(dir: &std::path::Path) {
    let unlimited = Rate {
        burst: 1_000_000,
        per_second: 1_000_000,
    };
    let settings = ControlSettings {
        store: portcullis::store_location::StoreLocation::Sqlite(dir.join("store.db")),
        public_url: ISSUER.to_owned(),
        audience: Some("bench".to_owned()),
        resources: Vec::new(),
        assertion_lifetime_max_s: 3_600,
        signing: Signing::default(),
        leaked_tokens: LeakedTokens::default(),
        trusted_proxies: Vec::new(),
        audit_retention: Duration::from_secs(90 * 86_400),
        limits: ControlLimits {
            token_app: unlimited,
            ..ControlLimits::default()
        },
        login: Login::default(),
        fleet_max_age: None,
    };
    let control = Arc::new(Control::open(settings, Clock::System).await.unwrap());
    let key = Key::new();
    let (app, kid) = make_app(&control, &key).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = tokio::spawn(server::serve(
        Arc::clone(&control),
        server::Listening {
            socket: listener,
            tls: None,
            bounds: Bounds::default(),
            grace: Duration::ZERO,
        },
        std::future::pending(),
    ));

    let before = arithmetic(&key);
    let (cost, _) = run(&key, &app, &kid, &address, dir, 0.0).await;
    let bound = f64::midpoint(before, arithmetic(&key));
    let half = 0.5 / cost;
    println!(
        "arithmetic        {:8.1} us  {:7.0} /s of one core",
        bound * 1e6,
        1.0 / bound
    );
    println!(
        "token endpoint    {:8.1} us  {:7.0} /s of one core",
        cost * 1e6,
        1.0 / cost
    );
    println!("ratio             {:8.3}", bound / cost);
    let (_, latencies) = run(&key, &app, &kid, &address, dir, half).await;
    println!("at {half:.0} /s: {latencies}");
    serving.abort();
    control.close().await;
}

async fn make_app(control: &Control, key: &Key) -> (String, String) {
    let workspace = control
        .workspaces
        .create(&Actor::system("bench"), "bench")
        .await
        .unwrap();
    let new = NewApp {
        name: "bench".to_owned(),
        scopes: vec!["tracking_api:write".to_owned()],
        token_lifetime: "1d".to_owned(),
        public_key: NewAppKey {
            name: "bench".to_owned(),
            pem: format!(
                "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
                STANDARD.encode(&key.der)
            ),
            algorithm: None,
            expires_at: None,
        },
    };
    let made = control
        .apps
        .create(&Actor::system("bench"), &workspace.id, new)
        .await
        .unwrap();
    (made.app.id.to_string(), made.keys[0].id.to_string())
}

/// Has the client ask for [`TOKENS`] tokens at `rate` a second, or as fast as it can. Answers what one cost and
/// what the client saw.
async fn run(
    key: &Key,
    app: &str,
    kid: &str,
    address: &str,
    dir: &std::path::Path,
    rate: f64,
) -> (f64, String) {
    let path = dir.join("assertions");
    let assertions: Vec<String> = (0..TOKENS)
        .map(|n| key.assertion(app, kid, n + usize::from(rate > 0.0) * TOKENS))
        .collect();
    std::fs::write(&path, assertions.join("\n")).unwrap();
    let mut client = Command::new(std::env::current_exe().unwrap())
        .env(
            "PORTCULLIS_BENCH_CLIENT",
            format!("{address} {rate} {}", path.display()),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(client.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let before = used();
    drop(client.stdin.take());
    let rest = tokio::task::spawn_blocking(move || {
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        rest
    });
    let seen = rest.await.unwrap();
    let cost = (used() - before) / TOKENS as f64;
    assert!(client.wait().unwrap().success());
    (cost, seen.trim().to_owned())
}

/// `ADDRESS RATE FILE`: asks with each assertion of the file once, on connections that are kept.
fn client(what: &str) {
    let mut words = what.split(' ');
    let address = words.next().unwrap().to_owned();
    let rate: f64 = words.next().unwrap().parse().unwrap();
    let path = PathBuf::from(words.next().unwrap());
    let assertions: Vec<String> = std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    let (next, began) = (AtomicUsize::new(0), Instant::now());
    let mut latencies: Vec<Duration> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| ask(&address, &assertions, &next, rate, began)))
            .collect();
        clients
            .into_iter()
            .flat_map(|client| client.join().unwrap())
            .collect()
    });
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, {:.0} /s",
        at(0.5),
        at(0.99),
        at(0.999),
        assertions.len() as f64 / began.elapsed().as_secs_f64()
    );
}

fn ask(address: &str, assertions: &[String], next: &AtomicUsize, rate: f64, began: Instant) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut latencies = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let Some(assertion) = assertions.get(at) else {
            return latencies;
        };
        // With a rate, a request counts from the moment it was due, not from when a connection was free for it.
        let mut due = Instant::now();
        if rate > 0.0 {
            due = began + Duration::from_secs_f64(at as f64 / rate);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let body = format!(
            "grant_type=client_credentials&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer\
             &client_assertion={assertion}&scope=tracking_api:write"
        );
        let request = format!(
            "POST /token HTTP/1.1\r\nHost: bench\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut read = 0;
        loop {
            let more = stream.read(&mut buffer[read..]).unwrap();
            assert!(more > 0, "the server closed the connection");
            read += more;
            let text = std::str::from_utf8(&buffer[..read]).unwrap();
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            assert!(head.starts_with("HTTP/1.1 200"), "{text}");
            let length = head.split("content-length: ").nth(1).unwrap();
            let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
            if body.len() == length {
                break;
            }
        }
        latencies.push(due.elapsed());
    }
}
