//! A connection before its first request: whether there is room for it, and which HTTP it speaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::l4::stream::Stream as TcpStream;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::server::ShutdownWatch;

use super::http1::{self, SpeaksHttp2};
use super::http2;
use super::proxy::{Counted, Gateway};
use crate::domain::decision::DenyReason;

/// The gateway with a bound on its connections: one more is closed at once.
pub struct Bounded {
    gateway: Arc<Gateway>,
    open: AtomicUsize,
}

impl Bounded {
    /// Bounds `gateway` by its own limit.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Self {
            gateway,
            open: AtomicUsize::new(0),
        }
    }
}

#[async_trait]
impl ServerApp for Bounded {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let _open = Counted::new(&self.open);
        if self.open.load(Ordering::Relaxed) > self.gateway.limits.connections {
            self.gateway.metrics.denied(None, DenyReason::Overloaded);
            return None;
        }
        // Over TLS, the handshake has agreed on a protocol.
        let is_plain = (*stream).as_any().is::<TcpStream>();
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            http2::serve(&self.gateway, stream, shutdown).await;
        } else if let Some(SpeaksHttp2(stream, read)) =
            http1::serve(&self.gateway, stream, is_plain, shutdown).await
        {
            let mut stream = stream.into_any().downcast::<TcpStream>().ok()?;
            stream.rewind(&read);
            http2::serve(&self.gateway, stream, shutdown).await;
        }
        None
    }
}
