//! Large and expensive bodies: a worker does one slice at a time, one body of each client, and serves the others between.

use std::io::Write as _;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use portcullis::config::Limits;
use portcullis::domain::cost;
use portcullis::gateway::read::body::{Held, HeldBytes};
use portcullis::gateway::read::body_keys::{has_token_in_form, write_keys};

use crate::client::H1;
use crate::forge::write_key;
use crate::gateway::{ENFORCED, Http, Setup, token};
use crate::upstream::StubUpstream;

/// The most bytes that one turn on the worker may look at: a slice, inflated, scanned and checked to be UTF-8.
const LOOKS_IN_A_TURN_MAX: u64 = 4 * 32 * 1024;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A key of escapes for megabytes, and 64 colons in one block behind it. Now and then it is another escape, so that
/// compressed it is not smaller than is believed.
fn long_key(bytes: usize) -> Vec<u8> {
    let (mut key, mut state) = (String::new(), 1_u64);
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
    let padding = " ".repeat((64 - (key.len() + 3) % 64) % 64 + 1);
    format!("{{\"{key}\"{padding}{}", ":".repeat(64)).into_bytes()
}

/// Valid JSON of about so many bytes, with the write key last.
fn large_batch(bytes: usize) -> Vec<u8> {
    let mut body = br#"{"batch":["#.to_vec();
    for number in 0..bytes / 34 {
        write!(body, "{{\"n\":\"{number:012}\",\"a\":\"\u{e9}\"}},").unwrap();
    }
    write!(body, "{{}}],\"writeKey\":\"{}\"}}", write_key(ENFORCED)).unwrap();
    body
}

/// Code tables without any text: the most expensive bytes of a compressed stream.
fn codes_only(blocks: usize) -> Vec<u8> {
    let mut bits = Vec::new();
    let mut put = |value: u32, width: u32| bits.extend((0..width).map(|at| value >> at & 1 == 1));
    for _ in 0..blocks {
        // Not the last, codes of its own: 257 for letters, 1 for distances, 18 code lengths follow.
        for (value, width) in [(0, 1), (2, 2), (0, 5), (0, 5), (14, 4)] {
            put(value, width);
        }
        // In the order 16, 17, 18, 0, 8, ... , 1: only 18 (zeros) and 1 are used, with one bit each.
        for at in 0..18 {
            put(u32::from(at == 2 || at == 17), 3);
        }
        // 138 and 118 letters have no code, the end has one bit, and so has the distance. 1 is `0`, 18 is `1`.
        for (value, width) in [(1, 1), (127, 7), (1, 1), (107, 7), (0, 1), (0, 1)] {
            put(value, width);
        }
        put(0, 1);
    }
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    out.extend(bits.chunks(8).map(|byte| {
        let bit = |(at, set): (usize, &bool)| u8::from(*set) << at;
        byte.iter().enumerate().map(bit).sum::<u8>()
    }));
    out
}

fn held(body: Vec<u8>) -> Held {
    Held::for_test(Bytes::from(body), &HeldBytes::new(&Limits::default()))
}

fn headers(name: http::HeaderName, value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// The output, after how many turns; each of them bounded.
fn in_turns<F: Future>(future: F) -> (F::Output, usize) {
    let mut future = pin!(future);
    let mut turns = 0;
    loop {
        turns += 1;
        let (polled, looks) = cost::of(|| poll(future.as_mut()));
        assert!(
            looks <= LOOKS_IN_A_TURN_MAX,
            "turn {turns} looks at {looks} bytes"
        );
        if let Poll::Ready(output) = polled {
            return (output, turns);
        }
    }
}

#[test]
fn large_body_is_worked_on_in_bounded_turns() {
    let limits = Limits::default();
    let (plain, coded) = (HeaderMap::new(), headers(CONTENT_ENCODING, "gzip"));
    for (headers, sent, inflated) in [
        (&plain, large_batch(6 << 20), 6 << 20),
        (&coded, gzip(&large_batch(6 << 20)), 2 * (6 << 20)),
        (&coded, gzip(&long_key(8_000_000)), 2 * 8_000_000),
        (
            &plain,
            [b"{".as_slice(), &vec![b' '; 6 << 20], b"}"].concat(),
            6 << 20,
        ),
        (&plain, [vec![b'\n'; 6 << 20].as_slice(), b"{}"].concat(), 6 << 20),
        // A sixteenth of the work of a slice for each byte.
        (&coded, codes_only(70_000), 8 * 70_000 * 12),
    ] {
        let held = held(sent);
        let (_, turns) = in_turns(write_keys(headers, &held, &limits));
        assert!(turns > inflated / (256 * 1024), "{turns} turns");
    }
    // A small body is done with in one turn; one between them lets others go first after every slice.
    for (bytes, most) in [(30 * 1024, 1), (200 * 1024, 8)] {
        let held = held(large_batch(bytes));
        let (keys, turns) = in_turns(write_keys(&plain, &held, &limits));
        assert!(keys.unwrap().unwrap().top.is_some());
        assert!(turns <= most, "{bytes} bytes in {turns} turns");
    }
}

#[test]
fn large_form_is_worked_on_in_bounded_turns() {
    let limits = Limits::default();
    let headers = headers(CONTENT_TYPE, "application/x-www-form-urlencoded");
    for (piece, found) in [
        ("access_toke=x&", false),
        ("%41%43%43%45%53%53_token", true),
        ("+", true),
    ] {
        let held = held(piece.repeat(3 << 20).into_bytes());
        let (has_token, turns) = in_turns(has_token_in_form(&headers, &held, &limits));
        assert_eq!(has_token, Ok(found && piece == "+"), "{piece}");
        assert!(turns > 1, "{piece}: {turns} turns");
    }
    let last = format!("{}access_token=x", "access_toke=x&".repeat(1 << 18));
    let held = held(last.into_bytes());
    assert_eq!(in_turns(has_token_in_form(&headers, &held, &limits)).0, Ok(true));
}

#[test]
fn only_one_large_body_at_a_time_is_worked_on() {
    let (limits, headers) = (Limits::default(), HeaderMap::new());
    let (one, other) = (held(large_batch(2 << 20)), held(large_batch(2 << 20)));
    let mut one = pin!(write_keys(&headers, &one, &limits));
    let mut other = pin!(write_keys(&headers, &other, &limits));
    assert!(poll(one.as_mut()).is_pending() && poll(other.as_mut()).is_pending());
    loop {
        let (polled, looks) = cost::of(|| poll(other.as_mut()));
        assert!(polled.is_pending() && looks == 0, "both are worked on");
        if let Poll::Ready(keys) = poll(one.as_mut()) {
            assert!(keys.unwrap().is_some());
            break;
        }
    }
}

/// Both inputs that once occupied a worker for seconds, several at a time, and ordinary requests meanwhile.
#[tokio::test]
async fn others_are_served_while_dear_bodies_come() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let head = Http::new("POST", "tracking.test", "/v1/batch").bearer(&token(ENFORCED));
    let plain = head.clone().body(long_key((1 << 20) - 1_024));
    let coded = head
        .header("Content-Encoding: gzip")
        .body(gzip(&long_key(8_300_000)));
    assert!(coded.body.len() < 50_000, "it is small on its way");
    let mut dear = Vec::new();
    for request in [&plain, &coded, &plain, &coded] {
        let mut client = H1::connect(gateway.address()).await;
        client.send(&request.bytes()).await;
        dear.push(client);
    }
    for _ in 0..5 {
        gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
    }
    for mut client in dear {
        client.answer().await.assert_denied(400, "body_invalid");
    }
    assert_eq!(upstream.received().len(), 5);
}
