//! What ends a connection, and what makes a request malformed: a table each.

use super::{bare, fields, good, opened, settings, window};
use crate::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, code, frame,
};

/// Each of these ends the connection, with this error or another that says as much.
#[expect(clippy::too_many_lines, reason = "a table")]
pub fn connection_errors() -> Vec<(&'static str, Vec<u8>, &'static [u32])> {
    use code::{COMPRESSION, FLOW_CONTROL, FRAME_SIZE, PROTOCOL, STREAM_CLOSED};
    let split = good().len() / 2;
    let (start, rest) = (good()[..split].to_vec(), good()[split..].to_vec());
    let begun = |stream| frame(HEADERS, END_STREAM, stream, &start);
    vec![
        ("settings on a stream", frame(SETTINGS, 0, 1, b""), &[PROTOCOL]),
        (
            "settings of five bytes",
            frame(SETTINGS, 0, 0, &[0; 5]),
            &[FRAME_SIZE],
        ),
        (
            "settings acknowledged with something",
            frame(SETTINGS, ACK, 0, &[0; 6]),
            &[FRAME_SIZE],
        ),
        ("push neither on nor off", settings(2, 2), &[PROTOCOL]),
        (
            "window beyond its maximum",
            settings(4, 1 << 31),
            &[FLOW_CONTROL, PROTOCOL],
        ),
        (
            "frames smaller than the minimum",
            settings(5, 16_383),
            &[PROTOCOL],
        ),
        (
            "frames larger than the maximum",
            settings(5, 1 << 24),
            &[PROTOCOL],
        ),
        ("ping of seven bytes", frame(PING, 0, 0, &[0; 7]), &[FRAME_SIZE]),
        ("ping on a stream", frame(PING, 0, 1, &[0; 8]), &[PROTOCOL]),
        ("goaway on a stream", frame(GOAWAY, 0, 1, &[0; 8]), &[PROTOCOL]),
        (
            "goaway of seven bytes",
            frame(GOAWAY, 0, 0, &[0; 7]),
            &[FRAME_SIZE],
        ),
        (
            "reset of three bytes",
            [opened(1), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
            &[FRAME_SIZE],
        ),
        (
            "reset of the connection",
            frame(RST_STREAM, 0, 0, &[0; 4]),
            &[PROTOCOL],
        ),
        (
            "reset of an idle stream",
            frame(RST_STREAM, 0, 1, &[0; 4]),
            &[PROTOCOL],
        ),
        (
            "window update of three bytes",
            frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
            &[FRAME_SIZE],
        ),
        ("window update of nothing", window(0, 0), &[PROTOCOL]),
        ("window update of an idle stream", window(1, 1), &[PROTOCOL]),
        (
            "window beyond its maximum by updates",
            [window(0, 0x7fff_ffff), window(0, 0x7fff_ffff)].concat(),
            &[FLOW_CONTROL],
        ),
        ("data of the connection", frame(DATA, 0, 0, b"a"), &[PROTOCOL]),
        ("data of an idle stream", frame(DATA, 0, 1, b"a"), &[PROTOCOL]),
        (
            "data of a stream of the server",
            frame(DATA, 0, 2, b"a"),
            &[PROTOCOL],
        ),
        (
            "data padded beyond its end",
            [opened(1), frame(DATA, PADDED, 1, &[9, 0])].concat(),
            &[PROTOCOL],
        ),
        (
            "headers of the connection",
            frame(HEADERS, END_HEADERS, 0, &good()),
            &[PROTOCOL],
        ),
        ("headers of an even stream", bare(2, &good()), &[PROTOCOL]),
        (
            "headers padded beyond their end",
            frame(HEADERS, END_HEADERS | PADDED, 1, &[200, 0]),
            &[PROTOCOL],
        ),
        (
            "priority of the connection",
            frame(PRIORITY, 0, 0, &[0; 5]),
            &[PROTOCOL],
        ),
        (
            "continuation of nothing",
            frame(CONTINUATION, END_HEADERS, 1, &good()),
            &[PROTOCOL],
        ),
        (
            "continuation of another stream",
            [begun(1), frame(CONTINUATION, END_HEADERS, 3, &rest)].concat(),
            &[PROTOCOL],
        ),
        (
            "continuation after the end",
            [bare(1, &good()), frame(CONTINUATION, END_HEADERS, 1, &rest)].concat(),
            &[PROTOCOL],
        ),
        (
            "ping inside a header block",
            [begun(1), frame(PING, 0, 0, &[0; 8])].concat(),
            &[PROTOCOL],
        ),
        (
            "data inside a header block",
            [begun(1), frame(DATA, 0, 1, b"a")].concat(),
            &[PROTOCOL],
        ),
        (
            "headers inside a header block",
            [begun(1), begun(3)].concat(),
            &[PROTOCOL],
        ),
        (
            "unknown frame inside a header block",
            [begun(1), frame(0x7f, 0, 1, b"a")].concat(),
            &[PROTOCOL],
        ),
        (
            "frame larger than was allowed",
            frame(DATA, 0, 1, &vec![0; 16_385]),
            &[FRAME_SIZE],
        ),
        (
            "headers larger than was allowed",
            frame(HEADERS, END_HEADERS, 1, &vec![0; 16_385]),
            &[FRAME_SIZE],
        ),
        (
            "push by a client",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]),
            &[PROTOCOL],
        ),
        (
            "stream lower than one before",
            [bare(5, &good()), bare(3, &good())].concat(),
            &[PROTOCOL, STREAM_CLOSED],
        ),
        ("index zero", bare(1, &[0x80]), &[COMPRESSION]),
        ("index of nothing", bare(1, &[0xff, 0x80, 0x01]), &[COMPRESSION]),
        (
            "index without an end",
            bare(1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            &[COMPRESSION],
        ),
        ("literal cut off", bare(1, &[0, 5, b'a']), &[COMPRESSION]),
        (
            "table larger than was allowed",
            bare(1, &[0x3f, 0xff, 0xff, 0x03]),
            &[COMPRESSION],
        ),
        (
            "table resized after a field",
            bare(1, &[0x82, 0x20]),
            &[COMPRESSION],
        ),
        (
            "huffman code of the end",
            bare(1, &[0, 0x84, 0xff, 0xff, 0xff, 0xff, 1, b'a']),
            &[COMPRESSION],
        ),
        (
            "huffman padding of zeros",
            bare(1, &[0, 0x81, 0x00, 1, b'a']),
            &[COMPRESSION],
        ),
    ]
}

/// Requests that are malformed by RFC 9113 section 8.1.1: by their fields.
#[expect(clippy::too_many_lines, reason = "a table")]
pub fn malformed_fields() -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let without = |name: &str| {
        let mut fields = fields(&[]);
        fields.retain(|(held, _)| *held != name);
        fields
    };
    let with = |name: &'static str, value: &str| {
        let mut fields = fields(&[]);
        fields.push((name, value.to_owned()));
        fields
    };
    let first = |name: &'static str, value: &str| {
        let mut fields = fields(&[]);
        fields.insert(0, (name, value.to_owned()));
        fields
    };
    vec![
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("no path", without(":path")),
        ("no authority", without(":authority")),
        ("empty path", fields(&[(":path", "")])),
        ("empty authority", fields(&[(":authority", "")])),
        ("two methods", first(":method", "GET")),
        ("two schemes", first(":scheme", "https")),
        ("two paths", first(":path", "/v1/other")),
        ("two authorities", first(":authority", "public.test")),
        ("pseudo-field after a field", with(":path", "/v1/other")),
        ("unknown pseudo-field", first(":spoofed", "a")),
        ("pseudo-field of a response", first(":status", "200")),
        ("upper-case name", with("X-Upper", "a")),
        ("empty name", with("", "a")),
        ("space in a name", with("x y", "a")),
        ("colon in a name", with("x:y", "a")),
        ("line feed in a value", with("x-a", "a\nb")),
        ("carriage return in a value", with("x-a", "a\rb")),
        ("NUL in a value", with("x-a", "a\0b")),
        ("connection", with("connection", "close")),
        ("keep-alive", with("keep-alive", "timeout=5")),
        ("proxy-connection", with("proxy-connection", "keep-alive")),
        ("transfer-encoding", with("transfer-encoding", "chunked")),
        ("upgrade", with("upgrade", "websocket")),
        ("te of something", with("te", "gzip")),
        ("host of another name", with("host", "public.test")),
        ("two hosts", {
            let mut fields = with("host", "tracking.test");
            fields.push(("host", "tracking.test".to_owned()));
            fields
        }),
        ("length that is no number", with("content-length", "+5")),
        ("two lengths", {
            let mut fields = with("content-length", "5");
            fields.push(("content-length", "6".to_owned()));
            fields
        }),
        ("space in the path", fields(&[(":path", "/v1/batch x")])),
        ("line feed in the path", fields(&[(":path", "/v1/batch\nX: y")])),
        ("NUL in the path", fields(&[(":path", "/v1/batch\0")])),
        (
            "path of a whole URI",
            fields(&[(":path", "http://public.test/v1/batch")]),
        ),
        ("path without a slash", fields(&[(":path", "v1/batch")])),
        ("path that is a star", fields(&[(":path", "*")])),
        ("dot segments", fields(&[(":path", "/v1/../v1/batch")])),
        ("two slashes", fields(&[(":path", "//v1/batch")])),
        ("encoded slash", fields(&[(":path", "/v1%2fbatch")])),
        (
            "user in the authority",
            fields(&[(":authority", "a@tracking.test")]),
        ),
        (
            "path in the authority",
            fields(&[(":authority", "tracking.test/v1")]),
        ),
        (
            "port that is none",
            fields(&[(":authority", "tracking.test:http")]),
        ),
        ("lower-case method", fields(&[(":method", "post")])),
        ("method with a space", fields(&[(":method", "POST /")])),
        ("TRACE", fields(&[(":method", "TRACE")])),
        ("CONNECT", fields(&[(":method", "CONNECT")])),
        ("CONNECT of another protocol", {
            let mut fields = first(":protocol", "websocket");
            fields[1].1 = "CONNECT".to_owned();
            fields
        }),
        ("two credentials", with("authorization", "Bearer other")),
        ("expectation unknown", with("expect", "something")),
    ]
}
