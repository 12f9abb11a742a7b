//! A load generator: clients that count every response, and an upstream that counts every request.
//!
//! The clients keep their connections as SDKs do, and open the next one when a response says that it was the
//! last. Whatever else happens to a request is a failure, and is remembered in words.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::answer::Answer;
use super::process::DEADLINE;
use super::wire::{self, MessageHead};

/// The most failures remembered.
const FAILURES_MAX: usize = 20;

/// The header that names a request which the upstream holds until the test releases it.
const HOLD: &str = "X-Hold";

/// HTTP/1.1 messages on a connection that is kept.
pub struct Wire {
    pub stream: BufReader<TcpStream>,
}

impl Wire {
    pub async fn connect(to: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    fn over(stream: TcpStream) -> Self {
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// The head of the next message.
    pub async fn head(&mut self) -> Result<MessageHead, String> {
        let head = wire::read_head(&mut self.stream).await;
        head.ok_or_else(|| "the connection ended before a head".to_owned())
    }

    /// The next response to a POST, whole.
    pub async fn answer(&mut self) -> Result<Answer, String> {
        let read = tokio::time::timeout(DEADLINE, Answer::read(&mut self.stream, "POST")).await;
        match read {
            Err(_) => Err("no answer in time".to_owned()),
            Ok(None) => Err("the connection ended before a response".to_owned()),
            Ok(Some(answer)) if answer.complete => Ok(answer),
            Ok(Some(answer)) => Err(format!("the connection ended in the body of a {}", answer.status)),
        }
    }
}

/// What the clients saw.
#[derive(Default)]
pub struct Seen {
    /// Answers by status and reason.
    answers: Mutex<BTreeMap<(u16, String), u64>>,
    failures: Mutex<Vec<String>>,
    failed: AtomicU64,
}

impl Seen {
    pub fn answered(&self, answer: &Answer) {
        let reason = if answer.status == 200 {
            String::new()
        } else {
            answer.reason()
        };
        self.count(answer.status, reason);
    }

    pub fn count(&self, status: u16, reason: String) {
        *self.answers.lock().unwrap().entry((status, reason)).or_default() += 1;
    }

    pub fn failed(&self, what: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut failures = self.failures.lock().unwrap();
        if failures.len() < FAILURES_MAX {
            failures.push(what);
        }
    }

    pub fn answers(&self) -> BTreeMap<(u16, String), u64> {
        self.answers.lock().unwrap().clone()
    }

    /// Answers with this status.
    pub fn with_status(&self, status: u16) -> u64 {
        let answers = self.answers.lock().unwrap();
        let these = answers.iter().filter(|((held, _), _)| *held == status);
        these.map(|(_, count)| count).sum()
    }

    #[track_caller]
    pub fn assert_none_failed(&self) {
        let failed = self.failed.load(Ordering::Relaxed);
        assert_eq!(failed, 0, "{:?}", self.failures.lock().unwrap());
    }
}

/// Clients at work.
pub struct Load {
    pub seen: Arc<Seen>,
    pub runtime: Runtime,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn new() -> Self {
        Self {
            seen: Arc::default(),
            runtime: Runtime::new().unwrap(),
            stop: Arc::default(),
            clients: Vec::new(),
        }
    }

    pub fn is_stopping(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    pub fn spawn(&mut self, client: impl Future<Output = ()> + Send + 'static) {
        self.clients.push(self.runtime.spawn(client));
    }

    /// `clients` kept connections that send `request` and expect 200, each time. Answers the load again.
    pub fn keep_sending(&mut self, clients: usize, to: SocketAddr, request: &[u8]) {
        for _ in 0..clients {
            let (seen, stop, request) = (Arc::clone(&self.seen), self.is_stopping(), request.to_vec());
            self.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    if let Err(error) = one_connection(&seen, &stop, to, &request).await {
                        seen.failed(error);
                    }
                }
            });
        }
    }

    /// Lets every request under way end.
    pub fn stop(self) -> Arc<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.runtime.block_on(async {
            for client in self.clients {
                client.await.unwrap();
            }
        });
        self.seen
    }
}

/// Requests on one connection until it, or the load, is to end.
async fn one_connection(
    seen: &Seen,
    stop: &AtomicBool,
    to: SocketAddr,
    request: &[u8],
) -> Result<(), String> {
    let mut wire = Wire::connect(to)
        .await
        .map_err(|error| format!("connecting: {error}"))?;
    let mut requests = 0;
    while !stop.load(Ordering::Relaxed) {
        let told = |error: String| format!("request {requests} of a connection: {error}");
        let sent = wire.stream.write_all(request).await;
        sent.map_err(|error| told(error.to_string()))?;
        let answer = wire.answer().await.map_err(told)?;
        seen.answered(&answer);
        if answer.status != 200 {
            return Err(told(format!("{} {}", answer.status, answer.reason())));
        }
        if answer.is_last() {
            break;
        }
        requests += 1;
    }
    Ok(())
}

/// A server that answers every request with a small 200, and counts.
pub struct CountingUpstream {
    pub address: SocketAddr,
    state: Arc<Counted>,
}

#[derive(Default)]
struct Counted {
    requests: AtomicU64,
    held: Mutex<BTreeMap<String, Arc<Hold>>>,
}

/// A request that the upstream holds until its client says so.
#[derive(Default)]
pub struct Hold {
    arrived: Notify,
    answer: Notify,
}

impl Hold {
    /// Resolves when the whole request is at the upstream.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Lets the upstream answer.
    pub fn answer(&self) {
        self.answer.notify_one();
    }
}

impl CountingUpstream {
    pub fn start(on: &Runtime) -> Self {
        let listener = on.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
        };
        let state = Arc::clone(&upstream.state);
        on.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    // Whoever closes in the middle of a request did not send one.
                    let _ = state.serve(Wire::over(stream)).await;
                });
            }
        });
        upstream
    }

    /// Complete requests so far.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// How the clients reach the requests that are held.
    pub fn holds(&self) -> Holds {
        Holds(Arc::clone(&self.state))
    }
}

/// The requests that the upstream holds.
#[derive(Clone)]
pub struct Holds(Arc<Counted>);

impl Holds {
    /// Holds the request that carries this header line's name.
    pub fn expect(&self, name: &str) -> (Arc<Hold>, String) {
        let hold = Arc::<Hold>::default();
        self.0
            .held
            .lock()
            .unwrap()
            .insert(name.to_owned(), Arc::clone(&hold));
        (hold, format!("{HOLD}: {name}\r\n"))
    }
}

impl Counted {
    async fn serve(&self, mut wire: Wire) -> Result<(), String> {
        let nodelay = wire.stream.get_ref().set_nodelay(true);
        nodelay.map_err(|error| error.to_string())?;
        loop {
            let head = wire.head().await?;
            let body = wire::read_body(&mut wire.stream, wire::request_framing(&head)).await;
            if !body.complete {
                return Err("the connection ended in a body".to_owned());
            }
            self.requests.fetch_add(1, Ordering::SeqCst);
            let name = head.all(HOLD).first().copied();
            let held = name.and_then(|name| self.held.lock().unwrap().remove(name));
            if let Some(hold) = held {
                hold.arrived.notify_one();
                hold.answer.notified().await;
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"success\":true}";
            wire.stream
                .write_all(answer)
                .await
                .map_err(|error| error.to_string())?;
        }
    }
}

/// The values of a metric's series, by its labels as they stand there.
pub fn series(metrics: &str, name: &str) -> BTreeMap<String, f64> {
    let lines = metrics
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
    let pairs = lines.filter_map(|line| line.rsplit_once("} "));
    pairs
        .map(|(labels, value)| (labels.to_owned(), value.parse().unwrap()))
        .collect()
}

/// A pause between two looks at something that takes its time.
pub async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}
