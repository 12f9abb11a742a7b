//! HTTP/1.1 byte by byte: one table of requests that some server, somewhere, has read in its own way.
//!
//! A row says what is sent and what comes back. What is refused reaches no upstream, and no row harms the
//! next: all are sent to one gateway, which serves a good request at the end.

mod framings;
mod header_lines;

use Want::{Closed, Forwarded, Refused};

use self::framings::{cut_off, framings};
use self::header_lines::header_lines;
use crate::client::H1;
use crate::gateway::{ENFORCED, Http, Setup, batch, token};
use crate::upstream::StubUpstream;

/// What a row expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// Forwarded, as exactly one request.
    Forwarded,
    /// Refused with this reason, and the connection closed where its end cannot be told.
    Refused(u16, &'static str),
    /// No answer at all.
    Closed,
}

const MALFORMED: Want = Refused(400, "request_malformed");
const PATH: Want = Refused(400, "path_invalid");
const LARGE: Want = Refused(431, "headers_too_large");
const CONFLICT: Want = Refused(400, "credentials_conflict");

struct Row {
    name: String,
    bytes: Vec<u8>,
    want: Want,
}

fn row(name: impl Into<String>, bytes: impl Into<Vec<u8>>, want: Want) -> Row {
    Row {
        name: name.into(),
        bytes: bytes.into(),
        want,
    }
}

fn bearer() -> String {
    format!("Authorization: Bearer {}", token(ENFORCED))
}

/// A good request with this request line and these lines in place of `Host`.
fn with(line: &str, lines: &[&str]) -> Vec<u8> {
    let body = batch(ENFORCED);
    let mut out = format!("{line}\r\n");
    for line in lines {
        out.push_str(&format!("{line}\r\n"));
    }
    out.push_str(&format!(
        "{}\r\nContent-Length: {}\r\n\r\n{body}",
        bearer(),
        body.len()
    ));
    out.into_bytes()
}

/// A good request with another request line.
fn line(line: &str) -> Vec<u8> {
    with(line, &["Host: tracking.test"])
}

/// A good request with one more header line.
fn more(header: &str) -> Vec<u8> {
    with("POST /v1/batch HTTP/1.1", &["Host: tracking.test", header])
}

/// A good head without framing, these lines, and what follows.
fn framed(lines: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = format!(
        "POST /v1/batch HTTP/1.1\r\nHost: tracking.test\r\n{}\r\n",
        bearer()
    );
    for line in lines {
        out.push_str(&format!("{line}\r\n"));
    }
    out.push_str("\r\n");
    [out.as_bytes(), body.as_ref()].concat()
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn request_lines() -> Vec<Row> {
    let mut rows = vec![
        row("good", line("POST /v1/batch HTTP/1.1"), Forwarded),
        row("query", line("POST /v1/batch?a=%2f..//&b;c HTTP/1.1"), Forwarded),
        row(
            "an empty line before",
            [b"\r\n".to_vec(), line("POST /v1/batch HTTP/1.1")].concat(),
            Forwarded,
        ),
        row(
            "two empty lines before",
            [b"\r\n\r\n".to_vec(), line("POST /v1/batch HTTP/1.1")].concat(),
            MALFORMED,
        ),
        row(
            "a bare line feed before",
            [b"\n".to_vec(), line("POST /v1/batch HTTP/1.1")].concat(),
            MALFORMED,
        ),
        row("HTTP/0.9", b"GET /v1/batch\r\n".to_vec(), MALFORMED),
        row("a space before", line(" POST /v1/batch HTTP/1.1"), MALFORMED),
        row("two words", line("POST HTTP/1.1"), MALFORMED),
        row(
            "TLS to a plain port",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 \n".to_vec(),
            MALFORMED,
        ),
        row("an empty target", line("POST  HTTP/1.1"), MALFORMED),
        row(
            "target too long",
            line(&format!("POST /v1/{} HTTP/1.1", "a".repeat(8_200))),
            LARGE,
        ),
        row(
            "target without an end",
            format!("POST /{}", "a".repeat(20_000)),
            LARGE,
        ),
        row("NUL in the method", line("PO\0ST /v1/batch HTTP/1.1"), MALFORMED),
        row("fragment", line("POST /v1/batch#a HTTP/1.1"), PATH),
        row("fragment in the query", line("POST /v1/batch?a#b HTTP/1.1"), PATH),
        row("beyond ASCII", line("POST /v1/b\u{e4}tch HTTP/1.1"), PATH),
        row(
            "beyond ASCII in the query",
            line("POST /v1/batch?\u{e4} HTTP/1.1"),
            PATH,
        ),
        row(
            "absolute form of the host",
            line("POST http://tracking.test/v1/batch HTTP/1.1"),
            Forwarded,
        ),
        row(
            "absolute form of another host",
            line("POST http://public.test/v1/batch HTTP/1.1"),
            MALFORMED,
        ),
        row("authority form", line("POST tracking.test:80 HTTP/1.1"), PATH),
        row("star", line("OPTIONS * HTTP/1.1"), PATH),
        row("CONNECT", line("CONNECT tracking.test:443 HTTP/1.1"), MALFORMED),
        row("TRACE", line("TRACE /v1/batch HTTP/1.1"), MALFORMED),
        row(
            "preface of HTTP/2 with another end",
            b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec(),
            MALFORMED,
        ),
    ];
    for version in [
        "HTTP/0.9",
        "HTTP/1.2",
        "HTTP/1.01",
        "HTTP/2.0",
        "HTTP/3",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/11",
        "HTTP/1.1.1",
        "http/1.1",
        "HTTPS/1.1",
        "HTTP /1.1",
        "HTTP/ 1.1",
        "HTTP/1,1",
        "HTTP/-1.1",
        "HTTP/1.1\t",
        "ICY/1.1",
    ] {
        rows.push(row(
            version,
            line(&format!("POST /v1/batch {version}")),
            MALFORMED,
        ));
    }
    for method in [
        "post",
        "Post",
        "P\u{f6}ST",
        "POST:",
        "PO(ST",
        "\"POST\"",
        "GET,POST",
        "POST\t",
        "1GET",
        "M-SEARCH",
    ] {
        rows.push(row(
            method,
            line(&format!("{method} /v1/batch HTTP/1.1")),
            MALFORMED,
        ));
    }
    for byte in (0..=0x20_u8).chain([0x7f]) {
        let target = format!("POST /v1/ba{}tch HTTP/1.1", char::from(byte));
        rows.push(row(
            format!("byte {byte:#x} in the target"),
            line(&target),
            MALFORMED,
        ));
    }
    for path in [
        "/v1/../v1/batch",
        "/v1/./batch",
        "/v1/batch/..",
        "/v1/batch/.",
        "//v1/batch",
        "/v1//batch",
        "///v1/batch",
        "/v1/%2e%2e/v1/batch",
        "/v1/%2E%2e/v1/batch",
        "/v1/.%2e/v1/batch",
        "/v1/%2e/batch",
        "/v1%2fbatch",
        "/v1%2Fbatch",
        "/v1%5cbatch",
        "/v1\\batch",
        "/v1/batch;x=1",
        "/v1;/batch",
        "/v1/batch%3bx",
        "/v1/batch%00",
        "/v1/batch%0d%0aX:%20y",
        "/v1/batch%09",
        "/v1/%62atch",
        "/v1/batch%",
        "/v1/batch%2",
        "/v1/batch%zz",
        "/v1/batch%u002f",
        "/v1%252fbatch",
        "/v1/%25%32%65",
        "/v1/batch\"",
        "/v1/<batch>",
        "/v1/..;/v1/batch",
        "/v1/%c0%af",
        "/v1/%7f",
        "v1/batch",
        "\\v1\\batch",
        "?v1/batch",
        "http:/v1/batch",
    ] {
        let want = match path {
            "/v1/%c0%af" => Forwarded,
            // The parser below refuses these two bytes, and a scheme without an authority.
            "/v1/<batch>" | "http:/v1/batch" => MALFORMED,
            _ => PATH,
        };
        rows.push(row(path, line(&format!("POST {path} HTTP/1.1")), want));
    }
    rows
}

fn hosts() -> Vec<Row> {
    let on = |host: &str| with("POST /v1/batch HTTP/1.1", &[&format!("Host:{host}")]);
    let mut rows = vec![
        row("no Host", with("POST /v1/batch HTTP/1.1", &[]), MALFORMED),
        row("no Host on 1.0", with("POST /v1/batch HTTP/1.0", &[]), MALFORMED),
        row("two Hosts", more("Host: tracking.test"), MALFORMED),
        row("two Hosts that differ", more("hOsT: public.test"), MALFORMED),
        row("Host with a port", on(" tracking.test:8080"), Forwarded),
        row("Host in capitals", on(" TRACKING.test"), Forwarded),
        row("Host without a space", on("tracking.test"), Forwarded),
        row("Host with spaces around", on("  tracking.test\t "), Forwarded),
    ];
    for host in [
        "",
        "a/b?c",
        "a b",
        "a@b",
        "user:pw@tracking.test",
        "tracking.test,public.test",
        "tracking.test:",
        ":80",
        "tracking.test:http",
        "tracking.test:80:80",
        "tracking.test:-1",
        "tracking.test:+80",
        "tracking.test#a",
        "tracking.test\\a",
        "[::1",
        "::1",
        "[zz]",
        "[::1]x",
        "\"tracking.test\"",
        "%74racking.test",
        "tr\u{e4}cking.test",
        "tracking.test;a",
        "tracking.test/",
        "tracking.test.",
        "tracking.test.:80",
        ".tracking.test",
        "tracking..test",
        ".",
        "<a>",
    ] {
        rows.push(row(format!("Host {host}"), on(&format!(" {host}")), MALFORMED));
    }
    rows
}

/// Sends every row, all the bytes at once or in parts of this size, and compares.
async fn check(rows: Vec<Row>, half_close: bool, part: usize) {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut wrong = Vec::new();
    let mut forwarded = 0;
    for Row { name, bytes, want } in rows {
        let mut client = H1::connect(gateway.address()).await;
        for part in bytes.chunks(part) {
            client.send(part).await;
        }
        if half_close {
            client.half_close().await;
        }
        let got = match client.try_answer_to("POST").await {
            None => Closed,
            Some(answer) if answer.status == 200 => Forwarded,
            Some(answer) => {
                let (status, reason) = answer.verdict();
                let known = [MALFORMED, PATH, LARGE, CONFLICT, want];
                let same = |known: &&Want| **known == Refused(status, word(known));
                match known.iter().find(|known| same(known) && word(known) == reason) {
                    Some(known) => *known,
                    None => Refused(status, "another reason"),
                }
            }
        };
        forwarded += usize::from(want == Forwarded);
        if got != want {
            wrong.push((name, want, got));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let received = upstream.received();
    assert_eq!(received.len(), forwarded, "requests at the upstream");
    assert!(
        received
            .iter()
            .all(|one| one.complete && one.body_len == batch(ENFORCED).len())
    );
    assert_eq!(
        upstream.connections() > 0,
        forwarded > 0,
        "connections at the upstream"
    );
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
}

fn word(want: &Want) -> &'static str {
    match want {
        Refused(_, reason) => reason,
        Forwarded | Closed => "",
    }
}

#[tokio::test]
async fn request_lines_have_one_reading() {
    check(request_lines(), false, usize::MAX).await;
}

#[tokio::test]
async fn hosts_have_one_reading() {
    check(hosts(), false, usize::MAX).await;
}

#[tokio::test]
async fn header_lines_have_one_reading() {
    check(header_lines(), false, usize::MAX).await;
}

#[tokio::test]
async fn framings_have_one_reading() {
    // Half-closed, so that a length that is too large is no wait for more.
    check(framings(), true, usize::MAX).await;
}

#[tokio::test]
async fn requests_cut_off_are_refused() {
    check(cut_off(), true, usize::MAX).await;
}

#[tokio::test]
async fn it_makes_no_difference_where_the_bytes_are_cut() {
    let small = |rows: Vec<Row>| rows.into_iter().filter(|row| row.bytes.len() < 3_000);
    let all = small(framings()).chain(small(hosts())).step_by(3).collect();
    check(all, true, 61).await;
}
