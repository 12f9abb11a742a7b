//! Answers a plain connection that is refused, so that its client sees a reason and not a reset.
//!
//! A bounded number of refused connections is answered in order: the first bytes of the request are awaited for a
//! moment, and what follows the answer is read away, since a socket closed with unread bytes resets the connection
//! and the answer may be lost. Beyond that number the answer is written at once, if the socket takes it, and the
//! connection closed.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// How long a refused connection may stay, its wait for the first bytes included.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// The most bytes read away of a refused connection.
const BYTES_MAX: usize = 64 << 10;

/// The most reads of one that is answered at once.
const READS_MAX: usize = 4;

/// How HTTP/2 with prior knowledge begins (RFC 9113 section 3.4).
const PREFACE_START: &[u8] = b"PRI ";

/// The answer to a client that speaks HTTP/2: empty `SETTINGS`, then `GOAWAY` with the last stream 0, so that the
/// client may safely send its requests again, and `ENHANCE_YOUR_CALM` (RFC 9113 sections 6.5, 6.8 and 7).
const GOAWAY: &[u8] = &[
    0, 0, 0, 4, 0, 0, 0, 0, 0, // SETTINGS
    0, 0, 8, 7, 0, 0, 0, 0, 0, // GOAWAY
    0, 0, 0, 0, 0, 0, 0, 11, // the last stream and the code
];

/// Answers refused connections, a bounded number at once.
pub struct RefusalAnswers {
    slots: Arc<Semaphore>,
}

impl RefusalAnswers {
    /// So many connections are answered in order at once.
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(at_once)),
        }
    }

    /// Answers with `http1`, a whole response that says `Connection: close`, and closes the connection. Returns at
    /// once. Call it on the runtime that is to carry the rest.
    pub fn answer(&self, stream: TcpStream, http1: Bytes) {
        self.answer_after(stream, Bytes::new(), http1);
    }

    /// The same for a connection whose first bytes, `read`, have been read already.
    pub fn answer_after(&self, stream: TcpStream, read: Bytes, http1: Bytes) {
        match Arc::clone(&self.slots).try_acquire_owned() {
            Ok(slot) => {
                tokio::spawn(async move {
                    // Whether the client took it or not, this is the end.
                    let _ = tokio::time::timeout(ANSWERED_WITHIN, in_order(stream, &read, &http1)).await;
                    drop(slot);
                });
            }
            Err(_) => {
                let _ = at_once(stream, &read, &http1);
            }
        }
    }
}

fn answer_to<'a>(read: &[u8], http1: &'a [u8]) -> &'a [u8] {
    match read.starts_with(PREFACE_START) {
        true => GOAWAY,
        false => http1,
    }
}

async fn in_order(mut stream: TcpStream, read: &[u8], http1: &[u8]) -> std::io::Result<()> {
    let mut away = [0_u8; 4096];
    let mut left = BYTES_MAX;
    let mut first = read;
    if first.is_empty() {
        let count = stream.read(&mut away).await?;
        first = away.get(..count).unwrap_or_default();
    }
    if first.is_empty() {
        return Ok(());
    }
    let answer = answer_to(first, http1);
    stream.write_all(answer).await?;
    stream.shutdown().await?;
    while left > 0 {
        match stream.read(&mut away).await? {
            0 => return Ok(()),
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}

fn at_once(stream: TcpStream, read: &[u8], http1: &[u8]) -> std::io::Result<()> {
    // The socket stays non-blocking.
    let mut stream = stream.into_std()?;
    let mut away = [0_u8; 16 << 10];
    let mut first = read;
    if first.is_empty() {
        let count = stream.read(&mut away).unwrap_or(0);
        first = away.get(..count).unwrap_or_default();
    }
    let answer = answer_to(first, http1);
    let _ = stream.write(answer)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    for _ in 1..READS_MAX {
        if !matches!(stream.read(&mut away), Ok(1..)) {
            break;
        }
    }
    Ok(())
}
