//! One canonical request: what a server behind the gateway understands is what was sent and decided on, or
//! nothing arrives there at all.
//!
//! The server is hyper, a parser that shares nothing with the gateway's. Requests are made of pieces that
//! parsers quarrel over, in random order; the seed is printed and can be given again in `SEED`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use crate::client::H1;
use crate::gateway::{ENFORCED, Setup, batch, token};
use crate::wire::{chunked, sha256};

/// How many requests one run sends.
const REQUESTS: usize = 800;

/// A request as hyper understood it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Understood {
    method: String,
    target: String,
    /// Sorted, names in lower case.
    headers: Vec<(String, Vec<u8>)>,
    body_sha256: String,
}

struct HyperUpstream {
    address: SocketAddr,
    understood: Arc<Mutex<Vec<Understood>>>,
    connections: Arc<AtomicUsize>,
}

impl HyperUpstream {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            understood: Arc::default(),
            connections: Arc::default(),
        };
        let (understood, connections) = (
            Arc::clone(&upstream.understood),
            Arc::clone(&upstream.connections),
        );
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let understood = Arc::clone(&understood);
                let serving = service_fn(move |request| answer(request, Arc::clone(&understood)));
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), serving);
                tokio::spawn(serving);
            }
        });
        upstream
    }
}

async fn answer(
    request: http::Request<Incoming>,
    understood: Arc<Mutex<Vec<Understood>>>,
) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes());
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), value.as_bytes().to_vec())
    };
    let mut headers: Vec<_> = parts.headers.iter().map(header).collect();
    headers.sort();
    understood.lock().push(Understood {
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        headers,
        body_sha256: body.map_or_else(|error| error.to_string(), |body| sha256(&body)),
    });
    Ok(http::Response::new(Full::new(Bytes::from_static(
        b"{\"success\":true}",
    ))))
}

/// Marsaglia's xorshift: enough of chance, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }

    fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

/// A request as its sender meant it, and the bytes sent for it.
#[derive(Debug)]
struct Sent {
    method: String,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    bytes: Vec<u8>,
}

fn path(chance: &mut Chance) -> String {
    let mut path = "/v1/".to_owned();
    for _ in 0..chance.below(4) {
        let plain = [
            "batch",
            "track",
            "a.b",
            "~x",
            "@",
            "a,b",
            "a%20b",
            "%C3%A9",
            "x=1",
            "..a",
            "a:b",
            "(a)",
            "%e2%82%ac",
        ];
        let odd = [
            "..", ".", "", "%2e%2e", "%2F", "a;b", "a\\b", "\u{e9}", "a b", "%00", "%252f", "%", "%zz",
            "a\tb", "#", "\x7f", "%5c", "%3b",
        ];
        path.push_str(if chance.one_in(6) {
            chance.of(&odd)
        } else {
            chance.of(&plain)
        });
        path.push('/');
    }
    path.push_str("batch");
    if chance.one_in(3) {
        path.push('?');
        for _ in 0..chance.below(4) {
            let piece = [
                "a=1",
                "&",
                "b=%2f..%2f",
                "//",
                "..",
                "c=a+b",
                "?",
                "%00",
                ";",
                "a[]=1",
                "\"",
                "'",
                "|",
                "\\",
            ];
            path.push_str(chance.of(&piece));
        }
    }
    path
}

fn header(chance: &mut Chance) -> (String, Vec<u8>) {
    let names = [
        "X-One",
        "x-two",
        "X_Three",
        "Accept",
        "User-Agent",
        "Cookie",
        "X-Portcullis-Source-Id",
        "x_portcullis_app_id",
        "X-Forwarded-For",
        "X-Forwarded-Prefix",
        "Forwarded",
        "X-Original-URL",
        "X-Original-URI",
        "True-Client-IP",
        "CF_Connecting_IP",
        "X-Real-IP",
        "Content_Length",
        "Transfer_Encoding",
        "Trailer",
        "TE",
        "Keep-Alive",
        "Proxy-Authorization",
        "Content-Type",
        "If-None-Match",
        "Range",
        "Via",
        "X-!#$%&'*+.^`|~",
        "x-request-id",
        "Proxy-Connection",
    ];
    let odd_names = [
        "X One",
        "X-\u{e9}",
        "",
        "X-A ",
        "(X)",
        "Upgrade",
        "Connection",
        "Expect",
        "Authorization",
        "Host",
        "HOST",
    ];
    let values: [&[u8]; 11] = [
        b"1",
        b"",
        b"a b",
        b"a\tb",
        b"\"quoted, with comma\"",
        b"a; b=c",
        b"\xe9\xff",
        b"0, 1",
        b"close",
        b"trailers",
        b"=?utf-8?q?a?=",
    ];
    let odd_values: [&[u8]; 5] = [b"a\0b", b"a\rb", b"a\nb", b"a\x7fb", b"a\r\n b"];
    let name = if chance.one_in(40) {
        chance.of(&odd_names)
    } else {
        chance.of(&names)
    };
    let value = if chance.one_in(40) {
        chance.of(&odd_values)
    } else {
        chance.of(&values)
    };
    (name.to_owned(), value.to_vec())
}

fn request(chance: &mut Chance) -> Sent {
    let methods = ["POST", "PUT", "PATCH", "DELETE", "GET"];
    let odd_methods = ["post", "TRACE", "P OST", "CONNECT", "OPTIONS"];
    let method = if chance.one_in(30) {
        chance.of(&odd_methods)
    } else {
        chance.of(&methods)
    }
    .to_owned();
    let target = path(chance);
    let hosts = ["tracking.test", "Tracking.Test", "tracking.test:8080"];
    let odd_hosts = [
        "tracking.test, a",
        "a@tracking.test",
        "tracking.test/",
        "tracking.test:x",
        "",
    ];
    let host = if chance.one_in(30) {
        chance.of(&odd_hosts)
    } else {
        chance.of(&hosts)
    };
    let mut headers = vec![
        ("Host".to_owned(), host.as_bytes().to_vec()),
        (
            "Authorization".to_owned(),
            format!("Bearer {}", token(ENFORCED)).into_bytes(),
        ),
    ];
    for _ in 0..chance.below(7) {
        headers.push(header(chance));
    }
    let body = [batch(ENFORCED), " ".repeat(chance.below(6_000))]
        .concat()
        .into_bytes();
    let end = if chance.one_in(60) { "\n" } else { "\r\n" };
    let mut bytes = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
    let is_chunked = chance.one_in(3);
    let framing = match (is_chunked, chance.one_in(30)) {
        (true, false) => "Transfer-Encoding: chunked".to_owned(),
        (true, true) => "Transfer-Encoding: gzip, chunked".to_owned(),
        (false, false) => format!("Content-Length: {}", body.len()),
        (false, true) => format!("Content-Length: +{}", body.len()),
    };
    // At a random place among the others.
    let at = chance.below(headers.len() + 1);
    for (n, (name, value)) in headers.iter().enumerate() {
        if n == at {
            bytes.extend(format!("{framing}{end}").bytes());
        }
        bytes.extend(format!("{name}: ").bytes());
        bytes.extend(value);
        bytes.extend(end.bytes());
    }
    if at == headers.len() {
        bytes.extend(format!("{framing}\r\n").bytes());
    }
    bytes.extend(b"\r\n");
    match is_chunked {
        true => bytes.extend(chunked(&body, 1 + chance.below(500))),
        false => bytes.extend(&body),
    }
    Sent {
        method,
        target,
        headers,
        body,
        bytes,
    }
}

/// What may not be passed on, and what the gateway says in its place.
fn is_ours(name: &str) -> bool {
    let name = name.replace('_', "-").to_ascii_lowercase();
    let exact = [
        "authorization",
        "connection",
        "content-length",
        "expect",
        "forwarded",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "cf-connecting-ip",
        "true-client-ip",
        "x-client-ip",
        "x-envoy-original-path",
        "x-original-host",
        "x-original-uri",
        "x-original-url",
        "x-real-ip",
        "x-request-id",
        "x-rewrite-url",
    ];
    name.starts_with("x-portcullis-") || name.starts_with("x-forwarded-") || exact.contains(&name.as_str())
}

fn meant(sent: &Sent) -> Understood {
    let mut headers: Vec<_> = sent
        .headers
        .iter()
        .filter(|(name, _)| !is_ours(name))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim_ascii().to_vec()))
        .collect();
    headers.sort();
    Understood {
        method: sent.method.clone(),
        target: sent.target.clone(),
        headers,
        body_sha256: sha256(&sent.body),
    }
}

#[tokio::test]
async fn what_the_upstream_understands_is_what_was_sent_and_decided() {
    let seed = std::option_env!("SEED").and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 0x5eed);
    println!("seed {seed}");
    let mut chance = Chance(seed);
    let upstream = HyperUpstream::start().await;
    let gateway = Setup::to(&[upstream.address]).start().await;
    let mut forwarded = 0;
    for _ in 0..REQUESTS {
        let sent = request(&mut chance);
        let mut client = H1::connect(gateway.address()).await;
        client.send(&sent.bytes).await;
        let answer = client.answer_to(&sent.method).await;
        let understood = std::mem::take(&mut *upstream.understood.lock());
        if answer.status != 200 {
            let shown = String::from_utf8_lossy(&sent.bytes).replace(&token(ENFORCED), "<token>");
            assert!(
                (400..500).contains(&answer.status),
                "seed {seed}: {answer:?} to {shown}"
            );
            assert_eq!(understood, [], "seed {seed}: {shown}");
            continue;
        }
        forwarded += 1;
        let [mut one]: [Understood; 1] = understood.try_into().unwrap();
        // The identity comes from the policy, not from the request.
        let identity = one
            .headers
            .iter()
            .filter(|(name, _)| name == "x-portcullis-source-id");
        let identity: Vec<_> = identity
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect();
        assert_eq!(identity, [format!("src_{ENFORCED:032x}")], "seed {seed}");
        one.headers.retain(|(name, _)| !is_ours(name));
        assert_eq!(one, meant(&sent), "seed {seed}");
    }
    println!("{forwarded} of {REQUESTS} were forwarded");
    assert!(
        forwarded > REQUESTS / 5,
        "too few were forwarded to prove anything: {forwarded}"
    );
    assert!(forwarded < REQUESTS, "none was refused");
}
