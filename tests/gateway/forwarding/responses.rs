//! Responses of an upstream: every framing, interim responses, errors and headers.

use super::{over_http2, try_over_http2};
use crate::client::{Answer, H1};
use crate::gateway::{ENFORCED, Http, Setup};
use crate::upstream::{Reply, StubUpstream};

#[tokio::test]
async fn response_cut_short_is_seen_as_cut_short() {
    for cut in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhalf\r\n",
    ] {
        let upstream = StubUpstream::answering(move |_| Reply::BytesThenClose(cut.as_bytes().to_vec()));
        let gateway = Setup::new(&upstream).start().await;
        let answer = gateway.send(&Http::good_batch(ENFORCED)).await;
        assert_eq!((answer.status, answer.complete), (200, false), "{cut:?}");
        // The reset that says so may overtake the head.
        if let Ok(answer) = try_over_http2(&gateway, "GET").await {
            assert_eq!((answer.status, answer.complete), (200, false), "{cut:?}");
        }
    }
}

/// The same response asked for over both versions, three times each on one connection.
async fn check_response(method: &str, wire: &str, close: bool, status: u16, body: &str) -> [Answer; 2] {
    let bytes = wire.as_bytes().to_vec();
    let upstream = StubUpstream::answering(move |_| match close {
        true => Reply::BytesThenClose(bytes.clone()),
        false => Reply::Bytes(bytes.clone()),
    });
    let gateway = Setup::new(&upstream).start().await;
    let mut client = H1::connect(gateway.address()).await;
    let mut last = None;
    for _ in 0..3 {
        client
            .send(&Http::new(method, "public.test", "/things").bytes())
            .await;
        last = Some(client.answer_to(method).await);
    }
    let answers = [last.unwrap(), over_http2(&gateway, method).await];
    for answer in &answers {
        let seen = (
            answer.status,
            String::from_utf8_lossy(&answer.body).into_owned(),
            answer.complete,
        );
        assert_eq!(seen, (status, body.to_owned(), true), "{wire:?}");
        assert_eq!(answer.interim, [0_u16; 0]);
    }
    answers
}

#[tokio::test]
async fn response_with_a_length_comes_back() {
    let wire = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole";
    for answer in check_response("GET", wire, false, 200, "whole").await {
        assert_eq!(answer.one("Content-Length"), "5");
    }
}

#[tokio::test]
async fn chunked_response_comes_back() {
    let wire = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwho\r\n2\r\nle\r\n0\r\n\r\n";
    check_response("GET", wire, false, 200, "whole").await;
}

#[tokio::test]
async fn response_that_ends_with_its_connection_comes_back() {
    check_response(
        "GET",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nwhole",
        true,
        200,
        "whole",
    )
    .await;
    check_response("GET", "HTTP/1.0 200 OK\r\n\r\nwhole", true, 200, "whole").await;
}

#[tokio::test]
async fn response_to_head_comes_back_with_its_length() {
    let wire = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    for answer in check_response("HEAD", wire, false, 200, "").await {
        assert_eq!(answer.one("Content-Length"), "5");
    }
}

#[tokio::test]
async fn responses_without_a_body_come_back() {
    check_response("GET", "HTTP/1.1 204 No Content\r\n\r\n", false, 204, "").await;
    check_response(
        "GET",
        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
        false,
        304,
        "",
    )
    .await;
    check_response(
        "GET",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        false,
        304,
        "",
    )
    .await;
    check_response(
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        false,
        200,
        "",
    )
    .await;
}

#[tokio::test]
async fn interim_responses_stay_on_the_upstream_side() {
    let wire = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
                HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole";
    check_response("GET", wire, false, 200, "whole").await;
}

#[tokio::test]
async fn errors_and_redirects_of_the_upstream_come_back_as_they_are() {
    for status in [201, 202, 301, 400, 401, 403, 429, 500, 503] {
        let wire = format!("HTTP/1.1 {status} X\r\nLocation: /x\r\nContent-Length: 5\r\n\r\nwhole");
        check_response("GET", &wire, false, status, "whole").await;
    }
}

#[tokio::test]
async fn response_headers_pass_unchanged_except_hop_by_hop() {
    let wire = "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Any: \u{e9}  x\r\n\
                Retry-After: 7\r\nWWW-Authenticate: Basic\r\nServer: its\r\nConnection: keep-alive, X-Own\r\n\
                X-Own: hop\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: x\r\nContent-Length: 0\r\n\r\n";
    for answer in check_response("GET", wire, false, 200, "").await {
        assert_eq!(answer.one("Content-Type"), "a/b");
        assert_eq!(answer.all("Set-Cookie"), ["a=1", "b=2"]);
        assert_eq!(answer.one("X-Any"), "\u{e9}  x");
        assert_eq!(answer.one("Retry-After"), "7");
        assert_eq!(answer.one("WWW-Authenticate"), "Basic");
        assert_eq!(answer.one("Server"), "its");
        for gone in ["X-Own", "Keep-Alive", "Proxy-Authenticate"] {
            assert_eq!(answer.all(gone), [""; 0], "{gone}");
        }
    }
}

#[tokio::test]
async fn large_response_comes_back_whole() {
    let body: String = (0..300_000_u32)
        .map(|n| char::from(b'a' + (n % 23) as u8))
        .collect();
    let chunks = String::from_utf8(crate::wire::chunked(body.as_bytes(), 8_191)).unwrap();
    let wire = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    check_response("GET", &wire, false, 200, &body).await;
}
