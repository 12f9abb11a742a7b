//! An API behind the gateway that takes everything and remembers it.
#![expect(
    clippy::disallowed_methods,
    reason = "what arrives over sockets takes real time, and a hang must end"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use flate2::read::GzDecoder;
use futures::FutureExt as _;
use serde_json::Value;
use tokio::io::BufReader;

use super::process::DEADLINE;
use super::web::Blocking;
use super::wire;

/// A request as it came.
#[derive(Clone)]
pub struct Recorded {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Whether the whole body came.
    complete: bool,
}

impl Recorded {
    fn read(from: &mut BufReader<Blocking<TcpStream>>) -> Option<Self> {
        let read = async {
            let head = wire::read_head(from).await?;
            let body = wire::read_body(from, wire::request_framing(&head)).await;
            Some(Self {
                headers: head.headers,
                body: body.bytes,
                complete: body.complete,
            })
        };
        read.now_or_never()
            .expect("a reader that blocks is never pending")
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        wire::all(&self.headers, name).first().copied()
    }
}

/// A recording upstream.
#[derive(Clone)]
pub struct Recorder {
    pub address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    requests: Vec<Recorded>,
    holding: bool,
}

impl Recorder {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let recorder = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
        };
        let accepting = recorder.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let recorder = accepting.clone();
                std::thread::spawn(move || recorder.serve(stream));
            }
        });
        recorder
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(Blocking(stream.try_clone().unwrap()));
        while let Some(request) = Recorded::read(&mut reader) {
            let mut state = self.state.0.lock().unwrap();
            state.requests.push(request);
            self.state.1.notify_all();
            while state.holding {
                state = self.state.1.wait(state).unwrap();
            }
            drop(state);
            let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"success\":true}";
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// From now on answers wait until [`Recorder::release`].
    pub fn hold(&self) {
        self.state.0.lock().unwrap().holding = true;
    }

    pub fn release(&self) {
        self.state.0.lock().unwrap().holding = false;
        self.state.1.notify_all();
    }

    pub fn requests(&self) -> Vec<Recorded> {
        self.state.0.lock().unwrap().requests.clone()
    }

    /// Waits until this many requests have come.
    pub fn wait_for(&self, requests: usize) {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.state.0.lock().unwrap();
        while state.requests.len() < requests {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {requests} requests within {DEADLINE:?}");
            state = self.state.1.wait_timeout(state, left).unwrap().0;
        }
    }

    /// How often each event came, by its `messageId`.
    pub fn events(&self) -> BTreeMap<String, usize> {
        let mut seen = BTreeMap::new();
        for request in self.requests() {
            assert!(request.complete, "a body was cut off");
            for event in batch(&request) {
                let id = event["messageId"].as_str().unwrap().to_owned();
                *seen.entry(id).or_default() += 1;
            }
        }
        seen
    }

    /// The distinct bearer tokens that came.
    pub fn tokens(&self) -> BTreeSet<String> {
        self.requests()
            .iter()
            .filter_map(|request| request.header("authorization")?.strip_prefix("Bearer "))
            .map(str::to_owned)
            .collect()
    }
}

/// The events of a batch, compressed or not.
fn batch(request: &Recorded) -> Vec<Value> {
    let mut plain = Vec::new();
    match request.header("content-encoding") {
        Some("gzip") => {
            GzDecoder::new(request.body.as_slice())
                .read_to_end(&mut plain)
                .unwrap();
        }
        None => plain.clone_from(&request.body),
        Some(other) => panic!("nobody sends {other}"),
    }
    let body: Value = serde_json::from_slice(&plain).unwrap();
    body["batch"].as_array().cloned().unwrap_or_default()
}
