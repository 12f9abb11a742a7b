//! How the body of a request is framed, and where it ends too early.

use super::{Closed, Forwarded, MALFORMED, Refused, Row, framed, line, row};
use crate::gateway::{ENFORCED, batch};
use crate::wire::chunked;

#[expect(clippy::too_many_lines, reason = "a table")]
pub fn framings() -> Vec<Row> {
    let body = batch(ENFORCED);
    let right = body.len();
    let chunks = chunked(body.as_bytes(), 9);
    let ended = |with: &str| {
        let mut chunks = chunks.clone();
        chunks.truncate(chunks.len() - "0\r\n\r\n".len());
        chunks.extend_from_slice(with.as_bytes());
        framed(&["Transfer-Encoding: chunked"], chunks)
    };
    let length = format!("Content-Length: {right}");
    let mut rows = vec![
        row(
            "chunks",
            framed(&["Transfer-Encoding: chunked"], &chunks),
            Forwarded,
        ),
        row(
            "chunks in capitals",
            framed(&["TRANSFER-ENCODING: CHUNKED"], &chunks),
            Forwarded,
        ),
        row(
            "length and coding",
            framed(&[&length, "Transfer-Encoding: chunked"], &chunks),
            MALFORMED,
        ),
        row(
            "coding and length",
            framed(&["Transfer-Encoding: chunked", &length], &chunks),
            MALFORMED,
        ),
        row(
            "length and unknown coding",
            framed(&[&length, "Transfer-Encoding: x"], &body),
            MALFORMED,
        ),
        row("equal lengths", framed(&[&length, &length], &body), MALFORMED),
        row(
            "lengths that differ",
            framed(&[&length, "Content-Length: 5"], &body),
            MALFORMED,
        ),
        row(
            "length and its twin",
            framed(&[&length, "Content_Length: 5"], &body),
            Forwarded,
        ),
        row(
            "coding's twin",
            framed(&[&length, "Transfer_Encoding: chunked"], &body),
            Forwarded,
        ),
        row(
            "two codings",
            framed(
                &["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
                &chunks,
            ),
            MALFORMED,
        ),
        row(
            "coding on 1.0",
            String::from_utf8(framed(&["Transfer-Encoding: chunked"], &chunks))
                .unwrap()
                .replacen("/1.1", "/1.0", 1),
            MALFORMED,
        ),
        row("trailer", ended("0\r\nX-Trailer: a\r\n\r\n"), MALFORMED),
        row(
            "trailer naming an identity header",
            ended("0\r\nX-Portcullis-Source-Id: a\r\n\r\n"),
            MALFORMED,
        ),
        row("trailer folded", ended("0\r\n X: a\r\n\r\n"), MALFORMED),
        row("last chunk of many zeros", ended("000\r\n\r\n"), Forwarded),
        row("last chunk with an extension", ended("0;a\r\n\r\n"), MALFORMED),
        row("end by line feeds", ended("0\n\n"), MALFORMED),
        row("end by a line feed", ended("0\r\n\n"), MALFORMED),
        row("end by carriage returns", ended("0\r\r"), MALFORMED),
        row("end by something else", ended("0\r\nXX"), MALFORMED),
        row(
            "body without framing",
            framed(&[], &body),
            Refused(400, "source_missing"),
        ),
    ];
    for coding in [
        "gzip, chunked",
        "chunked, chunked",
        "chunked, gzip",
        "gzip",
        "identity",
        "xchunked",
        "chunkedx",
        "chunked;q=1",
        "\"chunked\"",
        "chunked,",
        ",chunked",
        "",
        "chunked\0",
        "chunked\x0b",
        "chu\tnked",
        "\u{e4}",
    ] {
        rows.push(row(
            format!("coding {coding:?}"),
            framed(&[&format!("Transfer-Encoding: {coding}")], &chunks),
            MALFORMED,
        ));
    }
    for name in [
        "Transfer-Encoding ",
        " Transfer-Encoding",
        "Transfer-Encoding\t",
        "Transfer\u{ad}-Encoding",
        "\"Transfer-Encoding\"",
    ] {
        rows.push(row(
            format!("coding by the name {name:?}"),
            framed(&[&format!("{name}: chunked")], &chunks),
            MALFORMED,
        ));
    }
    for length in [
        format!("{right}, {right}"),
        format!("{right},"),
        format!("{right} {right}"),
        format!("+{right}"),
        format!("-{right}"),
        format!("{right}.0"),
        format!("{right:#x}"),
        format!("{right}e0"),
        format!("\"{right}\""),
        format!("{right}\x0b"),
        format!("{right}_"),
        String::new(),
        " ".to_owned(),
        "\u{665}".to_owned(),
        "18446744073709551616".to_owned(),
        "99999999999999999999999".to_owned(),
    ] {
        rows.push(row(
            format!("length {length:?}"),
            framed(&[&format!("Content-Length: {length}")], &body),
            MALFORMED,
        ));
    }
    rows.push(row(
        "length of zeros in front",
        framed(&[&format!("Content-Length: 000{right}")], &body),
        Forwarded,
    ));
    rows.push(row(
        "length beyond the limit",
        framed(&["Content-Length: 1048577"], ""),
        Refused(413, "body_too_large"),
    ));
    rows.push(row(
        "length of 2^63",
        framed(&["Content-Length: 9223372036854775808"], ""),
        Refused(413, "body_too_large"),
    ));
    for size in [
        "",
        "g",
        "0x5",
        "+5",
        "-5",
        "5 ",
        " 5",
        "5\t",
        "5;",
        "5;a=b",
        "5;a=\"\r\n\"",
        "ffffffffffffffff",
        "10000000000000005",
        "fffffffff",
        "5\0",
        "5_",
        "5.0",
        "\u{665}",
    ] {
        rows.push(row(
            format!("chunk of {size:?}"),
            framed(
                &["Transfer-Encoding: chunked"],
                format!("{size}\r\n{body}\r\n0\r\n\r\n"),
            ),
            MALFORMED,
        ));
    }
    let hex = format!("{right:x}");
    for (name, chunk) in [
        ("line feed behind its size", format!("{hex}\n{body}\r\n0\r\n\r\n")),
        (
            "carriage return behind its size",
            format!("{hex}\r{body}\r\n0\r\n\r\n"),
        ),
        (
            "two carriage returns behind its size",
            format!("{hex}\r\r\n{body}\r\n0\r\n\r\n"),
        ),
        ("line feed behind it", format!("{hex}\r\n{body}\n0\r\n\r\n")),
        ("nothing behind it", format!("{hex}\r\n{body}0\r\n\r\n")),
        ("more behind it", format!("{hex}\r\n{body}XX\r\n0\r\n\r\n")),
        (
            "a size too small",
            format!("{:x}\r\n{body}\r\n0\r\n\r\n", right - 1),
        ),
        (
            "a size too large",
            format!("{:x}\r\n{body}\r\n0\r\n\r\n", right + 2),
        ),
    ] {
        rows.push(row(
            format!("chunk with {name}"),
            framed(&["Transfer-Encoding: chunked"], chunk),
            MALFORMED,
        ));
    }
    rows
}

/// Requests that end too early: nobody waits for the rest of them.
pub fn cut_off() -> Vec<Row> {
    let good = line("POST /v1/batch HTTP/1.1");
    let head = good.windows(4).position(|at| at == b"\r\n\r\n").unwrap() + 4;
    let mut rows = vec![row("nothing", Vec::new(), Closed)];
    for at in [
        1,
        4,
        5,
        20,
        23,
        24,
        25,
        60,
        head - 3,
        head - 1,
        head,
        head + 1,
        good.len() - 1,
    ] {
        rows.push(row(format!("cut off at {at}"), &good[..at], MALFORMED));
    }
    for body in [
        "",
        "5",
        "5\r",
        "5\r\n",
        "5\r\nhel",
        "5\r\nhello",
        "5\r\nhello\r\n",
        "5\r\nhello\r\n0",
        "0\r\n",
        "0\r\n\r",
    ] {
        rows.push(row(
            format!("cut off in chunks at {body:?}"),
            framed(&["Transfer-Encoding: chunked"], body),
            MALFORMED,
        ));
    }
    rows
}
