//! A client's connection, plain or TLS, as Pingora's session and h2 read and write it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::{Buf as _, Bytes};
use pingora_core::protocols::http::v1::server::HttpSession;
use pingora_core::protocols::l4::socket::SocketAddr as DigestAddr;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::{ALPN, SslDigest};
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use pingora_core::server::ShutdownWatch;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::buffered::Buffered;
use super::chunks::Chunks;

/// One client's connection.
pub(crate) struct Socket {
    io: Io,
    /// Bytes put back, to be read again first.
    again: Bytes,
    id: UniqueIDType,
    addresses: Arc<SocketDigest>,
    tls: Option<Arc<SslDigest>>,
    /// Set when its listener has stopped.
    stopped: ShutdownWatch,
    is_torn: AtomicBool,
}

enum Io {
    Plain(Buffered),
    Tls(Box<TlsStream<Buffered>>),
}

impl Socket {
    pub(crate) fn plain(stream: Buffered, client: SocketAddr, stopped: ShutdownWatch) -> Self {
        let id = stream.stream().as_raw_fd();
        Self::new(Io::Plain(stream), id, client, None, stopped)
    }

    pub(crate) fn tls(stream: TlsStream<Buffered>, client: SocketAddr, stopped: ShutdownWatch) -> Self {
        let (below, session) = stream.get_ref();
        let id = below.stream().as_raw_fd();
        let cipher = session.negotiated_cipher_suite();
        let cipher = cipher
            .and_then(|suite| suite.suite().as_str())
            .unwrap_or_default();
        let version = session.protocol_version().and_then(|version| version.as_str());
        let digest = SslDigest::new(cipher, version.unwrap_or_default(), None, None, Vec::new());
        let tls = Some(Arc::new(digest));
        Self::new(Io::Tls(Box::new(stream)), id, client, tls, stopped)
    }

    fn new(
        io: Io,
        id: UniqueIDType,
        client: SocketAddr,
        tls: Option<Arc<SslDigest>>,
        stopped: ShutdownWatch,
    ) -> Self {
        let addresses = SocketDigest::from_raw_fd(id);
        let _ = addresses.peer_addr.set(Some(DigestAddr::Inet(client)));
        Self {
            io,
            again: Bytes::new(),
            id,
            addresses: Arc::new(addresses),
            tls,
            stopped,
            is_torn: AtomicBool::new(false),
        }
    }

    /// Whether the listener of the connection that carries this request has stopped.
    pub(super) fn has_stopped(session: &HttpSession) -> bool {
        Self::of(session).is_some_and(|socket| *socket.stopped.borrow())
    }

    /// Makes the end of this request's connection a TCP reset: its client must see that something is missing.
    pub(super) fn tear(session: &HttpSession) {
        if let Some(socket) = Self::of(session) {
            let tcp = match &socket.io {
                Io::Plain(stream) => stream.stream(),
                Io::Tls(stream) => stream.get_ref().0.stream(),
            };
            let _ = tcp.set_zero_linger();
            socket.is_torn.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the connection of this request ends by a TCP reset.
    pub(crate) fn is_torn(session: &HttpSession) -> bool {
        Self::of(session).is_some_and(|socket| socket.is_torn.load(Ordering::Relaxed))
    }

    /// The connection that carries a request.
    fn of(session: &HttpSession) -> Option<&Self> {
        let stream = (**session.stream()).as_any();
        match stream.downcast_ref::<Chunks>() {
            Some(chunks) => chunks.stream().as_any().downcast_ref(),
            None => stream.downcast_ref(),
        }
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
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Io::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

#[async_trait]
impl Shutdown for Socket {
    async fn shutdown(&mut self) {
        // The client may have gone already.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Socket {
    fn id(&self) -> UniqueIDType {
        self.id
    }
}

impl Ssl for Socket {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.tls.clone()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        match &self.io {
            Io::Plain(_) => None,
            Io::Tls(stream) => match stream.get_ref().1.alpn_protocol()? {
                b"h2" => Some(ALPN::H2),
                _ => Some(ALPN::H1),
            },
        }
    }
}

impl GetTimingDigest for Socket {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Socket {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Socket {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.addresses))
    }
}

/// `connection` reads the first bytes and puts them back.
impl Peek for Socket {}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Socket({})", self.id)
    }
}
