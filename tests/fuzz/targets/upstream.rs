//! A whole gateway between a client that sends any bytes and an upstream with another parser (hyper): what the
//! upstream understood is what that parser reads in the client's own bytes, request for request.

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use portcullis::clock::{Clock, ManualClock};
use portcullis::config::load_text;
use portcullis::domain::time::UnixSeconds;
use portcullis::feed::{Publisher, feed};
use portcullis::gateway::listen::sockets::Sockets;
use portcullis::gateway::server::{Origin, Parts, Prepared, Running};
use portcullis::snapshot::Update;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;

use super::common::{FRESHNESS, empty_snapshot};

/// A request as hyper understood it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    method: String,
    target: String,
    host: String,
    /// Headers that a gateway has no business with.
    others: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Seen {
    /// Whether an upstream that reads `forwarded` understands the same. HTTP/1.0 may name no host; the upstream is told its
    /// own. The host of a target in absolute-form stands for `Host`, in its own letter case (RFC 9112 section 3.2.2).
    fn is_told_by(&self, forwarded: &Self) -> bool {
        let mut told = forwarded.clone();
        if self.host.is_empty() || self.host.eq_ignore_ascii_case(&told.host) {
            told.host.clone_from(&self.host);
        }
        *self == told
    }
}

type Notes = Arc<Mutex<Vec<Seen>>>;

pub fn run(data: &[u8]) {
    let harness = &*HARNESS;
    harness.notes.lock().unwrap().clear();
    harness.exchange(data);
    let forwarded = std::mem::take(&mut *harness.notes.lock().unwrap());
    // At a target that is no URI the other parser ends the connection; the gateway rejects the request and goes on.
    if forwarded.is_empty() || has_other_target(data) {
        return;
    }
    // Each that was forwarded is one that the other parser sees, in that order; those between were refused.
    let mut read = harness.read(data).into_iter();
    for request in forwarded {
        assert!(
            read.any(|direct| direct.is_told_by(&request)),
            "the upstream understood what the client did not say: {} {}",
            request.method,
            request.target
        );
    }
}

struct Harness {
    runtime: Runtime,
    notes: Notes,
    gateway: SocketAddr,
    _running: Running,
    _publisher: Publisher,
}

static HARNESS: LazyLock<Harness> = LazyLock::new(Harness::start);

impl Harness {
    fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let notes = Notes::default();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let server = listener.local_addr().unwrap();
        let shared = Arc::clone(&notes);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        let (running, publisher) = runtime.block_on(gateway(server));
        Self {
            gateway: running.addresses()[0],
            runtime,
            notes,
            _running: running,
            _publisher: publisher,
        }
    }

    /// Sends the bytes to the gateway and waits until it has closed the connection.
    fn exchange(&self, data: &[u8]) {
        let mut stream = TcpStream::connect(self.gateway).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // The gateway may have refused and closed before it was all sent.
        let _ = stream.write_all(data);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answers = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answers) {
            assert!(
                error.kind() == std::io::ErrorKind::ConnectionReset,
                "the gateway keeps a connection whose client is done: {error}"
            );
        }
    }

    /// What the other parser reads in the same bytes.
    fn read(&self, data: &[u8]) -> Vec<Seen> {
        let notes = Notes::default();
        self.runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(data.len() + (1 << 20));
            tokio::io::AsyncWriteExt::write_all(&mut client, data)
                .await
                .unwrap();
            tokio::io::AsyncWriteExt::shutdown(&mut client).await.unwrap();
            serve(server, Arc::clone(&notes)).await;
        });
        std::mem::take(&mut *notes.lock().unwrap())
    }
}

async fn gateway(server: SocketAddr) -> (Running, Publisher) {
    let config = format!(
        r#"
version: 1
gateway:
  workers: 1
  listeners: [{{address: "127.0.0.1:0"}}]
  apis:
    public: {{hosts: ["*"], paths: ["/*"], scope: "s", identify: [token], without_token: forward, upstream: main}}
  upstreams:
    main: {{servers: ["{server}"]}}
  limits: {{header_timeout: 1s, body_timeout: 1s, idle_timeout: 1s, body_bytes: 64KiB}}
policy: {{source: file, file: "none"}}
"#
    );
    let config = load_text(Path::new("/nonexistent/portcullis.yaml"), &config).unwrap();
    let registry = prometheus::Registry::new();
    let prepared = Prepared::new(Parts {
        config: config.gateway.as_ref().unwrap(),
        issuers: &[],
        freshness: FRESHNESS,
        access_log: None,
        clock: Clock::Manual(ManualClock::at(UnixSeconds(0))),
        registry: &registry,
        sockets: &mut Sockets::default(),
        monitor: &portcullis::task_monitor::TaskMonitor::default(),
    });
    let (publisher, subscriber) = feed();
    let running = prepared.unwrap().run(Origin::Feed(subscriber)).await.unwrap();
    running.accept().unwrap();
    let snapshot = Update::Snapshot(Box::new(empty_snapshot()));
    publisher.publish(snapshot).await.unwrap();
    assert!(publisher.is_installed(1, Duration::from_secs(20)).await);
    (running, publisher)
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, notes: Notes) {
    let service = service_fn(move |request| note(request, Arc::clone(&notes)));
    let _ = http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn note(request: Request<Incoming>, notes: Notes) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    // A body that was cut off is none that was understood.
    if let Ok(body) = body.collect().await {
        let others = head.headers.iter().filter(|(name, _)| {
            !is_set_by_the_gateway(name.as_str()) && !is_of_the_connection(name.as_str())
        });
        let mut others: Vec<_> = others
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect();
        others.sort();
        let host = head.headers.get("host").map(|held| held.as_bytes().to_vec());
        let seen = Seen {
            method: head.method.to_string(),
            target: head
                .uri
                .path_and_query()
                .map(ToString::to_string)
                .unwrap_or_default(),
            host: String::from_utf8_lossy(&host.unwrap_or_default()).into_owned(),
            others,
            body: body.to_bytes().to_vec(),
        };
        notes.lock().unwrap().push(seen);
    }
    Ok(Response::new(Full::new(Bytes::new())))
}

/// Whether a line may be a request line whose target hyper does not take for a URI.
fn has_other_target(data: &[u8]) -> bool {
    data.split(|byte| *byte == b'\n').any(|line| {
        let mut words = line.split(|byte| *byte == b' ');
        let target = words.nth(1).unwrap_or_default();
        let is_request = words.next().is_some_and(|word| word.starts_with(b"HTTP/1."));
        is_request && http::Uri::try_from(target).is_err()
    })
}

/// A name's letters and digits: servers that map headers to variables tell no more of it apart.
fn letters_and_digits(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// Whether a name, in any spelling, is one that upstreams hear from the gateway alone: its own, and those that tell of a client's way here.
fn is_set_by_the_gateway(name: &str) -> bool {
    const NAMES: [&str; 11] = [
        "xrequestid",
        "forwarded",
        "xrealip",
        "xclientip",
        "xoriginalurl",
        "xoriginaluri",
        "xoriginalhost",
        "xrewriteurl",
        "xenvoyoriginalpath",
        "trueclientip",
        "cfconnectingip",
    ];
    let plain = letters_and_digits(name);
    let begins_with = |prefix: &str| plain.len() > prefix.len() && plain.starts_with(prefix);
    begins_with("xportcullis") || begins_with("xforwarded") || NAMES.contains(&plain.as_str())
}

/// Whether a name concerns one connection: listed as it is, or framing spelt with bytes that are neither letters, digits nor `-`.
fn is_of_the_connection(name: &str) -> bool {
    const NAMES: [&str; 13] = [
        "connection",
        "content-length",
        "transfer-encoding",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "http2-settings",
        "host",
    ];
    let is_odd = name
        .bytes()
        .any(|byte| !byte.is_ascii_alphanumeric() && byte != b'-');
    let plain = letters_and_digits(name);
    NAMES.contains(&name)
        || is_odd
            && NAMES[..7]
                .iter()
                .any(|listed| letters_and_digits(listed) == plain)
}
