//! HTTP/2 frame by frame: what RFC 9113 calls an error is one, the gateway lives on, and the upstream gets
//! nothing of it. What h2spec asks, in our own words, and the floods.

mod floods;
mod malformed;
mod mistakes;

use std::time::Duration;

use self::mistakes::{connection_errors, malformed_fields};
use crate::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, Fate, Frames, HEADERS, PING, PRIORITY, SETTINGS, WINDOW_UPDATE,
    WITH_PRIORITY, block, code, frame,
};
use crate::gateway::{ENFORCED, Http, Setup, TestGateway, batch, token};
use crate::upstream::{Reply, StubUpstream};
use crate::wait::within;

/// The fields of a good request, some of them changed; an empty name adds none.
fn fields(changed: &[(&'static str, &'static str)]) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        (":method", "POST".to_owned()),
        (":scheme", "http".to_owned()),
        (":authority", "tracking.test".to_owned()),
        (":path", "/v1/batch".to_owned()),
        ("authorization", format!("Bearer {}", token(ENFORCED))),
    ];
    for (name, value) in changed {
        match fields.iter_mut().find(|(held, _)| held == name) {
            Some(field) => field.1 = (*value).to_owned(),
            None => fields.push((name, (*value).to_owned())),
        }
    }
    fields
}

fn coded(fields: &[(&'static str, String)]) -> Vec<u8> {
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    block(&fields)
}

/// The header block of a good request.
pub fn good() -> Vec<u8> {
    coded(&fields(&[]))
}

/// The headers of a good request whose body is to come.
fn opened(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &good())
}

/// A good request.
fn whole(stream: u32) -> Vec<u8> {
    [
        opened(stream),
        frame(DATA, END_STREAM, stream, batch(ENFORCED).as_bytes()),
    ]
    .concat()
}

/// A request without a body.
fn bare(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, block)
}

fn settings(id: u16, value: u32) -> Vec<u8> {
    let payload = [id.to_be_bytes().as_slice(), &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &payload)
}

fn window(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

fn fine(answer: &Fate) -> bool {
    matches!(answer, Fate::Answered(body) if body.contains("success"))
}

async fn assert_lives(gateway: &TestGateway) {
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
    let mut frames = Frames::connect(gateway.address()).await;
    frames.send(&whole(1)).await;
    let answer = frames.fate(1).await;
    assert!(fine(&answer), "{answer:?}");
}

#[tokio::test]
async fn errors_of_the_connection_end_it_and_nothing_goes_on() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut wrong = Vec::new();
    for (name, bytes, codes) in connection_errors() {
        let mut frames = Frames::connect(gateway.address()).await;
        frames.send(&bytes).await;
        let ended = frames.end().await;
        // The codec calls most of them protocol errors, which RFC 9113 section 7 leaves to it.
        if !ended.is_some_and(|code| codes.contains(&code) || code == code::PROTOCOL) {
            wrong.push((name, ended));
        }
    }
    assert_eq!(wrong, []);
    upstream.assert_untouched();
    assert_lives(&gateway).await;
}

/// A refusal of one stream: an answer that is none of the upstream's, or an error.
fn is_refusal(fate: &Fate) -> bool {
    match fate {
        // The second is how the Public API writes it.
        Fate::Answered(body) => {
            body.is_empty()
                || body.contains("\"reason\":")
                || body.contains("\"type\":\"request_malformed\"}]}")
        }
        Fate::Reset(code) | Fate::ConnectionError(code) => *code != code::NO_ERROR,
        Fate::Gone => false,
    }
}

#[tokio::test]
async fn malformed_requests_are_refused_and_nothing_goes_on() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut wrong = Vec::new();
    for (name, fields) in malformed_fields() {
        let mut frames = Frames::connect(gateway.address()).await;
        frames
            .send(&frame(HEADERS, END_HEADERS, 1, &coded(&fields)))
            .await;
        frames
            .send(&frame(DATA, END_STREAM, 1, batch(ENFORCED).as_bytes()))
            .await;
        let fate = frames.fate(1).await;
        if !is_refusal(&fate) {
            wrong.push((name, fate));
        }
    }
    assert_eq!(wrong, []);
    upstream.assert_untouched();
    assert_lives(&gateway).await;
}

#[tokio::test]
async fn http2_body_of_another_length_than_declared_is_rejected() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let body = batch(ENFORCED);
    for length in [0, 1, body.len() - 1, body.len() + 1, body.len() * 2] {
        let mut fields = fields(&[]);
        fields.push(("content-length", length.to_string()));
        let mut frames = Frames::connect(gateway.address()).await;
        frames
            .send(&frame(HEADERS, END_HEADERS, 1, &coded(&fields)))
            .await;
        frames.send(&frame(DATA, END_STREAM, 1, body.as_bytes())).await;
        let fate = frames.fate(1).await;
        assert!(is_refusal(&fate), "{length} {fate:?}");
    }
    upstream.assert_untouched();
    assert_lives(&gateway).await;
}

#[tokio::test]
async fn trailers_are_refused_and_nothing_goes_on() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    for trailers in [
        block(&[("x-portcullis-source-id", "spoofed")]),
        block(&[("x-checksum", "1")]),
        block(&[(":path", "/v1/other")]),
        block(&[]),
    ] {
        let mut frames = Frames::connect(gateway.address()).await;
        frames.send(&opened(1)).await;
        frames.send(&frame(DATA, 0, 1, batch(ENFORCED).as_bytes())).await;
        frames.send(&bare(1, &trailers)).await;
        let fate = frames.fate(1).await;
        assert!(is_refusal(&fate), "{fate:?}");
    }
    upstream.assert_untouched();
    assert_lives(&gateway).await;
}

#[tokio::test]
async fn errors_of_a_stream_leave_the_connection_to_the_others() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let itself = [0, 0, 0, 1, 16];
    for (name, bytes) in [
        ("window update of nothing", [opened(1), window(1, 0)].concat()),
        (
            "window beyond its maximum",
            [opened(1), window(1, 0x7fff_ffff)].concat(),
        ),
        (
            "stream that depends on itself",
            frame(
                HEADERS,
                END_HEADERS | WITH_PRIORITY,
                1,
                &[itself.as_slice(), &good()].concat(),
            ),
        ),
        (
            "priority of four bytes",
            [opened(1), frame(PRIORITY, 0, 1, &[0; 4])].concat(),
        ),
        (
            "upper-case name",
            bare(
                1,
                &coded(&[fields(&[]), vec![("X-Upper", String::new())]].concat()),
            ),
        ),
        (
            "data after the end",
            [whole_of_nothing(1), frame(DATA, 0, 1, b"a")].concat(),
        ),
        (
            "headers after the end",
            [whole_of_nothing(1), bare(1, &good())].concat(),
        ),
    ] {
        let mut frames = Frames::connect(gateway.address()).await;
        frames.send(&bytes).await;
        frames.send(&whole(3)).await;
        // RFC 9113 section 5.4.1 allows an endpoint to take any of them for an error of the connection.
        let fate = frames.fate(3).await;
        let ended = matches!(fate, Fate::ConnectionError(code) if code != code::NO_ERROR);
        assert!(fine(&fate) || ended, "{name}: {fate:?}");
    }
    assert!(
        upstream
            .received()
            .iter()
            .all(|one| one.complete && one.body_len == batch(ENFORCED).len())
    );
    assert_lives(&gateway).await;
}

/// A request that is denied, and ended.
fn whole_of_nothing(stream: u32) -> Vec<u8> {
    bare(stream, &good())
}

#[tokio::test]
async fn unknown_frames_settings_and_priorities_are_ignored() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut frames = Frames::connect(gateway.address()).await;
    frames.send(&frame(0x7f, 0xff, 0, b"unknown")).await;
    frames.send(&frame(0x7f, 0xff, 77, b"unknown")).await;
    frames.send(&settings(0x7777, 5)).await;
    frames.send(&frame(PRIORITY, 0, 9, &[0, 0, 0, 1, 16])).await;
    frames.send(&whole(1)).await;
    let fate = frames.fate(1).await;
    assert!(fine(&fate), "{fate:?}");
    upstream.only();
}

#[tokio::test]
async fn settings_are_acknowledged_and_pings_answered() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut frames = Frames::connect(gateway.address()).await;
    frames.send(&frame(PING, 0, 0, b"12345678")).await;
    let mut acknowledged = (false, false);
    while acknowledged != (true, true) {
        let frame = frames.next().await.unwrap();
        acknowledged.0 |= frame.kind == SETTINGS && frame.flags == ACK;
        acknowledged.1 |= frame.kind == PING && frame.flags == ACK && frame.payload == b"12345678";
    }
}

#[tokio::test]
async fn head_that_stops_ends_with_the_idle_bound() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.limits.idle_timeout = Duration::from_millis(200);
    let gateway = setup.start().await;
    let mut frames = Frames::connect(gateway.address()).await;
    frames.send(&frame(HEADERS, END_STREAM, 1, &good())).await;
    assert_eq!(frames.end().await, None);
    upstream.assert_untouched();
}

#[tokio::test]
async fn idle_http2_connection_is_closed_and_a_busy_one_is_not() {
    let upstream = StubUpstream::answering(|_| Reply::Hang);
    let mut setup = Setup::new(&upstream);
    setup.config.limits.idle_timeout = Duration::from_millis(100);
    setup.upstream().timeouts.read = Duration::from_millis(500);
    let gateway = setup.start().await;
    let mut idle = Frames::connect(gateway.address()).await;
    assert_eq!(idle.end().await, None);
    let mut busy = Frames::connect(gateway.address()).await;
    busy.send(&whole(1)).await;
    let fate = busy.fate(1).await;
    assert!(
        matches!(&fate, Fate::Answered(body) if body.contains("upstream_timeout")),
        "{fate:?}"
    );
}

#[tokio::test]
async fn stalled_http2_preface_is_closed() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.config.limits.header_timeout = Duration::from_millis(100);
    let gateway = setup.start().await;
    let mut client = crate::client::H1::connect(gateway.address()).await;
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM").await;
    let answer = within("an answer or an end", client.try_answer_to("POST")).await;
    assert!(answer.is_none_or(|answer| answer.status == 408));
    upstream.assert_untouched();
}
