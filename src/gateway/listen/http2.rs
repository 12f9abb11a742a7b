//! An HTTP/2 connection: its streams, and what bounds them all together.
//!
//! The codec bounds what is on the wire: the size of a header block and the number of its frames, streams
//! open at once, resets. What it does not see is the work that a stream began and that goes on when the
//! client has reset it (CVE-2023-44487) or has made us reset it (CVE-2025-8671); that is bounded here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use h2::Reason;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{
    H2Accept, H2Options, HttpSession, default_h2_options, handshake,
};
use pingora_core::protocols::{Digest, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_timeout::timeout;
use tokio::sync::Notify;

use crate::config::Limits;
use crate::connections::{ActiveRequest, Connection};
use crate::domain::decision::DenyReason;
use crate::gateway::read::raw_head::TARGET_BYTES_MAX;
use crate::gateway::serve::current::CurrentGateway;
use crate::gateway::serve::request::Gateway;

/// Streams that a client may have open at once.
const STREAMS_MAX: usize = 100;

/// Requests of one connection that may be worked on at once. More than streams can be open: some were
/// reset while their work ends.
const REQUESTS_MAX: usize = 2 * STREAMS_MAX;

/// Malformed requests until the connection is closed.
const MALFORMED_MAX: usize = 32;

/// Stream errors by the client until the connection is closed. A client that works makes none.
const STREAM_ERRORS_MAX: usize = 64;

/// Bytes of a response that wait for the client, of one stream.
const WAITING_BYTES_MAX: usize = 64 * 1024;

/// What a header field counts beyond its bytes (RFC 9113 section 6.5.2).
const FIELD_BYTES: usize = 32;

/// How long a connection that was given up may take to hear of it.
const GOODBYE: Duration = Duration::from_secs(2);

/// The requests of a connection that are being worked on.
#[derive(Default)]
struct UnderWay {
    count: AtomicUsize,
    none: Notify,
}

/// One of them, until it is dropped.
struct OneUnderWay {
    of: Arc<UnderWay>,
    _request: ActiveRequest,
}

impl UnderWay {
    fn begin(self: &Arc<Self>, request: ActiveRequest) -> OneUnderWay {
        self.count.fetch_add(1, Ordering::Relaxed);
        OneUnderWay {
            of: Arc::clone(self),
            _request: request,
        }
    }

    fn now(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Resolves when nothing was asked for this long.
    async fn idle_for(&self, time: Duration) {
        while self.now() > 0 {
            self.none.notified().await;
        }
        tokio::time::sleep(time).await;
    }
}

impl Drop for OneUnderWay {
    fn drop(&mut self) {
        if self.of.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.of.none.notify_one();
        }
    }
}

fn options(limits: &Limits) -> H2Options {
    // The exact limit is checked with the reason's own answer; this one bounds what is decoded at all.
    let list = limits.header_bytes + limits.headers * FIELD_BYTES + TARGET_BYTES_MAX + 1024;
    let mut options = default_h2_options();
    options
        .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
        .max_concurrent_streams(u32::try_from(STREAMS_MAX).unwrap_or(u32::MAX))
        .max_local_error_reset_streams(Some(STREAM_ERRORS_MAX))
        .max_send_buffer_size(WAITING_BYTES_MAX);
    options
}

/// Serves a connection to its end.
pub(crate) async fn serve(
    app: &Arc<CurrentGateway>,
    stream: Stream,
    connection_state: &Arc<Connection>,
    shutdown: &ShutdownWatch,
) {
    // It hears of a drain by GOAWAY; only the drain's bound may cut it.
    connection_state.ends_by_itself();
    let gateway = app.current();
    let limits = &gateway.limits;
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    });
    let opening = handshake(stream, Some(options(limits)));
    let Ok(Ok(mut connection)) = timeout(limits.header_timeout, opening).await else {
        return;
    };
    let under_way = Arc::new(UnderWay::default());
    let mut stopping = shutdown.clone();
    let mut is_stopping = false;
    let mut malformed = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.changed(), if !is_stopping => {
                connection.graceful_shutdown();
                is_stopping = true;
                continue;
            }
            accepted = HttpSession::from_h2_conn(&mut connection, Arc::clone(&digest)) => accepted,
            () = under_way.idle_for(limits.idle_timeout) => return,
        };
        match accepted {
            Ok(Some(H2Accept::Session(session))) if under_way.now() < REQUESTS_MAX => {
                // Evicted in this moment: nothing was begun.
                let Some(request) = connection_state.begin_request() else {
                    return;
                };
                // Each request takes the settings of the moment when it begins, and keeps them.
                let (gateway, one) = (app.current(), under_way.begin(request));
                pingora_runtime::current_handle().spawn(async move {
                    serve_one(&gateway, session).await;
                    drop(one);
                });
            }
            Ok(Some(H2Accept::Rejected)) if malformed < MALFORMED_MAX => {
                gateway.metrics.denied(None, DenyReason::RequestMalformed);
                malformed += 1;
            }
            Ok(Some(_)) => {
                gateway.metrics.denied(None, DenyReason::Overloaded);
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                let closing = async { while let Some(Ok(_)) = connection.accept().await {} };
                let _ = timeout(GOODBYE, closing).await;
                return;
            }
            Ok(None) | Err(_) => return,
        }
    }
}

async fn serve_one(gateway: &Gateway, session: HttpSession) {
    let mut session = ServerSession::new_http2(session);
    session.set_write_timeout(Some(gateway.limits.body_timeout));
    if gateway.handle(&mut session).await {
        let _ = session.finish().await;
    } else {
        session.shutdown().await;
    }
}
