//! Checks the framing of a chunked body on its way to Pingora's parser: chunk extensions and trailers are
//! rejected (RFC 9112 section 7.1).
//!
//! The parser drops both silently. Neither would reach an upstream, but a request is rejected if its client and
//! its upstream could disagree about its end.

use std::fmt;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::{Buf as _, BytesMut};
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, IO, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::domain::cost;

/// The most digits of a chunk's size: 4 GiB, far above any body that is held.
const SIZE_DIGITS_MAX: u8 = 8;

/// A connection during one request whose body is chunked.
pub struct Chunks {
    /// Read from the connection, and not by the parser yet.
    read: BytesMut,
    stream: Stream,
    framing: Framing,
    /// How many bytes behind the body's end the parser has read.
    beyond: usize,
}

/// Where in the framing the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Size {
        digits: u8,
        size: u32,
    },
    SizeLf {
        size: u32,
    },
    Data {
        left: u32,
    },
    DataCr,
    DataLf,
    LastCr,
    LastLf,
    /// Behind the body's end.
    Over,
    /// Behind an error. What follows is discarded with the rest of the connection.
    Fault,
}

impl Chunks {
    /// Checks the body that begins with `read` and continues in `stream`.
    #[must_use]
    pub fn new(stream: Stream, read: BytesMut) -> Self {
        Self {
            read,
            stream,
            framing: Framing::BEGIN,
            beyond: 0,
        }
    }

    /// The connection below.
    pub(crate) fn stream(&self) -> &dyn IO {
        &*self.stream
    }

    /// The connection, and the beginning of the next request in front of it. `overread` is what the parser read
    /// behind the body. `None` where the body has not ended, or the parser saw another end than this check.
    #[must_use]
    pub fn into_parts(self, mut overread: BytesMut) -> Option<(Stream, BytesMut)> {
        if self.framing != Framing::Over || overread.len() != self.beyond {
            return None;
        }
        overread.extend_from_slice(&self.read);
        Some((self.stream, overread))
    }
}

impl Framing {
    const BEGIN: Self = Self::Size { digits: 0, size: 0 };

    /// Where it is after these bytes, and how many of them stand behind the body's end. `None` where they are not
    /// plain chunks.
    fn after(mut self, mut bytes: &[u8]) -> Option<(Self, usize)> {
        while let Some((byte, rest)) = bytes.split_first() {
            if let Self::Data { left } = self {
                let now = bytes.len().min(left as usize);
                bytes = bytes.get(now..).unwrap_or_default();
                // `now` is at most `left`.
                let left = left.saturating_sub(u32::try_from(now).unwrap_or(u32::MAX));
                self = if left == 0 {
                    Self::DataCr
                } else {
                    Self::Data { left }
                };
                continue;
            }
            bytes = rest;
            self = match (self, byte) {
                (Self::Over | Self::Fault, _) => return Some((self, rest.len() + 1)),
                (Self::Size { digits: 1.., size }, b'\r') => Self::SizeLf { size },
                (Self::Size { digits, size }, byte) if digits < SIZE_DIGITS_MAX => Self::Size {
                    digits: digits + 1,
                    size: size << 4 | char::from(*byte).to_digit(16)?,
                },
                (Self::SizeLf { size: 0 }, b'\n') => Self::LastCr,
                (Self::SizeLf { size }, b'\n') => Self::Data { left: size },
                (Self::DataCr, b'\r') => Self::DataLf,
                (Self::DataLf, b'\n') => Self::BEGIN,
                (Self::LastCr, b'\r') => Self::LastLf,
                (Self::LastLf, b'\n') => Self::Over,
                _ => return None,
            };
        }
        Some((self, 0))
    }
}

impl AsyncRead for Chunks {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let chunks = self.get_mut();
        let before = buf.filled().len();
        if chunks.read.is_empty() {
            ready!(Pin::new(&mut chunks.stream).poll_read(cx, buf))?;
        } else {
            let now = chunks.read.len().min(buf.remaining());
            buf.put_slice(chunks.read.get(..now).unwrap_or_default());
            chunks.read.advance(now);
        }
        let new = buf.filled().get(before..).unwrap_or_default();
        cost::count(new.len());
        let Some((after, beyond)) = chunks.framing.after(new) else {
            chunks.framing = Framing::Fault;
            buf.set_filled(before);
            return Poll::Ready(Err(ErrorKind::InvalidData.into()));
        };
        chunks.framing = after;
        chunks.beyond += beyond;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Chunks {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Chunks {
    async fn shutdown(&mut self) {
        self.stream.shutdown().await;
    }
}

impl UniqueID for Chunks {
    fn id(&self) -> UniqueIDType {
        self.stream.id()
    }
}

impl Ssl for Chunks {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.stream.selected_alpn_proto()
    }
}

impl GetTimingDigest for Chunks {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream.get_timing_digest()
    }
}

impl GetProxyDigest for Chunks {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream.get_proxy_digest()
    }
}

impl GetSocketDigest for Chunks {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }
}

impl Peek for Chunks {}

impl fmt::Debug for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the bytes: they may hold credentials.
        write!(f, "Chunks({:?})", self.framing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunked_framing_is_found_wherever_reads_end() {
        let whole = b"5\r\nhello\r\n0A\r\n0123456789\r\n0\r\n\r\nnext";
        for cut in 0..whole.len() {
            let (one, other) = whole.split_at(cut);
            let (framing, first) = Framing::BEGIN.after(one).unwrap();
            let (framing, second) = framing.after(other).unwrap();
            assert_eq!((framing, first + second), (Framing::Over, "next".len()), "{cut}");
        }
    }

    #[test]
    fn chunk_extensions_and_trailers_are_rejected() {
        for bad in [
            "5;ext=1\r\n",
            "5 \r\n",
            " 5\r\n",
            "+5\r\n",
            "0x5\r\n",
            "\r\n",
            "5\n",
            "5\r\r",
            "000000005\r\n",
            "5\r\nhelloX",
            "5\r\nhello\n",
            "0\r\nX: trailer\r\n\r\n",
            "0\r\n\n",
            "g\r\n",
        ] {
            assert_eq!(Framing::BEGIN.after(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
