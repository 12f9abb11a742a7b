//! Header lines that servers have read in different ways.

use super::Want::{Forwarded, Refused};

use super::{CONFLICT, LARGE, MALFORMED, Row, bearer, line, more, row};
use crate::gateway::{ENFORCED, token};

#[expect(clippy::too_many_lines, reason = "a table")]
pub fn header_lines() -> Vec<Row> {
    let good = line("POST /v1/batch HTTP/1.1");
    let text = String::from_utf8(good).unwrap();
    let mut rows = vec![
        row("line feeds only", text.replace("\r\n", "\n"), MALFORMED),
        row(
            "line feed behind the request line",
            text.replacen("\r\n", "\n", 1),
            MALFORMED,
        ),
        row(
            "line feed at the end",
            text.replacen("\r\n\r\n", "\r\n\n", 1),
            MALFORMED,
        ),
        row("carriage returns only", text.replacen("\r\n", "\r", 1), MALFORMED),
        row(
            "two carriage returns",
            text.replacen("test\r\n", "test\r\r\n", 1),
            MALFORMED,
        ),
        row("folded", more("X-A: a\r\n b"), MALFORMED),
        row("folded by a tab", more("X-A: a\r\n\tb"), MALFORMED),
        row("folded to nothing", more("X-A: a\r\n "), MALFORMED),
        row("space before a name", more(" X-A: a"), MALFORMED),
        row("empty name", more(": a"), MALFORMED),
        row("no colon", more("X-A"), MALFORMED),
        row("empty value", more("X-A:"), Forwarded),
        row("value beyond ASCII", more("X-A: \u{e4}"), Forwarded),
        row("tab in a value", more("X-A: a\tb"), Forwarded),
        row(
            "many headers",
            (0..101)
                .map(|n| format!("X-{n}: a"))
                .collect::<Vec<_>>()
                .join("\r\n")
                .pipe(|all| more(&all)),
            LARGE,
        ),
        row(
            "more headers than the parser takes",
            (0..400)
                .map(|n| format!("X-{n}: a"))
                .collect::<Vec<_>>()
                .join("\r\n")
                .pipe(|all| more(&all)),
            LARGE,
        ),
        row(
            "large header",
            more(&format!("X-A: {}", "a".repeat(33 << 10))),
            LARGE,
        ),
        row(
            "very large header",
            more(&format!("X-A: {}", "a".repeat(900 << 10))),
            LARGE,
        ),
        row(
            "header without an end",
            format!("POST /v1/batch HTTP/1.1\r\nX-A: {}", "a".repeat(60_000)),
            LARGE,
        ),
        row(
            "upgrade to websocket",
            more("Connection: Upgrade\r\nUpgrade: websocket"),
            Forwarded,
        ),
        row(
            "upgrade to HTTP/2",
            more("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk"),
            Forwarded,
        ),
        row("upgrade without a Connection", more("Upgrade: h2c"), Forwarded),
        row("expectation unknown", more("Expect: 200-ok"), MALFORMED),
        row(
            "connection of an end-to-end header",
            more("Connection: authorization"),
            MALFORMED,
        ),
        row(
            "connection naming an identity header",
            more("Connection: close, X-Portcullis-Source-Id"),
            MALFORMED,
        ),
        row(
            "connection of the length",
            more("Connection: content-length"),
            MALFORMED,
        ),
        row("connection to be closed", more("Connection: close"), Forwarded),
        row("two credentials", more("Authorization: Bearer other"), CONFLICT),
        row(
            "two credentials by spelling",
            more("authorization: Basic eDo="),
            CONFLICT,
        ),
        row(
            "folded credential",
            text.replacen("Bearer ", "Bearer\r\n ", 1),
            MALFORMED,
        ),
    ];
    for name in [
        "X A", "X-A ", "X-A\t", "X@A", "X,A", "X\"A", "X(A)", "X/A", "X[A]", "X{A}", "X\\A", "X;A", "X=A",
        "X<A>", "X?A", "X\u{e4}A", "X\0A", "X\x7fA",
    ] {
        rows.push(row(
            format!("name {name:?}"),
            more(&format!("{name}: a")),
            MALFORMED,
        ));
    }
    for byte in (0..0x20_u8).filter(|byte| *byte != b'\t').chain([0x7f]) {
        let name = format!("byte {byte:#x} in a value");
        rows.push(row(
            name,
            more(&format!("X-A: a{}b", char::from(byte))),
            MALFORMED,
        ));
    }
    let credential = |value: &str| text.replacen(&bearer(), &format!("Authorization: {value}"), 1);
    let token = token(ENFORCED);
    for (value, want) in [
        (format!("Bearer {token}, Bearer {token}"), CONFLICT),
        (format!("Bearer {token},"), CONFLICT),
        (format!("Bearer {token} {token}"), CONFLICT),
        (format!("Bearer\t{token}"), CONFLICT),
        (format!("Bearer {token}\tx"), CONFLICT),
        (format!("Bearer {token} x"), CONFLICT),
        (format!("Bearer {token};x"), Refused(401, "token_malformed")),
        (format!("Bearer {token}="), Refused(401, "token_malformed")),
        (format!("Bearer {token}."), Refused(401, "token_malformed")),
        (format!("Bearer  {token}"), Forwarded),
        (format!("bEARER {token}"), Forwarded),
        // Neither a token nor Basic: what a server behind reads in it cannot be told.
        (format!("Bearer{token}"), Refused(400, "source_ambiguous")),
        (format!("Token {token}"), Refused(400, "source_ambiguous")),
        (token, Refused(400, "source_ambiguous")),
        ("Bearer".to_owned(), Refused(401, "token_malformed")),
        (String::new(), Refused(401, "token_malformed")),
    ] {
        let name = value
            .chars()
            .take(12)
            .chain(value.chars().rev().take(6))
            .collect::<String>();
        rows.push(row(format!("credential {name}"), credential(&value), want));
    }
    rows
}

trait Pipe: Sized {
    fn pipe<T>(self, with: impl FnOnce(Self) -> T) -> T {
        with(self)
    }
}
impl Pipe for String {}
