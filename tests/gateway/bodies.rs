//! A body is forwarded whole or not at all: every size, framing and version; gzip; cut-off bodies.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use http::Request;

use crate::client::{Answer, H1, H2};
use crate::forge::write_key;
use crate::gateway::{ENFORCED, Http, PUBLIC_SCOPE, Setup, TestGateway, batch, token, token_for};
use crate::upstream::StubUpstream;
use crate::wait::until;
use crate::wire::{chunked, sha256};

/// The limit is the largest body accepted.
const LIMIT: usize = 1 << 20;

/// Around every boundary of the buffers on the way: Pingora's own ends at 64 KiB.
const SIZES: [usize; 10] = [
    0,
    1,
    1_000,
    16 << 10,
    (64 << 10) - 1,
    64 << 10,
    (64 << 10) + 1,
    100_000,
    500_000,
    LIMIT,
];

/// Odd, so that chunks and buffers never end together.
const CHUNK: usize = 8_191;

#[derive(Clone, Copy, Debug)]
struct Case {
    size: usize,
    has_length: bool,
    expects_continue: bool,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for size in SIZES {
        for has_length in [true, false] {
            for expects_continue in [false, true] {
                cases.push(Case {
                    size,
                    has_length,
                    expects_continue,
                });
            }
        }
    }
    cases
}

/// Bytes without a pattern that a lost or repeated part could hide in.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(step).take(size).collect()
}

fn assert_arrived_whole(upstream: &StubUpstream, answer: &Answer, body: &[u8], at: usize, case: Case) {
    assert_eq!(
        (answer.status, answer.complete),
        (200, true),
        "{case:?} {answer:?}"
    );
    assert_eq!(answer.body, br#"{"success":true}"#, "{case:?}");
    let received = upstream.received();
    assert_eq!(received.len(), at + 1, "{case:?}");
    let last = &received[at];
    assert!(last.complete, "{case:?}");
    assert_eq!(
        (last.body_len, &last.body_sha256),
        (body.len(), &sha256(body)),
        "{case:?}"
    );
}

async fn check_http1_matrix(upstream: &StubUpstream, gateway: &TestGateway) {
    let token = token_for(ENFORCED, PUBLIC_SCOPE);
    // One connection for all: it must stay usable after each of them.
    let mut client = H1::connect(gateway.address()).await;
    for (at, case) in cases().into_iter().enumerate() {
        let body = noise(case.size);
        let framing = match case.has_length {
            true => format!("Content-Length: {}", case.size),
            false => "Transfer-Encoding: chunked".to_owned(),
        };
        let mut head = Http::new("POST", "public.test", "/things")
            .bearer(&token)
            .header(framing);
        if case.expects_continue {
            head = head.header("Expect: 100-continue");
        }
        client.send(&head.bytes()).await;
        // An empty body is not waited for.
        if case.expects_continue && !(case.has_length && case.size == 0) {
            assert_eq!(client.interim().await, 100, "{case:?}");
        }
        let sent = if case.has_length {
            body.clone()
        } else {
            chunked(&body, CHUNK)
        };
        client.send(&sent).await;
        let answer = client.answer().await;
        assert_arrived_whole(upstream, &answer, &body, at, case);
    }
}

async fn check_http2_matrix(upstream: &StubUpstream, gateway: &TestGateway) {
    let token = token_for(ENFORCED, PUBLIC_SCOPE);
    let client = H2::connect(gateway.address()).await;
    // HTTP/2 clients are not known to send Expect, and there is nothing to wait for in its framing.
    let cases = cases().into_iter().filter(|case| !case.expects_continue);
    for (at, case) in cases.enumerate() {
        let body = noise(case.size);
        let mut request =
            Request::post("http://public.test/things").header("authorization", format!("Bearer {token}"));
        if case.has_length {
            request = request.header("content-length", case.size);
        }
        let answer = client
            .exchange(request.body(()).unwrap(), &body, CHUNK)
            .await
            .unwrap();
        assert_arrived_whole(upstream, &answer, &body, at, case);
    }
}

#[tokio::test]
async fn every_size_and_framing_arrives_whole_from_http1_at_http1() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    check_http1_matrix(&upstream, &gateway).await;
}

#[tokio::test]
async fn every_size_and_framing_arrives_whole_from_http1_at_http2() {
    let upstream = StubUpstream::http2();
    let mut setup = Setup::new(&upstream);
    setup.upstream().http2 = true;
    check_http1_matrix(&upstream, &setup.start().await).await;
}

#[tokio::test]
async fn every_size_and_framing_arrives_whole_from_http2_at_http1() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    check_http2_matrix(&upstream, &gateway).await;
}

#[tokio::test]
async fn every_size_and_framing_arrives_whole_from_http2_at_http2() {
    let upstream = StubUpstream::http2();
    let mut setup = Setup::new(&upstream);
    setup.upstream().http2 = true;
    check_http2_matrix(&upstream, &setup.start().await).await;
}

#[tokio::test]
async fn body_one_byte_over_the_limit_is_refused_in_every_framing() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let body = noise(LIMIT + 1);
    let head = Http::new("POST", "tracking.test", "/v1/batch").bearer(&token(ENFORCED));
    let declared = gateway.send(&head.clone().body(body.clone())).await;
    declared.assert_denied(413, "body_too_large");
    let mut streamed = head.header("Transfer-Encoding: chunked").bytes();
    streamed.extend(chunked(&body, CHUNK));
    gateway
        .send_raw(&streamed)
        .await
        .assert_denied(413, "body_too_large");
    let client = H2::connect(gateway.address()).await;
    let request = Request::post("http://tracking.test/v1/batch").body(()).unwrap();
    let answer = client.exchange(request, &body, CHUNK).await.unwrap();
    answer.assert_denied(413, "body_too_large");
    upstream.assert_untouched();
}

#[tokio::test]
async fn expectation_is_not_met_for_a_body_that_will_be_refused() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut client = H1::connect(gateway.address()).await;
    let head = Http::new("POST", "tracking.test", "/v1/batch")
        .header(format!("Content-Length: {}", LIMIT + 1))
        .header("Expect: 100-continue");
    client.send(&head.bytes()).await;
    let answer = client.answer().await;
    answer.assert_denied(413, "body_too_large");
    assert_eq!(answer.interim, [0_u16; 0]);
    // The client may keep its body now: what it sends next would be taken for that.
    assert_eq!(answer.one("Connection"), "close");
    client.assert_closed().await;
    upstream.assert_untouched();
}

/// The gateway has to have noticed, or an untouched upstream would prove nothing.
async fn until_refused(gateway: &TestGateway) {
    until("the gateway gave the request up", || {
        gateway.metric("portcullis_requests_total", &[("decision", "deny")]) > 0.0
    })
    .await;
}

#[tokio::test]
async fn body_cut_short_by_a_close_reaches_nobody() {
    for framing in ["Content-Length: 1000", "Transfer-Encoding: chunked"] {
        let upstream = StubUpstream::start();
        let gateway = Setup::new(&upstream).start().await;
        let mut client = H1::connect(gateway.address()).await;
        let head = Http::new("POST", "tracking.test", "/v1/batch")
            .bearer(&token(ENFORCED))
            .header(framing);
        client.send(&head.bytes()).await;
        let whole = batch(ENFORCED);
        // Well-formed as far as it goes: only its framing says that there should be more.
        client
            .send(format!("{:x}\r\n{whole}\r\n", whole.len()).as_bytes())
            .await;
        drop(client);
        until_refused(&gateway).await;
        upstream.assert_untouched();
    }
}

#[tokio::test]
async fn body_cut_short_by_a_half_close_is_refused() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut client = H1::connect(gateway.address()).await;
    let mut request = Http::good_batch(ENFORCED).bytes();
    request.pop();
    client.send(&request).await;
    client.half_close().await;
    client.answer().await.assert_denied(400, "request_malformed");
    upstream.assert_untouched();
}

#[tokio::test]
async fn body_cut_short_by_a_reset_reaches_nobody() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let client = H2::connect(gateway.address()).await;
    let request = Request::post("http://tracking.test/v1/batch")
        .header("authorization", format!("Bearer {}", token(ENFORCED)))
        .body(())
        .unwrap();
    let (response, mut sending) = client.begin(request, false).await;
    sending.send_data(batch(ENFORCED).into(), false).unwrap();
    sending.send_reset(h2::Reason::CANCEL);
    assert!(response.await.is_err());
    until_refused(&gateway).await;
    upstream.assert_untouched();
}

#[tokio::test]
async fn http2_body_of_another_length_than_declared_reaches_nobody() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let client = H2::connect(gateway.address()).await;
    let body = batch(ENFORCED);
    let request = Request::post("http://tracking.test/v1/batch")
        .header("authorization", format!("Bearer {}", token(ENFORCED)))
        .header("content-length", body.len() + 1)
        .body(())
        .unwrap();
    let answer = client.exchange(request, body.as_bytes(), CHUNK).await;
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 400));
    upstream.assert_untouched();
}

#[tokio::test]
async fn write_key_is_found_behind_a_batch_of_500_kb() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let events = vec![r#"{"type":"track","properties":{"a":[1,2,{"writeKey":"no"}]}}"#; 8_000].join(",");
    let body = format!(r#"{{"batch":[{events}],"writeKey":"{}"}}"#, write_key(ENFORCED));
    assert!(body.len() > 450_000);
    let request = Http::new("POST", "tracking.test", "/v1/batch").bearer(&token(ENFORCED));
    gateway.send(&request.body(body.clone())).await.assert_ok();
    assert_eq!(upstream.only().body_sha256, sha256(body.as_bytes()));
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn coded(coding: &str, body: Vec<u8>) -> Http {
    Http::new("POST", "tracking.test", "/v1/batch")
        .bearer(&token(ENFORCED))
        .header(format!("Content-Encoding: {coding}"))
        .body(body)
}

#[tokio::test]
async fn gzip_body_is_forwarded_still_compressed() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let body = gzip(batch(ENFORCED).as_bytes());
    gateway.send(&coded("gzip", body.clone())).await.assert_ok();
    let received = upstream.only();
    assert_eq!(received.one("Content-Encoding"), "gzip");
    assert_eq!(received.body_sha256, sha256(&body));
}

async fn assert_coded_body_refused(coding: &str, body: Vec<u8>, status: u16, reason: &str) {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    gateway
        .send(&coded(coding, body))
        .await
        .assert_denied(status, reason);
    upstream.assert_untouched();
}

#[tokio::test]
async fn gzip_body_that_inflates_beyond_belief_is_refused() {
    let filled = format!(
        r#"{{"writeKey":"{}","x":"{}"}}"#,
        write_key(ENFORCED),
        "a".repeat(5 << 20)
    );
    let body = gzip(filled.as_bytes());
    assert!(
        filled.len() / body.len() > 200,
        "the ratio is what is refused here"
    );
    assert_coded_body_refused("gzip", body, 413, "body_too_large").await;
}

#[tokio::test]
async fn gzip_body_that_inflates_beyond_the_size_is_refused() {
    let parts: Vec<String> = (0..5_000_u32)
        .map(|n| format!("{}{}", sha256(&n.to_le_bytes()), "a".repeat(1_900)))
        .collect();
    let filled = format!(
        r#"{{"writeKey":"{}","x":"{}"}}"#,
        write_key(ENFORCED),
        parts.concat()
    );
    let body = gzip(filled.as_bytes());
    assert!(filled.len() > 8 * LIMIT && body.len() < LIMIT && filled.len() / body.len() < 200);
    assert_coded_body_refused("gzip", body, 413, "body_too_large").await;
}

#[tokio::test]
async fn gzip_body_of_two_members_is_refused() {
    let body = [gzip(batch(ENFORCED).as_bytes()), gzip(b" ")].concat();
    assert_coded_body_refused("gzip", body, 400, "body_invalid").await;
}

#[tokio::test]
async fn gzip_body_with_bytes_behind_it_is_refused() {
    let body = [gzip(batch(ENFORCED).as_bytes()), b"more".to_vec()].concat();
    assert_coded_body_refused("gzip", body, 400, "body_invalid").await;
}

#[tokio::test]
async fn gzip_body_that_ends_early_is_refused() {
    let mut body = gzip(batch(ENFORCED).as_bytes());
    body.truncate(body.len() - 4);
    assert_coded_body_refused("gzip", body, 400, "body_invalid").await;
}

#[tokio::test]
async fn plain_body_that_claims_gzip_is_refused() {
    assert_coded_body_refused("gzip", batch(ENFORCED).into_bytes(), 400, "body_invalid").await;
}

#[tokio::test]
async fn other_codings_than_one_gzip_are_refused() {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(batch(ENFORCED).as_bytes()).unwrap();
    let deflate = encoder.finish().unwrap();
    let twice = gzip(&gzip(batch(ENFORCED).as_bytes()));
    for (coding, body) in [
        ("deflate", deflate.clone()),
        ("br", deflate),
        ("gzip, gzip", twice.clone()),
        ("gzip,gzip", twice.clone()),
        ("gzip\r\nContent-Encoding: gzip", twice),
        ("gzip, identity", gzip(batch(ENFORCED).as_bytes())),
        ("", batch(ENFORCED).into_bytes()),
    ] {
        assert_coded_body_refused(coding, body, 415, "body_encoding_unsupported").await;
    }
}
