//! Unused HTTP/1 connections to upstream servers, kept for the next request.
//!
//! The last one kept is the first one used, so that those that are not needed grow old and are closed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pingora_core::protocols::Stream;
use tokio::io::{AsyncRead as _, ReadBuf};

use crate::clock::instant;

/// Unused connections kept of one pool. Fewer than the concurrency would mean connecting all the time.
const KEPT_MAX: usize = 1024;

/// The unused connections of one pool.
#[derive(Default)]
pub(super) struct IdleConnections(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    by_server: HashMap<SocketAddr, Vec<(Stream, Instant)>>,
    count: usize,
}

impl IdleConnections {
    /// A connection to `server` that is still open, as far as this machine knows.
    pub(super) fn take(&self, server: SocketAddr) -> Option<Stream> {
        let now = instant();
        loop {
            let (mut stream, until) = {
                let mut kept = self.0.lock();
                let newest = kept.by_server.get_mut(&server)?.pop()?;
                kept.count -= 1;
                newest
            };
            if now < until && is_silent(&mut stream) {
                return Some(stream);
            }
        }
    }

    /// Keeps a connection that may be used again for this long.
    pub(super) fn keep(&self, server: SocketAddr, stream: Stream, time: Duration) {
        let mut kept = self.0.lock();
        if kept.count < KEPT_MAX {
            kept.count += 1;
            let until = instant() + time;
            kept.by_server.entry(server).or_default().push((stream, until));
        }
    }

    /// Closes what the server has closed or what was unused for too long.
    pub(super) fn sweep(&self) {
        let now = instant();
        let mut kept = self.0.lock();
        kept.by_server.retain(|_, connections| {
            connections.retain_mut(|(stream, until)| now < *until && is_silent(stream));
            !connections.is_empty()
        });
        kept.count = kept.by_server.values().map(Vec::len).sum();
    }
}

/// Whether the server neither closed the connection nor sent anything, which no request is waiting for.
fn is_silent(stream: &mut Stream) -> bool {
    let mut byte = [0_u8; 1];
    let mut read = ReadBuf::new(&mut byte);
    let mut nobody = Context::from_waker(Waker::noop());
    matches!(Pin::new(stream).poll_read(&mut nobody, &mut read), Poll::Pending)
}
