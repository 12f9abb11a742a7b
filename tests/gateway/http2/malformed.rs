//! How many malformed requests a connection may have.

use super::{assert_lives, bare, coded, fields, fine, is_refusal, opened, whole};
use crate::frames::{Frames, RST_STREAM, code, frame};
use crate::gateway::Setup;
use crate::upstream::StubUpstream;

/// What the gateway allows before it closes the connection.
const MALFORMED_MAX: u32 = 32;

fn malformed(stream: u32) -> Vec<u8> {
    bare(stream, &coded(&fields(&[(":method", "post")])))
}

#[tokio::test]
async fn too_many_malformed_requests_end_the_connection() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut frames = Frames::connect(gateway.address()).await;
    let mut streams = (1..).step_by(2);
    for _ in 1..MALFORMED_MAX {
        let stream = streams.next().unwrap();
        frames.send(&malformed(stream)).await;
        let fate = frames.fate(stream).await;
        assert!(is_refusal(&fate), "{stream} {fate:?}");
        // Well-formed requests between them are served, and change nothing.
        let stream = streams.next().unwrap();
        frames.send(&whole(stream)).await;
        let fate = frames.fate(stream).await;
        assert!(fine(&fate), "{stream} {fate:?}");
    }
    frames.send(&malformed(streams.next().unwrap())).await;
    assert_eq!(frames.end().await, Some(code::CALM));
    assert_lives(&gateway).await;
}

/// A client that cancels its uploads, or is denied, has sent nothing malformed.
#[tokio::test]
async fn cancelled_and_denied_requests_do_not_end_the_connection() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut frames = Frames::connect(gateway.address()).await;
    let mut streams = (1..).step_by(2);
    for _ in 0..2 * MALFORMED_MAX {
        let stream = streams.next().unwrap();
        let cancelled = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        frames.send(&[opened(stream), cancelled].concat()).await;
        let stream = streams.next().unwrap();
        frames
            .send(&bare(stream, &coded(&fields(&[("authorization", "Bearer a")]))))
            .await;
        let fate = frames.fate(stream).await;
        assert!(is_refusal(&fate), "{stream} {fate:?}");
    }
    let stream = streams.next().unwrap();
    frames.send(&whole(stream)).await;
    let fate = frames.fate(stream).await;
    assert!(fine(&fate), "{fate:?}");
    assert_eq!(upstream.received().len(), 1);
}
