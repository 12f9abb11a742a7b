//! HTTP/2 floods: each ends its connection or stays within a bound.

use std::time::Duration;

use super::{assert_lives, bare, coded, fields, good, is_refusal, opened, settings, whole, window};
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Fate, Frames, HEADERS, PING, PRIORITY, RST_STREAM,
    WINDOW_UPDATE, block, code, frame,
};
use crate::gateway::Setup;
use crate::upstream::{Reply, StubUpstream};
use crate::wait::until;

/// CVE-2024-27316 and its kin: header blocks that never end.
#[tokio::test]
async fn flood_of_continuations_ends_the_connection() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    for part in [
        block(&[("x-filler", &"a".repeat(10_000))]),
        block(&[("x-filler", "a")]),
        Vec::new(),
    ] {
        let mut frames = Frames::connect(gateway.address()).await;
        frames.send(&frame(HEADERS, END_STREAM, 1, &good())).await;
        let mut sent = 0;
        while sent < 20_000 && frames.send(&frame(CONTINUATION, 0, 1, &part)).await {
            sent += 1;
        }
        let ended = frames.end().await;
        assert!(sent < 20_000, "{sent} frames were taken, {ended:?}");
    }
    upstream.assert_untouched();
    assert_lives(&gateway).await;
}

#[tokio::test]
async fn header_list_beyond_the_limits_is_refused() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    // Over our limit, and over what is decoded at all.
    let little: Vec<(&str, String)> = (0..150).map(|_| ("x-a", "b".to_owned())).collect();
    let large = vec![("x-filler", "a".repeat(12_000)); 4];
    for more in [little, large] {
        let mut frames = Frames::connect(gateway.address()).await;
        let block = coded(&[fields(&[]), more].concat());
        let mut parts = block.chunks(16_000);
        frames
            .send(&frame(HEADERS, END_STREAM, 1, parts.next().unwrap()))
            .await;
        for part in parts {
            frames.send(&frame(CONTINUATION, 0, 1, part)).await;
        }
        frames.send(&frame(CONTINUATION, END_HEADERS, 1, b"")).await;
        let fate = frames.fate(1).await;
        assert!(is_refusal(&fate), "{fate:?}");
    }
    upstream.assert_untouched();
    assert_lives(&gateway).await;
}

/// A header block compressed to nothing: one large field, told once and repeated by its index.
#[tokio::test]
async fn header_bomb_is_refused() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut frames = Frames::connect(gateway.address()).await;
    let mut bomb = good();
    // Literal with incremental indexing: the newest entry is number 62.
    let mut field = block(&[("x-bomb", &"a".repeat(3_500))]);
    field[0] = 0x40;
    bomb.extend(&field);
    bomb.extend(vec![0x80 | 62; 10_000]);
    frames.send(&bare(1, &bomb)).await;
    let fate = frames.fate(1).await;
    assert!(is_refusal(&fate), "{fate:?}");
    upstream.assert_untouched();
    assert_lives(&gateway).await;
}

/// CVE-2023-44487: streams opened and reset at once.
#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let upstream = StubUpstream::answering(|_| Reply::Hang);
    let gateway = Setup::new(&upstream).start().await;
    let mut frames = Frames::connect(gateway.address()).await;
    let mut streams = 0_u32;
    for stream in (1..200_000).step_by(2) {
        let cancelled = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        if !frames.send(&[opened(stream), cancelled].concat()).await {
            break;
        }
        streams += 1;
    }
    let ended = frames.end().await;
    assert!(
        ended.is_none_or(|code| code == code::CALM || code == code::PROTOCOL),
        "{ended:?}"
    );
    assert!(streams < 100_000, "{streams} streams were taken");
    upstream.assert_untouched();
    until("nothing is held", || {
        gateway.metric("portcullis_held_body_bytes", &[]) < 1.0
    })
    .await;
}

/// The same with whole requests, which reach the upstream before they are reset: what one connection has at
/// work is bounded however many it resets.
#[tokio::test]
async fn resets_of_whole_requests_do_not_pile_up_work() {
    let upstream = StubUpstream::answering(|_| Reply::Hang);
    let gateway = Setup::new(&upstream).start().await;
    let mut frames = Frames::connect(gateway.address()).await;
    for stream in (1..4_000).step_by(2) {
        let cancelled = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        if !frames.send(&[whole(stream), cancelled].concat()).await {
            break;
        }
    }
    drop(frames);
    // What was reset is given up: no body is held for it any longer.
    until("nothing is held", || {
        gateway.metric("portcullis_held_body_bytes", &[]) < 1.0
    })
    .await;
}

/// CVE-2025-8671: errors that make us reset, again and again.
#[tokio::test]
async fn made_resets_end_the_connection() {
    let upstream = StubUpstream::answering(|_| Reply::Hang);
    let gateway = Setup::new(&upstream).start().await;
    for fault in [window as fn(u32, u32) -> Vec<u8>, |stream, _| {
        frame(PRIORITY, 0, stream, &[0; 4])
    }] {
        let mut frames = Frames::connect(gateway.address()).await;
        let mut streams = 0;
        for stream in (1..20_000).step_by(2) {
            if !frames.send(&[opened(stream), fault(stream, 0)].concat()).await {
                break;
            }
            streams += 1;
        }
        let ended = frames.end().await;
        assert!(streams < 9_000, "{streams} streams were taken, {ended:?}");
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn streams_at_once_are_bounded() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut frames = Frames::connect(gateway.address()).await;
    for stream in (1..=401).step_by(2) {
        frames.send(&opened(stream)).await;
    }
    let fate = frames.fate(401).await;
    assert!(
        matches!(fate, Fate::Reset(7 | 1) | Fate::ConnectionError(_)),
        "{fate:?}"
    );
    upstream.assert_untouched();
}

/// CVE-2019-9512, -9515, -9518: control frames and empty frames without an end.
#[tokio::test]
async fn floods_of_control_frames_hold_nothing() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    for flood in [
        frame(PING, 0, 0, &[0; 8]),
        settings(4, 65_535),
        frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 16]),
        frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
    ] {
        let mut frames = Frames::connect(gateway.address()).await;
        let bytes = flood.repeat(1_000);
        for _ in 0..10 {
            // Nobody reads the acknowledgements: the gateway may stop reading, and must not buffer them.
            if tokio::time::timeout(Duration::from_millis(200), frames.send(&bytes))
                .await
                .is_err()
            {
                break;
            }
        }
        assert_lives(&gateway).await;
    }
    let mut frames = Frames::connect(gateway.address()).await;
    frames.send(&opened(1)).await;
    let empty = frame(DATA, 0, 1, b"").repeat(1_000);
    for _ in 0..100 {
        if !frames.send(&empty).await {
            break;
        }
    }
    assert_lives(&gateway).await;
}
