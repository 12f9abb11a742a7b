//! Pipelined requests (RFC 9112 section 9.3.2): all are served, in order, and no byte of one is read as another.

use crate::client::H1;
use crate::gateway::{ENFORCED, Http, Setup, UNENFORCED, batch, token};
use crate::upstream::{Received, Reply, StubUpstream};
use crate::wire::{chunked, sha256};

/// An upstream whose responses name the request they answer.
fn naming() -> StubUpstream {
    StubUpstream::answering(|request: &Received| {
        let name = request.all("X-Name").join(",");
        let body = format!("{name} {}", request.body_len);
        Reply::text(&format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    })
}

fn named(name: usize) -> Http {
    Http::good_batch(ENFORCED).header(format!("X-Name: {name}"))
}

/// A good batch in chunks.
fn in_chunks(name: usize) -> Vec<u8> {
    let mut request = Http::new("POST", "tracking.test", "/v1/batch")
        .bearer(&token(ENFORCED))
        .header("Transfer-Encoding: chunked")
        .header(format!("X-Name: {name}"));
    request.body = chunked(batch(ENFORCED).as_bytes(), 7);
    request.bytes()
}

fn without_body(name: usize) -> Vec<u8> {
    Http::new("GET", "public.test", "/sources")
        .header(format!("X-Name: {name}"))
        .bytes()
}

/// Requests of every framing, one behind the other.
fn mixed(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|name| match name % 3 {
            0 => named(name).bytes(),
            1 => in_chunks(name),
            _ => without_body(name),
        })
        .collect()
}

async fn assert_answers(client: &mut H1, count: usize) {
    for name in 0..count {
        let answer = client.answer().await;
        answer.assert_ok();
        let length = if name % 3 == 2 { 0 } else { batch(ENFORCED).len() };
        assert_eq!(String::from_utf8_lossy(&answer.body), format!("{name} {length}"));
    }
}

fn assert_received(upstream: &StubUpstream, count: usize) {
    let received = upstream.received();
    assert_eq!(received.len(), count);
    let digest = sha256(batch(ENFORCED).as_bytes());
    for (name, request) in received.iter().enumerate() {
        assert_eq!(request.one("X-Name"), name.to_string());
        assert!(request.complete);
        assert!(request.body_len == 0 || request.body_sha256 == digest, "{name}");
        assert!(request.all("Transfer-Encoding").is_empty());
        assert!(request.all("Content-Length").len() <= 1);
    }
}

#[tokio::test]
async fn pipelined_requests_are_all_served_in_order() {
    let upstream = naming();
    let gateway = Setup::new(&upstream).start().await;
    let mut client = H1::connect(gateway.address()).await;
    client.send(&mixed(60)).await;
    assert_answers(&mut client, 60).await;
    assert_received(&upstream, 60);
    // The connection is as good as before.
    client.send(&named(60).bytes()).await;
    client.answer().await.assert_ok();
}

#[tokio::test]
async fn pipelined_requests_may_be_cut_anywhere() {
    for part in [1, 2, 3, 61, 700, 4_095, 4_096, 4_097] {
        let upstream = naming();
        let gateway = Setup::new(&upstream).start().await;
        let mut client = H1::connect(gateway.address()).await;
        for bytes in mixed(6).chunks(part) {
            client.send(bytes).await;
        }
        assert_answers(&mut client, 6).await;
        assert_received(&upstream, 6);
    }
}

#[tokio::test]
async fn denied_request_does_not_shift_those_behind_it() {
    let upstream = naming();
    let gateway = Setup::new(&upstream).start().await;
    let mut client = H1::connect(gateway.address()).await;
    // The denied body reads like a request of its own.
    let inner = Http::new("GET", "public.test", "/smuggled").bytes();
    let denied = Http::new("POST", "tracking.test", "/v1/batch").body(inner);
    let bytes = [
        named(0).bytes(),
        denied.bytes(),
        Http::batch(ENFORCED).bytes(),
        in_chunks(1),
    ];
    client.send(&bytes.concat()).await;
    client.answer().await.assert_ok();
    client.answer().await.assert_denied(400, "body_invalid");
    client.answer().await.assert_denied(401, "token_missing");
    client.answer().await.assert_ok();
    let names: Vec<String> = upstream
        .received()
        .iter()
        .map(|request| request.one("X-Name").to_owned())
        .collect();
    assert_eq!(names, ["0", "1"]);
}

#[tokio::test]
async fn request_behind_connection_close_is_not_served() {
    let upstream = naming();
    let gateway = Setup::new(&upstream).start().await;
    let mut client = H1::connect(gateway.address()).await;
    let last = named(0).header("Connection: close").bytes();
    client.send(&[last, named(1).bytes()].concat()).await;
    let answer = client.answer().await;
    answer.assert_ok();
    assert_eq!(answer.one("Connection"), "close");
    client.assert_closed().await;
    assert_eq!(upstream.only().one("X-Name"), "0");
}

#[tokio::test]
async fn malformed_request_behind_others_ends_the_connection() {
    let smuggling = format!(
        "POST /v1/batch HTTP/1.1\r\nHost: tracking.test\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        batch(ENFORCED).len()
    );
    for behind in [
        smuggling.as_str(),
        "GET / HTTP/1.1\nHost: public.test\n\n",
        " continued: line\r\n\r\n",
        "0\r\n\r\nGET / HTTP/1.1\r\n",
    ] {
        let upstream = naming();
        let gateway = Setup::new(&upstream).start().await;
        let mut client = H1::connect(gateway.address()).await;
        let bytes = [named(0).bytes(), behind.as_bytes().to_vec(), named(1).bytes()];
        client.send(&bytes.concat()).await;
        client.answer().await.assert_ok();
        let refused = client.answer().await;
        refused.assert_denied(400, "request_malformed");
        assert_eq!(refused.one("Connection"), "close");
        client.assert_closed().await;
        assert_eq!(upstream.only().one("X-Name"), "0", "{behind:?}");
    }
}

/// Behind a chunk extension or trailers nothing is a request: its sender and this gateway may disagree where it begins.
#[tokio::test]
async fn request_behind_a_malformed_chunked_body_is_not_served() {
    for end in ["0;a=b\r\n\r\n", "0\r\nX-A: b\r\n\r\n", "0\r\n\n"] {
        let upstream = naming();
        let gateway = Setup::new(&upstream).start().await;
        let mut client = H1::connect(gateway.address()).await;
        let mut bytes = in_chunks(0);
        bytes.truncate(bytes.len() - "0\r\n\r\n".len());
        bytes.extend_from_slice(end.as_bytes());
        bytes.extend_from_slice(&without_body(1));
        client.send(&bytes).await;
        client.answer().await.assert_denied(400, "request_malformed");
        assert!(client.try_answer_to("GET").await.is_none(), "{end:?}");
        upstream.assert_untouched();
    }
}

#[tokio::test]
async fn empty_line_behind_a_request_is_ignored() {
    let upstream = naming();
    let gateway = Setup::new(&upstream).start().await;
    let mut client = H1::connect(gateway.address()).await;
    client.send(&[named(0).bytes(), b"\r\n".to_vec()].concat()).await;
    client.answer().await.assert_ok();
    client
        .send(&[named(1).bytes(), b"\r\n".to_vec(), named(2).bytes()].concat())
        .await;
    client.answer().await.assert_ok();
    client.answer().await.assert_ok();
    assert_eq!(upstream.received().len(), 3);
}

/// A client that waits for `100 Continue` may keep its body; what follows is not read as that body.
#[tokio::test]
async fn denied_request_that_waits_for_100_ends_the_connection() {
    let upstream = naming();
    let gateway = Setup::new(&upstream).start().await;
    let mut client = H1::connect(gateway.address()).await;
    let waits = Http::new("POST", "functions.test", "/?b=wk_unknown")
        .header("Expect: 100-continue")
        .header("Content-Length: 500");
    client.send(&[waits.bytes(), without_body(1)].concat()).await;
    let answer = client.answer().await;
    assert_eq!(answer.one("Connection"), "close");
    assert!(answer.status >= 400 && answer.interim.is_empty());
    assert!(client.try_answer_to("GET").await.is_none());
    upstream.assert_untouched();
}

/// Each request is decided by its own credential, whatever the one before it had.
#[tokio::test]
async fn pipelined_requests_share_no_credential() {
    let upstream = naming();
    let gateway = Setup::new(&upstream).start().await;
    let mut client = H1::connect(gateway.address()).await;
    let bytes = [
        named(0).bytes(),
        Http::batch(ENFORCED).bytes(),
        Http::batch(UNENFORCED).header("X-Name: 1").bytes(),
    ];
    client.send(&bytes.concat()).await;
    client.answer().await.assert_ok();
    client.answer().await.assert_denied(401, "token_missing");
    client.answer().await.assert_ok();
    let last = upstream.received().pop().unwrap();
    assert_eq!(last.one("X-Portcullis-Decision"), "unenforced");
    assert!(last.all("X-Portcullis-App-Id").is_empty());
}
