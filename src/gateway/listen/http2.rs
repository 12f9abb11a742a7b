//! An HTTP/2 connection: its streams, and the bound on all of them together.
//!
//! The codec bounds what is on the wire: the size of a header block, the number of its frames, open streams and resets.
//! It does not see the work of a stream that the client has reset (CVE-2023-44487) or has made the gateway reset
//! (CVE-2025-8671). That work is bounded here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::Builder;
use pingora_core::server::ShutdownWatch;
use pingora_timeout::timeout;
use tokio::sync::Notify;

use crate::config::Limits;
use crate::connections::{ActiveRequest, Connection};
use crate::domain::decision::DenyReason;
use crate::gateway::read::raw_head::TARGET_BYTES_MAX;
use crate::gateway::serve::current::CurrentGateway;
use crate::gateway::serve::request::{Gateway, Outcome};
use crate::gateway::wire::http2_stream::{Http2Stream, Peer, WAITING_BYTES_MAX};
use crate::gateway::wire::session::Session;
use crate::gateway::wire::socket::Socket;

/// How many streams a client may have open at once.
const STREAMS_MAX: usize = 100;

/// How many requests of one connection may be in progress at once: more than open streams, since the work of reset
/// streams takes time to end.
const REQUESTS_MAX: usize = 2 * STREAMS_MAX;

/// How many stream errors of a client close its connection. A correct client causes none.
const STREAM_ERRORS_MAX: usize = 64;

/// How many malformed requests close the connection, beyond those that the codec finds. Well-formed ones between them do
/// not reset the count.
const MALFORMED_MAX: usize = 32;

/// How many more streams may break off than end as they should. A client that opens streams to reset them at once makes
/// work for nothing (CVE-2023-44487); one that cancels some of its requests stays far below.
const BROKEN_OFF_MAX: usize = 200;

/// What a header field counts beyond its bytes (RFC 9113 section 6.5.2).
const FIELD_BYTES: usize = 32;

/// How long a connection that exceeded a bound may take to receive GOAWAY.
const GOODBYE: Duration = Duration::from_secs(2);

/// The requests of a connection that are in progress, and how many malformed ones it had.
#[derive(Default)]
struct UnderWay {
    count: AtomicUsize,
    none: Notify,
    malformed: AtomicUsize,
    /// Streams that broke off, less those that did not.
    broken_off: AtomicUsize,
    misbehaviour: Notify,
}

/// One request in progress, until it is dropped.
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

    /// Resolves when no request was in progress for this long.
    async fn idle_for(&self, time: Duration) {
        while self.now() > 0 {
            self.none.notified().await;
        }
        tokio::time::sleep(time).await;
    }

    fn count_malformed(&self) {
        if self.malformed.fetch_add(1, Ordering::Relaxed) + 1 >= MALFORMED_MAX {
            self.misbehaviour.notify_one();
        }
    }

    /// Counts a stream that has ended.
    fn count_end(&self, is_broken_off: bool) {
        if !is_broken_off {
            let one_less = |held: usize| Some(held.saturating_sub(1));
            let _ = self
                .broken_off
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        } else if self.broken_off.fetch_add(1, Ordering::Relaxed) + 1 >= BROKEN_OFF_MAX {
            self.misbehaviour.notify_one();
        }
    }

    /// Resolves when the connection had [`MALFORMED_MAX`] malformed requests, or [`BROKEN_OFF_MAX`] streams broke off.
    async fn misbehaved(&self) {
        self.misbehaviour.notified().await;
    }
}

impl Drop for OneUnderWay {
    fn drop(&mut self) {
        if self.of.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.of.none.notify_one();
        }
    }
}

fn options(limits: &Limits) -> Builder {
    // The exact limit is checked later and has its own response. This one bounds what is decoded at all.
    let list = limits.header_bytes + limits.headers * FIELD_BYTES + TARGET_BYTES_MAX + 1024;
    let mut options = Builder::new();
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
    socket: Box<Socket>,
    connection_state: &Arc<Connection>,
    shutdown: &ShutdownWatch,
) {
    // A drain ends it by GOAWAY; only the drain timeout closes it.
    connection_state.ends_by_itself();
    let gateway = app.current();
    let limits = &gateway.limits;
    let peer = Peer {
        address: socket.client().ip(),
        text: socket.client_text().clone(),
        is_tls: socket.is_tls(),
    };
    let options = options(limits);
    let Ok(Ok(mut connection)) = timeout(limits.header_timeout, options.handshake(socket)).await else {
        return;
    };
    let under_way = Arc::new(UnderWay::default());
    let mut stopping = shutdown.clone();
    let mut is_stopping = false;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.changed(), if !is_stopping => {
                connection.graceful_shutdown();
                is_stopping = true;
                continue;
            }
            () = under_way.misbehaved() => {
                return goodbye(connection).await;
            }
            accepted = connection.accept() => accepted,
            () = under_way.idle_for(limits.idle_timeout) => return,
        };
        match accepted {
            Some(Ok((request, respond))) if under_way.now() < REQUESTS_MAX => {
                // Evicted at this moment: no request has begun.
                let Some(active) = connection_state.begin_request() else {
                    return;
                };
                // Each request takes the current settings when it begins, and keeps them.
                let (gateway, one) = (app.current(), under_way.begin(active));
                let stream = Http2Stream::new(request, respond, peer.clone(), gateway.limits.body_timeout);
                pingora_runtime::current_handle().spawn(async move {
                    let outcome = serve_one(&gateway, stream).await;
                    if is_malformed(&outcome) {
                        one.of.count_malformed();
                    }
                    one.of.count_end(!outcome.reusable);
                    drop(one);
                });
            }
            Some(Ok(_)) => {
                gateway.metrics.denied(None, DenyReason::Overloaded);
                return goodbye(connection).await;
            }
            None | Some(Err(_)) => return,
        }
    }
}

/// Ends a connection that exceeded a bound.
async fn goodbye(mut connection: h2::server::Connection<Box<Socket>, Bytes>) {
    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
    let closing = async { while let Some(Ok(_)) = connection.accept().await {} };
    let _ = timeout(GOODBYE, closing).await;
}

async fn serve_one(gateway: &Gateway, stream: Http2Stream) -> Outcome {
    let mut session = Session::Http2(stream);
    let outcome = gateway.handle(&mut session).await;
    if let (false, Session::Http2(stream)) = (outcome.reusable, &mut session) {
        stream.abort();
    }
    outcome
}

/// Whether the head was malformed. A body is read for an API: one that ends early, as a cancelled upload does, is not meant.
fn is_malformed(outcome: &Outcome) -> bool {
    outcome.api.is_none() && outcome.reason == Some(DenyReason::RequestMalformed)
}
