//! Responses whose framing lies: the client gets the one framing that the gateway decided on, or an error, and the next
//! request on either connection gets its own response.

use http::Request;

use crate::client::{Answer, H1, H2};
use crate::gateway::{ENFORCED, Http, Setup};
use crate::upstream::{Reply, StubUpstream};

/// The first response is these bytes, those behind it are sound.
fn once(wire: &str, close: bool) -> StubUpstream {
    let first = parking_lot::Mutex::new(Some(wire.as_bytes().to_vec()));
    StubUpstream::answering(move |request| match first.lock().take() {
        Some(wire) if close => Reply::BytesThenClose(wire),
        Some(wire) => Reply::Bytes(wire),
        None => {
            let body = format!("next {}", request.target);
            Reply::text(&format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ))
        }
    })
}

fn request(method: &str, target: &str) -> Vec<u8> {
    Http::new(method, "public.test", target).bytes()
}

/// The response to these bytes of the upstream, over HTTP/1.1 and over HTTP/2. Two further requests are served well.
async fn responses(method: &str, wire: &str, close: bool) -> [Result<Answer, String>; 2] {
    let upstream = once(wire, close);
    let gateway = Setup::new(&upstream).start().await;
    let mut client = H1::connect(gateway.address()).await;
    client.send(&request(method, "/first")).await;
    let first = client.answer_to(method).await;
    if first.complete {
        for target in ["/second", "/third"] {
            client.send(&request("GET", target)).await;
            let next = client.answer_to("GET").await;
            let body = String::from_utf8_lossy(&next.body).into_owned();
            assert_eq!((next.status, body), (200, format!("next {target}")), "{wire:?}");
        }
    }
    let upstream = once(wire, close);
    let gateway = Setup::new(&upstream).start().await;
    let client = H2::connect(gateway.address()).await;
    let ask = |method: &str, target: &str| {
        let uri = format!("http://public.test{target}");
        Request::builder().method(method).uri(uri).body(()).unwrap()
    };
    let second = client.exchange(ask(method, "/first"), b"", 1).await;
    let next = client.get(ask("GET", "/second")).await;
    assert_eq!(next.body, b"next /second", "{wire:?}");
    [Ok(first), second.map_err(|error| error.to_string())]
}

/// What the client sees: status, declared lengths, body.
async fn assert_seen(method: &str, wire: &str, status: u16, length: Option<&str>, body: &str) {
    for close in [false, true] {
        for answer in responses(method, wire, close).await {
            let answer = answer.unwrap_or_else(|error| panic!("{wire:?}: {error}"));
            assert!(answer.complete, "{wire:?}: {answer:?}");
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert_eq!((answer.status, text), (status, body.to_owned()), "{wire:?}");
            let lengths = answer.all("Content-Length");
            assert_eq!(lengths, Vec::from_iter(length), "{wire:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn no_content_has_neither_length_nor_body() {
    for wire in [
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nwhole",
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert_seen("GET", wire, 204, None, "").await;
    }
}

#[tokio::test]
async fn not_modified_and_head_name_a_length_and_have_no_body() {
    let not_modified = "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n";
    assert_seen("GET", not_modified, 304, Some("5"), "").await;
    let coded = "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_seen("GET", coded, 304, None, "").await;
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    assert_seen("HEAD", head, 200, Some("5"), "").await;
    let with_body = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole";
    assert_seen("HEAD", with_body, 200, Some("5"), "").await;
    let two = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n";
    assert_seen("HEAD", two, 200, None, "").await;
    let coded = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_seen("HEAD", coded, 200, None, "").await;
}

#[tokio::test]
async fn equal_lengths_become_one() {
    for lengths in [
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: 5,5\r\ncontent-length: 05",
    ] {
        let wire = format!("HTTP/1.1 200 OK\r\n{lengths}\r\n\r\nwhole");
        assert_seen("GET", &wire, 200, Some("5"), "whole").await;
    }
}

#[tokio::test]
async fn contradicting_and_malformed_lengths_are_bad_gateways() {
    for lines in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5.0",
        "Content-Length: five",
        "Content-Length:",
        "Content-Length: 5,",
        "Content-Length: 99999999999999999999999",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "Content-Length : 5",
    ] {
        let wire = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\nwhole");
        for answer in responses("GET", &wire, false).await {
            assert_eq!(answer.unwrap().status, 502, "{lines}");
        }
    }
}

#[tokio::test]
async fn lengths_of_an_http2_upstream_become_one_or_a_bad_gateway() {
    let upstream = StubUpstream::http2();
    let mut setup = Setup::new(&upstream);
    setup.upstream().http2 = true;
    let gateway = setup.start().await;
    for (lengths, status) in [(["16", "16"], 200), (["16", "17"], 502)] {
        let mut request = Http::good_batch(ENFORCED);
        for length in lengths {
            request = request.header(format!("X-Answer-Length: {length}"));
        }
        let answer = gateway.send(&request).await;
        assert_eq!(answer.status, status, "{lengths:?}");
        if status == 200 {
            assert_eq!(answer.all("Content-Length"), ["16"]);
            assert_eq!(answer.body, b"{\"success\":true}");
        }
    }
}

#[tokio::test]
async fn chunked_wins_over_a_length() {
    let wire =
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n";
    assert_seen("GET", wire, 200, None, "whole").await;
}

#[tokio::test]
async fn chunk_extensions_and_trailers_are_not_passed_on() {
    let wire = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n5;a=b\r\nwhole\r\n0;c\r\nX-End: 1\r\n\r\n";
    for answer in responses("GET", wire, false).await {
        let answer = answer.unwrap();
        assert_eq!((answer.body.as_slice(), answer.complete), (&b"whole"[..], true));
        assert!(answer.all("Trailer").is_empty() && answer.all("X-End").is_empty());
    }
}

/// What stands behind a body is no response to the next request.
#[tokio::test]
async fn bytes_behind_a_body_answer_no_other_request() {
    let smuggled = "HTTP/1.1 200 OK\r\nX-Smuggled: 1\r\nContent-Length: 8\r\n\r\nsmuggled";
    for wire in [
        format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole{smuggled}"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n{smuggled}"),
    ] {
        let length = wire.contains("Length: 5").then_some("5");
        assert_seen("GET", &wire, 200, length, "whole").await;
    }
    let wire = format!("HTTP/1.1 204 No Content\r\n\r\n{smuggled}");
    assert_seen("GET", &wire, 204, None, "").await;
    let wire = format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{smuggled}");
    assert_seen("HEAD", &wire, 200, Some("5"), "").await;
}

#[tokio::test]
async fn response_shorter_than_its_framing_is_seen_as_broken() {
    for wire in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nwhole",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nwhole",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwholesome\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nwhole\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nwhole\r\n0\r\n\r\n",
    ] {
        // Over HTTP/2 the head and the reset of its stream may arrive as one: an error.
        for answer in responses("GET", wire, true).await.into_iter().flatten() {
            assert!(!answer.complete, "{wire:?}: {answer:?}");
        }
    }
}
