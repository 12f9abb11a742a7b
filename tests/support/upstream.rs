//! A real server on a real port that remembers everything that reached it.
//!
//! It speaks HTTP/1.1 on a raw socket, so that it can answer with any bytes, or HTTP/2 with prior
//! knowledge. What a denied request must leave behind here is nothing, not even a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::wait::until;
use crate::wire;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    /// The request target; of HTTP/2 the path and query.
    pub target: String,
    /// `:authority`, of HTTP/2 only.
    pub authority: Option<String>,
    /// In order. The spelling is the wire's.
    pub headers: Vec<(String, String)>,
    pub body_sha256: String,
    pub body_len: usize,
    /// Whether the body came to its declared end.
    pub complete: bool,
}

impl Received {
    /// Every value of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        wire::all(&self.headers, name)
    }

    /// The only value of a header.
    pub fn one(&self, name: &str) -> &str {
        match self.all(name).as_slice() {
            [one] => one,
            others => panic!("{} values of {name}: {:?}", others.len(), self.headers),
        }
    }
}

/// What the server does with a request once it has read it.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These bytes, and the connection stays open.
    Bytes(Vec<u8>),
    /// These bytes, then the end of the connection.
    BytesThenClose(Vec<u8>),
    /// Nothing, for ever.
    Hang,
}

impl Reply {
    /// A small 200.
    pub fn ok() -> Self {
        Self::text(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"success\":true}",
        )
    }

    /// Bytes written as text.
    pub fn text(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

type Answerer = Arc<dyn Fn(&Received) -> Reply + Send + Sync>;

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<Received>>,
    connections: AtomicUsize,
    bytes: AtomicU64,
}

/// How the server speaks.
#[derive(Clone)]
enum Speech {
    Http1(Answerer),
    Tls(Answerer, TlsAcceptor),
    /// Every request is answered with a small 200.
    Http2,
}

/// A running server; it ends when dropped.
pub struct StubUpstream {
    address: SocketAddr,
    seen: Arc<Seen>,
    accepting: JoinHandle<()>,
}

impl StubUpstream {
    /// A server that answers every request with a small 200.
    pub fn start() -> Self {
        Self::answering(|_| Reply::ok())
    }

    /// An HTTP/1.1 server that answers as told.
    pub fn answering(answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::on(ReservedPort::new(), Speech::Http1(Arc::new(answer)))
    }

    /// The same on a port that was reserved for it.
    pub fn answering_on(
        port: ReservedPort,
        answer: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::on(port, Speech::Http1(Arc::new(answer)))
    }

    /// The same behind TLS.
    pub fn tls(acceptor: TlsAcceptor, answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::on(ReservedPort::new(), Speech::Tls(Arc::new(answer), acceptor))
    }

    /// A server of HTTP/2 with prior knowledge.
    pub fn http2() -> Self {
        Self::on(ReservedPort::new(), Speech::Http2)
    }

    fn on(port: ReservedPort, speech: Speech) -> Self {
        let address = port.address();
        let listener = port.listen();
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                connections.spawn(serve(stream, speech.clone(), Arc::clone(&shared)));
            }
        });
        Self {
            address,
            seen,
            accepting,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything received so far.
    pub fn received(&self) -> Vec<Received> {
        self.seen.requests.lock().clone()
    }

    /// The only request so far.
    pub fn only(&self) -> Received {
        match self.received().as_slice() {
            [only] => only.clone(),
            others => panic!("{} requests, not one: {others:?}", others.len()),
        }
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Resolves when this many requests have arrived.
    pub async fn until_received(&self, count: usize) {
        until("the upstream received the request", || {
            self.seen.requests.lock().len() >= count
        })
        .await;
    }

    /// Fails unless nothing at all ever came here.
    #[track_caller]
    pub fn assert_untouched(&self) {
        let seen = (self.connections(), self.seen.bytes.load(Ordering::SeqCst));
        assert_eq!(seen, (0, 0), "connections and bytes at the upstream");
    }

    /// Ends the server and its connections. The port stays reserved.
    pub async fn stop(mut self) -> ReservedPort {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
        ReservedPort::at(self.address)
    }
}

impl Drop for StubUpstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A port that is ours and refuses connections: bound, and not listening.
pub struct ReservedPort(TcpSocket);

impl ReservedPort {
    pub fn new() -> Self {
        Self::at(([127, 0, 0, 1], 0).into())
    }

    fn at(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        Self(socket)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Begins to accept connections.
    pub fn listen(self) -> TcpListener {
        self.0.listen(1024).unwrap()
    }
}

async fn serve(stream: TcpStream, speech: Speech, seen: Arc<Seen>) {
    stream.set_nodelay(true).ok();
    match speech {
        Speech::Http1(answer) => serve_http1(stream, &answer, &seen).await,
        Speech::Tls(answer, acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve_http1(stream, &answer, &seen).await;
            }
        }
        Speech::Http2 => serve_http2(stream, &seen).await,
    }
}

async fn serve_http1(stream: impl AsyncRead + AsyncWrite + Unpin, answer: &Answerer, seen: &Seen) {
    let mut stream = BufReader::new(stream);
    loop {
        if !matches!(first_byte(&mut stream).await, Some(true)) {
            return;
        }
        seen.bytes.fetch_add(1, Ordering::SeqCst);
        let Some(head) = wire::read_head(&mut stream).await else {
            return;
        };
        let body = wire::read_body(&mut stream, wire::request_framing(&head)).await;
        let mut words = head.line.split(' ').map(str::to_owned);
        let request = Received {
            method: words.next().unwrap_or_default(),
            target: words.next().unwrap_or_default(),
            authority: None,
            headers: head.headers,
            body_sha256: wire::sha256(&body.bytes),
            body_len: body.bytes.len(),
            complete: body.complete,
        };
        let complete = request.complete;
        seen.requests.lock().push(request.clone());
        let (bytes, close) = match answer(&request) {
            Reply::Bytes(bytes) => (bytes, false),
            Reply::BytesThenClose(bytes) => (bytes, true),
            Reply::Hang => std::future::pending().await,
        };
        if !complete || stream.write_all(&bytes).await.is_err() || close {
            let _ = stream.shutdown().await;
            return;
        }
    }
}

/// Whether a first byte is there to be read.
async fn first_byte(stream: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> Option<bool> {
    let held = tokio::io::AsyncBufReadExt::fill_buf(stream).await.ok()?;
    Some(!held.is_empty())
}

async fn serve_http2(stream: TcpStream, seen: &Arc<Seen>) {
    let mut preface = [0_u8; 1];
    if !matches!(stream.peek(&mut preface).await, Ok(1)) {
        return;
    }
    seen.bytes.fetch_add(1, Ordering::SeqCst);
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer_http2(request, respond, Arc::clone(seen)));
    }
}

async fn answer_http2(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    seen: Arc<Seen>,
) {
    let (parts, mut stream) = request.into_parts();
    let mut body = Vec::new();
    let mut complete = true;
    while let Some(part) = stream.data().await {
        let Ok(part) = part else {
            complete = false;
            break;
        };
        let _ = stream.flow_control().release_capacity(part.len());
        body.extend_from_slice(&part);
    }
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    seen.requests.lock().push(Received {
        method: parts.method.to_string(),
        target: parts
            .uri
            .path_and_query()
            .map_or_else(String::new, ToString::to_string),
        authority: parts.uri.authority().map(ToString::to_string),
        headers: parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect(),
        body_sha256: wire::sha256(&body),
        body_len: body.len(),
        complete,
    });
    let mut response = http::Response::builder().header("content-type", "application/json");
    // The lengths that the request asks for, whatever the body has.
    for length in parts.headers.get_all("x-answer-length") {
        response = response.header("content-length", length);
    }
    let response = response.body(()).unwrap();
    if let Ok(mut sending) = respond.send_response(response, false) {
        let _ = sending.send_data(Bytes::from_static(b"{\"success\":true}"), true);
    }
}
