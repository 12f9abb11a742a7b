//! A connection before its first request: whether there is room for it, and which HTTP it speaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp, ReusedHttpStream, ServerApp};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::l4::stream::Stream as TcpStream;
use pingora_core::server::ShutdownWatch;
use tokio::io::AsyncReadExt as _;

use super::proxy::{Counted, Gateway};
use crate::domain::decision::DenyReason;

/// How HTTP/2 with prior knowledge begins (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The gateway with a bound on its connections: one more is closed at once.
pub struct Bounded {
    gateway: Arc<Gateway>,
    http1: Arc<Http1>,
    open: AtomicUsize,
}

impl Bounded {
    /// Bounds `gateway` by its own limit.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Self {
            http1: Arc::new(Http1(Arc::clone(&gateway))),
            gateway,
            open: AtomicUsize::new(0),
        }
    }
}

#[async_trait]
impl ServerApp for Bounded {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let limits = &self.gateway.limits;
        let _open = Counted::new(&self.open);
        if self.open.load(Ordering::Relaxed) > limits.connections {
            self.gateway.metrics.denied(None, DenyReason::Overloaded);
            return None;
        }
        // Over TLS, the handshake has agreed on a protocol.
        if !(*stream).as_any().is::<TcpStream>() {
            return self.gateway.process_new(stream, shutdown).await;
        }
        let mut stream = stream.into_any().downcast::<TcpStream>().ok()?;
        match tokio::time::timeout(limits.idle_timeout, begins_http2(&mut stream)).await {
            Ok(Ok(true)) => self.gateway.process_new(stream, shutdown).await,
            Ok(Ok(false)) => self.http1.process_new(stream, shutdown).await,
            Ok(Err(_)) | Err(_) => None,
        }
    }

    async fn cleanup(&self) {
        self.gateway.cleanup().await;
    }
}

/// Looks at the first bytes, for no longer than they may still be a preface, and puts them back.
///
/// Pingora looks, too, but waits for as many bytes as a preface has: for ever, and a request may be
/// shorter than that.
async fn begins_http2(stream: &mut TcpStream) -> std::io::Result<bool> {
    let mut seen = Vec::with_capacity(PREFACE.len());
    while seen.len() < PREFACE.len() && PREFACE.starts_with(&seen) {
        let wanted = PREFACE.len() - seen.len();
        if (&mut *stream).take(wanted as u64).read_buf(&mut seen).await? == 0 {
            break;
        }
    }
    stream.rewind(&seen);
    Ok(seen == PREFACE)
}

/// The gateway for connections that are known to speak HTTP/1: nobody looks for a preface again.
struct Http1(Arc<Gateway>);

#[async_trait]
impl HttpServerApp for Http1 {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.0.process_new_http(session, shutdown).await
    }
}
