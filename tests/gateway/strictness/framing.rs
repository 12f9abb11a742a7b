//! Where a request ends: lengths, chunks, trailers, and bytes after the body.

use super::{HOST, LINE, assert_malformed, framed, head, request};
use crate::client::H1;
use crate::gateway::{ENFORCED, Http, Setup, batch};
use crate::upstream::StubUpstream;
use crate::wire::chunked;

#[tokio::test]
async fn other_codings_than_chunked_are_refused() {
    let body = chunked(batch(ENFORCED).as_bytes(), 7);
    for lines in [
        vec!["Transfer-Encoding: gzip, chunked"],
        vec!["Transfer-Encoding: chunked, chunked"],
        vec!["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        vec!["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"],
        vec!["Transfer-Encoding: chunked, gzip"],
        vec!["Transfer-Encoding: identity"],
        vec!["Transfer-Encoding: xchunked"],
        vec!["Transfer-Encoding: "],
    ] {
        assert_malformed(&framed(&lines, &body)).await;
    }
}

#[tokio::test]
async fn length_beside_transfer_encoding_is_refused() {
    let body = chunked(batch(ENFORCED).as_bytes(), 7);
    let length = format!("Content-Length: {}", body.len());
    assert_malformed(&framed(&["Transfer-Encoding: chunked", &length], &body)).await;
    assert_malformed(&framed(&[&length, "Transfer-Encoding: chunked"], &body)).await;
    assert_malformed(&framed(
        &["content-length : 5", "Transfer-Encoding: chunked"],
        &body,
    ))
    .await;
}

#[tokio::test]
async fn transfer_encoding_on_http10_is_refused() {
    let lines = [HOST, "Transfer-Encoding: chunked"];
    let head = head("POST /v1/batch HTTP/1.0", &lines);
    assert_malformed(&[head.as_bytes(), &chunked(batch(ENFORCED).as_bytes(), 7)].concat()).await;
}

#[tokio::test]
async fn lengths_of_two_readings_are_refused() {
    let body = batch(ENFORCED);
    let right = body.len();
    for lines in [
        vec![
            format!("Content-Length: {right}"),
            format!("Content-Length: {right}"),
        ],
        vec![format!("Content-Length: {right}"), "Content-Length: 5".to_owned()],
        vec![format!("Content-Length: {right}, {right}")],
        vec![format!("Content-Length: {right}, 5")],
        vec![format!("Content-Length: +{right}")],
        vec![format!("Content-Length: -{right}")],
        vec![format!("Content-Length: {right:#x}")],
        vec![format!("Content-Length: {right}.0")],
        vec!["Content-Length: ".to_owned()],
        vec!["Content-Length: 99999999999999999999999".to_owned()],
    ] {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_malformed(&framed(&lines, body.as_bytes())).await;
    }
}

#[tokio::test]
async fn chunks_of_two_readings_are_refused() {
    let body = batch(ENFORCED);
    for size in ["0x5", "+5", "-5", "5 ", "ffffffffffffffffff", "g", ""] {
        let bytes = format!("{size}\r\n{body}\r\n0\r\n\r\n");
        let upstream = StubUpstream::start();
        let gateway = Setup::new(&upstream).start().await;
        let answer = gateway
            .send_raw(framed(&["Transfer-Encoding: chunked"], bytes.as_bytes()))
            .await;
        assert_eq!(answer.status, 400, "{size:?}");
        upstream.assert_untouched();
    }
}

#[tokio::test]
async fn trailers_do_not_reach_the_upstream() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut body = chunked(batch(ENFORCED).as_bytes(), 7);
    body.truncate(body.len() - 2);
    body.extend_from_slice(b"X-Portcullis-Source-Id: spoofed\r\n\r\n");
    let mut client = H1::connect(gateway.address()).await;
    client.send(&framed(&["Transfer-Encoding: chunked"], &body)).await;
    let answer = client.answer().await;
    if answer.status == 200 {
        assert_ne!(upstream.only().one("X-Portcullis-Source-Id"), "spoofed");
    } else {
        answer.assert_denied(400, "request_malformed");
        upstream.assert_untouched();
    }
}

#[tokio::test]
async fn half_close_after_a_request_still_gets_its_answer() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut client = H1::connect(gateway.address()).await;
    client.send(&request(LINE, &[HOST])).await;
    client.half_close().await;
    client.answer().await.assert_ok();
    client.assert_closed().await;
    upstream.only();
}

#[tokio::test]
async fn bytes_behind_a_body_are_never_read_as_its_request() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut client = H1::connect(gateway.address()).await;
    let mut bytes = request(LINE, &[HOST]);
    bytes.extend_from_slice(b"garbage");
    client.send(&bytes).await;
    client.answer().await.assert_ok();
    // It begins another request, which is none.
    client.half_close().await;
    client.answer().await.assert_denied(400, "request_malformed");
    client.assert_closed().await;
    assert_eq!(upstream.only().body_len, batch(ENFORCED).len());
}

#[tokio::test]
async fn second_request_is_not_smuggled_in_the_first_ones_body() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    // To a server that took the chunked framing for none, the body begins a request of its own.
    let smuggled = Http::new("GET", "public.test", "/smuggled").bytes();
    let inner = batch(ENFORCED);
    let body = chunked(&[inner.as_bytes(), b"\r\n", &smuggled].concat(), 50);
    let answer = gateway
        .send_raw(framed(&["Transfer-Encoding: chunked"], &body))
        .await;
    answer.assert_denied(400, "body_invalid");
    upstream.assert_untouched();
}
