//! Requests with two readings: what Pingora's parser lets through, and what the gateway answers.
//!
//! Each test says the answer and that the upstream got nothing. The bytes are written to the socket as
//! they stand here.

mod framing;

use http::Request;
use portcullis::config::PathPattern;

use crate::client::{H1, H2};
use crate::forge::write_key;
use crate::gateway::{ENFORCED, Http, Setup, UNENFORCED, basic, batch, token};
use crate::upstream::StubUpstream;
use crate::wire::chunked;

/// The lines of a good request before its body; each test spoils one of them.
fn head(line: &str, lines: &[&str]) -> String {
    let mut out = format!("{line}\r\n");
    for line in lines {
        out.push_str(line);
        out.push_str("\r\n");
    }
    out.push_str(&format!("Authorization: Bearer {}\r\n\r\n", token(ENFORCED)));
    out
}

const LINE: &str = "POST /v1/batch HTTP/1.1";
const HOST: &str = "Host: tracking.test";

fn length() -> String {
    format!("Content-Length: {}", batch(ENFORCED).len())
}

/// A good batch behind this head, which says its length unless `lines` do something about framing.
fn request(line: &str, lines: &[&str]) -> Vec<u8> {
    let length = length();
    let mut all = lines.to_vec();
    all.push(&length);
    [head(line, &all), batch(ENFORCED)].concat().into_bytes()
}

/// The same with another framing.
fn framed(lines: &[&str], body: &[u8]) -> Vec<u8> {
    let all = [&[HOST], lines].concat();
    [head(LINE, &all).as_bytes(), body].concat()
}

async fn assert_refused(bytes: &[u8], status: u16, reason: &str) {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut client = H1::connect(gateway.address()).await;
    client.send(bytes).await;
    let answer = client.try_answer_to("POST").await;
    let shown = String::from_utf8_lossy(bytes).replace(&token(ENFORCED), "<token>");
    let verdict = answer.as_ref().map(crate::client::Answer::verdict);
    assert_eq!(
        verdict,
        Some((status, reason.to_owned())),
        "{}",
        shown.get(..300).unwrap_or(&shown)
    );
    assert_eq!(answer.unwrap().one("Content-Type"), "application/json");
    upstream.assert_untouched();
}

async fn assert_malformed(bytes: &[u8]) {
    assert_refused(bytes, 400, "request_malformed").await;
}

#[tokio::test]
async fn unspoilt_request_is_forwarded() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    gateway.send_raw(request(LINE, &[HOST])).await.assert_ok();
    let body = chunked(batch(ENFORCED).as_bytes(), 7);
    gateway
        .send_raw(framed(&["Transfer-Encoding: chunked"], &body))
        .await
        .assert_ok();
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn two_authorization_headers_are_refused() {
    let bytes = request(LINE, &[HOST, "authorization: Bearer another"]);
    assert_refused(&bytes, 400, "credentials_conflict").await;
}

#[tokio::test]
async fn paths_of_two_readings_are_refused() {
    for path in [
        "/v1/../v1/batch",
        "/v1/./batch",
        "/v1/batch/..",
        "//v1/batch",
        "/v1//batch",
        "/v1/%2e%2e/v1/batch",
        "/v1/%2E/batch",
        "/v1%2fbatch",
        "/v1%2Fbatch",
        "/v1%5cbatch",
        "/v1\\batch",
        "/v1/batch;x=1",
        "/v1/batch%3Bx=1",
        "/v1/batch%00",
        "/v1/%62atch",
        "/v1/batch%",
        "/v1/batch%zz",
        "/v1/batch%252e",
        "v1/batch",
        "*",
    ] {
        assert_refused(
            &request(&format!("POST {path} HTTP/1.1"), &[HOST]),
            400,
            "path_invalid",
        )
        .await;
    }
}

#[tokio::test]
async fn paths_of_two_readings_are_refused_over_http2() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let client = H2::connect(gateway.address()).await;
    for path in [
        "/v1/../v1/batch",
        "//v1/batch",
        "/v1/%2e%2e/v1/batch",
        "/v1%2fbatch",
        "/v1/batch;x=1",
    ] {
        let request = Request::post(format!("http://tracking.test{path}"))
            .header("authorization", format!("Bearer {}", token(ENFORCED)))
            .body(())
            .unwrap();
        let answer = client
            .exchange(request, batch(ENFORCED).as_bytes(), 100)
            .await
            .unwrap();
        answer.assert_denied(400, "path_invalid");
    }
    upstream.assert_untouched();
}

/// A server that compares paths without letter case would do there what was decided for here.
#[tokio::test]
async fn paths_of_another_api_in_other_letter_case_are_refused() {
    let everywhere = |upstream: &StubUpstream| {
        let mut setup = Setup::new(upstream);
        for api in &mut setup.config.apis {
            api.hosts = vec!["*".to_owned()];
        }
        setup
    };
    let post = |path: &str| Http::new("POST", "any.test", path).body(batch(ENFORCED));
    for path in ["/V1/batch", "/V1/", "/V1/import"] {
        let upstream = StubUpstream::start();
        let gateway = everywhere(&upstream).start().await;
        gateway.send(&post(path)).await.assert_denied(400, "path_invalid");
        upstream.assert_untouched();
    }
    for (pattern, path) in [
        (PathPattern::Prefix("/Track/".to_owned()), "/track/batch"),
        (PathPattern::Exact("/Track".to_owned()), "/track"),
        (PathPattern::Exact("/track".to_owned()), "/tracK"),
    ] {
        let upstream = StubUpstream::start();
        let mut setup = everywhere(&upstream);
        setup.config.apis[0].paths = vec![pattern.into()];
        let gateway = setup.start().await;
        gateway.send(&post(path)).await.assert_denied(400, "path_invalid");
        upstream.assert_untouched();
    }
    // Where the letters move no request from one API to another, they are the upstream's business.
    let upstream = StubUpstream::start();
    let gateway = everywhere(&upstream).start().await;
    gateway
        .send(&post("/v1/Batch").bearer(&token(ENFORCED)))
        .await
        .assert_ok();
    let other = |path: &str| Http::new("POST", "any.test", path).body("{}");
    gateway.send(&other("/Sources/V1/")).await.assert_ok();
    gateway.send(&other("/V1")).await.assert_ok();
    // The key of an enforced source is refused there, too.
    assert_eq!(gateway.send(&post("/Sources/V1/")).await.status, 401);
    assert_eq!(gateway.send(&post("/V1")).await.status, 401);
}

/// `tracking.test.` names the same host, and would go to the API of all the others.
#[tokio::test]
async fn host_with_a_dot_behind_is_refused() {
    for host in ["tracking.test.", "tracking.test.:80", "TRACKING.test."] {
        let upstream = StubUpstream::start();
        let mut setup = Setup::new(&upstream);
        setup.config.apis[2].hosts = vec!["*".to_owned()];
        let gateway = setup.start().await;
        let request = Http::new("POST", host, "/v1/batch").body(batch(ENFORCED));
        gateway
            .send(&request)
            .await
            .assert_denied(400, "request_malformed");
        upstream.assert_untouched();
    }
}

/// RFC 9113 section 8.2.1. Sent on over HTTP/1.1, these would be other values than the ones decided on.
#[tokio::test]
async fn values_with_white_space_around_them_are_refused_over_http2() {
    let key = basic(&write_key(ENFORCED)).replace("Authorization: ", "");
    for (name, value) in [
        ("authorization", format!(" {key}")),
        ("authorization", format!("\t{key}")),
        ("authorization", format!("{key} ")),
        ("content-type", " application/x-www-form-urlencoded".to_owned()),
        ("content-encoding", " gzip".to_owned()),
        ("x-anything", "a\t".to_owned()),
        ("x-anything", " ".to_owned()),
    ] {
        let upstream = StubUpstream::start();
        let gateway = Setup::new(&upstream).start().await;
        let request = Request::post("http://tracking.test/v1/batch")
            .header(name, &value)
            .body(())
            .unwrap();
        let client = H2::connect(gateway.address()).await;
        let answer = client
            .exchange(request, batch(UNENFORCED).as_bytes(), 1_000)
            .await;
        answer.unwrap().assert_denied(400, "request_malformed");
        upstream.assert_untouched();
    }
}

#[tokio::test]
async fn illegal_bytes_in_the_target_are_refused() {
    for line in [
        "POST  /v1/batch HTTP/1.1",
        "POST /v1/batch\0 HTTP/1.1",
        "POST /v1/batch\x01 HTTP/1.1",
        "POST\t/v1/batch HTTP/1.1",
    ] {
        let upstream = StubUpstream::start();
        let gateway = Setup::new(&upstream).start().await;
        let answer = gateway.send_raw(request(line, &[HOST])).await;
        assert_eq!(answer.status, 400, "{line:?}");
        upstream.assert_untouched();
    }
}

#[tokio::test]
async fn request_lines_of_other_words_than_three_are_refused() {
    for line in [
        "POST /v1/a b HTTP/1.1",
        "POST /v1/batch  HTTP/1.1",
        " POST /v1/batch HTTP/1.1",
        "POST  /v1/batch HTTP/1.1",
        "POST /v1/batch HTTP/1.1 ",
        "POST /v1/batch",
        "POST HTTP/1.1",
        "POST",
    ] {
        assert_malformed(&request(line, &[HOST])).await;
    }
}

#[tokio::test]
async fn missing_and_malformed_hosts_are_refused() {
    assert_malformed(&request(LINE, &[])).await;
    for host in [
        "a/b?c",
        "a b",
        "",
        "a:b",
        "a:",
        ":80",
        "a@b",
        "a,b",
        "[::1",
        "[zz]",
        "tracking.test#x",
        "\"a\"",
    ] {
        assert_malformed(&request(LINE, &[&format!("Host: {host}")])).await;
    }
}

#[tokio::test]
async fn shortest_request_without_a_host_is_answered() {
    // Shorter than the HTTP/2 preface that the listener looks for.
    assert_malformed(b"GET / HTTP/1.1\r\n\r\n").await;
}

#[tokio::test]
async fn two_hosts_are_refused() {
    assert_malformed(&request(LINE, &[HOST, HOST])).await;
    assert_malformed(&request(LINE, &[HOST, "host: elsewhere.test"])).await;
}

#[tokio::test]
async fn host_that_contradicts_the_authority_is_refused() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let client = H2::connect(gateway.address()).await;
    let request = |host: &str| {
        Request::post("http://tracking.test/v1/batch")
            .header("host", host)
            .header("authorization", format!("Bearer {}", token(ENFORCED)))
            .body(())
            .unwrap()
    };
    let body = batch(ENFORCED);
    let answer = client
        .exchange(request("public.test"), body.as_bytes(), 100)
        .await
        .unwrap();
    // Refused below the gateway, which never gets to see the request.
    assert_eq!(answer.status, 400);
    upstream.assert_untouched();
    let client = H2::connect(gateway.address()).await;
    client
        .exchange(request("tracking.test"), body.as_bytes(), 100)
        .await
        .unwrap()
        .assert_ok();
    assert_eq!(upstream.only().all("Host"), ["tracking.test"]);
}

#[tokio::test]
async fn headers_beyond_the_limits_are_refused() {
    let large = format!("X-Filler: {}", "a".repeat(200 << 10));
    assert_refused(&request(LINE, &[HOST, &large]), 431, "headers_too_large").await;
    // Above our own limit, and above the parser's 256, which it could not tell from another fault.
    for count in [101, 200, 300, 2_000] {
        let many: Vec<String> = (0..count).map(|n| format!("X-Filler-{n}: a")).collect();
        let lines: Vec<&str> = [HOST]
            .into_iter()
            .chain(many.iter().map(String::as_str))
            .collect();
        assert_refused(&request(LINE, &lines), 431, "headers_too_large").await;
    }
    let target = format!("POST /v1/{} HTTP/1.1", "a".repeat(9_000));
    assert_refused(&request(&target, &[HOST]), 431, "headers_too_large").await;
}

#[tokio::test]
async fn connect_is_refused() {
    assert_malformed(&request("CONNECT tracking.test:443 HTTP/1.1", &[HOST])).await;
}

#[tokio::test]
async fn methods_that_are_none_of_an_apis_are_refused() {
    for method in ["TRACE", "post", "Post", "CONNECT"] {
        assert_malformed(&request(&format!("{method} /v1/batch HTTP/1.1"), &[HOST])).await;
    }
}

#[tokio::test]
async fn bare_line_feeds_are_refused() {
    let good = String::from_utf8(request(LINE, &[HOST])).unwrap();
    assert_malformed(good.replace("\r\n", "\n").as_bytes()).await;
    assert_malformed(good.replacen("\r\n", "\n", 1).as_bytes()).await;
    assert_malformed(good.replacen("test\r\n", "test\n", 1).as_bytes()).await;
    assert_malformed(good.replacen("\r\n\r\n", "\r\n\n", 1).as_bytes()).await;
}

#[tokio::test]
async fn control_bytes_in_headers_are_refused() {
    for value in ["a\0b", "a\rb", "a\x0bb", "a\x7fb"] {
        assert_malformed(&request(LINE, &[HOST, &format!("X-Value: {value}")])).await;
    }
}

#[tokio::test]
async fn folded_and_misspelt_header_lines_are_refused() {
    for line in [
        "X-A: a\r\n b",
        "X-A: a\r\n\tb",
        "X-A : a",
        " X-A: a",
        "X-A",
        ": a",
        "X A: a",
        "X-\u{e9}: a",
    ] {
        assert_malformed(&request(LINE, &[HOST, line])).await;
    }
}

#[tokio::test]
async fn connection_that_names_an_end_to_end_header_is_refused() {
    for option in [
        "authorization",
        "close, X-Portcullis-Source-Id",
        "content-length",
        "host",
    ] {
        assert_malformed(&request(LINE, &[HOST, &format!("Connection: {option}")])).await;
    }
}

#[tokio::test]
async fn unknown_expectation_is_refused() {
    assert_malformed(&request(LINE, &[HOST, "Expect: something"])).await;
}

#[tokio::test]
async fn other_versions_are_refused() {
    for version in [
        "HTTP/0.9",
        "HTTP/1.2",
        "HTTP/2.0",
        "HTTP/1",
        "http/1.1",
        "HTTP/1.1 x",
    ] {
        let upstream = StubUpstream::start();
        let gateway = Setup::new(&upstream).start().await;
        let answer = gateway
            .send_raw(request(&format!("POST /v1/batch {version}"), &[HOST]))
            .await;
        assert_eq!(answer.status, 400, "{version}");
        upstream.assert_untouched();
    }
}
