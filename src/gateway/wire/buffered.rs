//! A TCP connection with buffers that exist only while they hold bytes. Writes are gathered for TLS, which writes record
//! by record.
//!
//! Most connections wait most of the time, and a client may keep thousands waiting on purpose: a waiting connection holds
//! no buffer.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The most bytes read ahead. Larger reads, such as of bodies, bypass the buffer.
const READ_AHEAD: usize = 16 << 10;

/// The most bytes gathered before they are written, so that a head and a small body leave in one packet.
const WRITE_BEHIND: usize = 4 << 10;

/// A connection with read-ahead and delayed writes.
pub(crate) struct Buffered {
    stream: TcpStream,
    /// Bytes read ahead.
    ahead: Bytes,
    /// Bytes gathered and not all written yet.
    behind: Vec<u8>,
    /// How much of `behind` has been written.
    written: usize,
}

impl Buffered {
    pub(crate) fn new(stream: TcpStream) -> Self {
        // Responses are small and complete: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        Self {
            stream,
            ahead: Bytes::new(),
            behind: Vec::new(),
            written: 0,
        }
    }

    /// A connection whose first bytes have been read already; they are returned first.
    pub(crate) fn with_read(stream: TcpStream, read: Bytes) -> Self {
        let mut buffered = Self::new(stream);
        buffered.ahead = read;
        buffered
    }

    /// The connection, and what was read from it and not asked for yet.
    pub(crate) fn into_parts(self) -> (TcpStream, Bytes) {
        (self.stream, self.ahead)
    }

    /// Writes at once, for writers that gather themselves.
    pub(super) fn poll_write_through(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_gathered(cx))?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Writes the gathered bytes.
    fn poll_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.behind.get(self.written..) {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        self.behind = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Buffered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let now = self.ahead.len().min(into.remaining());
            into.put_slice(self.ahead.get(..now).unwrap_or_default());
            self.ahead.advance(now);
            if self.ahead.is_empty() {
                self.ahead = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        if into.remaining() >= READ_AHEAD {
            return Pin::new(&mut self.stream).poll_read(cx, into);
        }
        let mut space = [MaybeUninit::uninit(); READ_AHEAD];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
        let (now, ahead) = read.filled().split_at(read.filled().len().min(into.remaining()));
        into.put_slice(now);
        if !ahead.is_empty() {
            self.ahead = Bytes::copy_from_slice(ahead);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Buffered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.behind.len() + bytes.len() > WRITE_BEHIND {
            ready!(self.poll_gathered(cx))?;
        }
        if bytes.len() >= WRITE_BEHIND {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        if self.behind.is_empty() {
            self.behind.reserve_exact(WRITE_BEHIND);
        }
        self.behind.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_gathered(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_gathered(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all: usize = parts.iter().map(|part| part.len()).sum();
        if self.behind.len() + all > WRITE_BEHIND {
            ready!(self.poll_gathered(cx))?;
        }
        if all >= WRITE_BEHIND {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        }
        if self.behind.is_empty() {
            self.behind.reserve_exact(WRITE_BEHIND);
        }
        for part in parts {
            self.behind.extend_from_slice(part);
        }
        Poll::Ready(Ok(all))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
