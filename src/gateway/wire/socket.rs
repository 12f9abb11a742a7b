//! A client's connection, plain or TLS, as the exchange of HTTP/1 and the codec of HTTP/2 read and write it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http::HeaderValue;
use pingora_core::server::ShutdownWatch;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;

use super::buffered::Buffered;

/// One client's connection.
pub struct Socket {
    io: Io,
    /// Bytes put back, to be read again first.
    again: Bytes,
    client: SocketAddr,
    /// The client's address as `X-Forwarded-For` names it.
    client_text: HeaderValue,
    /// Set when its listener has stopped.
    stopped: ShutdownWatch,
    is_torn: bool,
}

enum Io {
    Plain(Buffered),
    Tls(Box<TlsStream<Buffered>>),
    Memory(Box<DuplexStream>),
}

impl Socket {
    pub(crate) fn plain(stream: Buffered, client: SocketAddr, stopped: ShutdownWatch) -> Self {
        Self::new(Io::Plain(stream), client, stopped)
    }

    pub(crate) fn tls(stream: TlsStream<Buffered>, client: SocketAddr, stopped: ShutdownWatch) -> Self {
        Self::new(Io::Tls(Box::new(stream)), client, stopped)
    }

    /// A request that comes from no client, to be explained.
    pub(crate) fn in_memory(stream: DuplexStream) -> Self {
        let client = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self::new(Io::Memory(Box::new(stream)), client, watch::channel(false).1)
    }

    fn new(io: Io, client: SocketAddr, stopped: ShutdownWatch) -> Self {
        let address = client.ip().to_canonical().to_string();
        Self {
            io,
            again: Bytes::new(),
            client,
            // An address is a header value.
            client_text: HeaderValue::from_str(&address).unwrap_or(HeaderValue::from_static("")),
            stopped,
            is_torn: false,
        }
    }

    /// The address of the client.
    pub(crate) const fn client(&self) -> SocketAddr {
        self.client
    }

    /// The client's address without its port as text, IPv4 inside IPv6 as IPv4.
    pub(crate) const fn client_text(&self) -> &HeaderValue {
        &self.client_text
    }

    /// Whether the connection uses TLS.
    pub(crate) const fn is_tls(&self) -> bool {
        matches!(self.io, Io::Tls(_))
    }

    /// Whether client and gateway agreed on HTTP/2 in the TLS handshake (RFC 7301).
    pub(crate) fn has_agreed_on_http2(&self) -> bool {
        match &self.io {
            Io::Plain(_) | Io::Memory(_) => false,
            Io::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    /// Whether the listener of the connection has stopped.
    pub(super) fn has_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Makes the end of the connection a TCP reset: its client must see that something is missing.
    pub(super) fn tear(&mut self) {
        let _ = match &self.io {
            Io::Plain(stream) => stream.stream().set_zero_linger(),
            Io::Tls(stream) => stream.get_ref().0.stream().set_zero_linger(),
            Io::Memory(_) => Ok(()),
        };
        self.is_torn = true;
    }

    /// Whether the connection ends by a TCP reset.
    pub(crate) const fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// Puts back bytes, to be read again before all others.
    pub(crate) fn rewind(&mut self, seen: &[u8]) {
        self.again = Bytes::copy_from_slice(seen);
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.again.is_empty() {
            let count = self.again.len().min(into.remaining());
            into.put_slice(self.again.get(..count).unwrap_or_default());
            self.again.advance(count);
            return Poll::Ready(Ok(()));
        }
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, into),
            Io::Memory(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.io {
            // HTTP/1 and the codec of HTTP/2 gather what they write.
            Io::Plain(stream) => stream.poll_write_through(cx, &[io::IoSlice::new(bytes)]),
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Io::Memory(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Io::Memory(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(stream) => stream.poll_write_through(cx, parts),
            Io::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Io::Memory(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
            Io::Memory(stream) => stream.is_write_vectored(),
        }
    }
}
