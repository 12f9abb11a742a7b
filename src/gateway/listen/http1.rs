//! An HTTP/1 connection: one request after the other, each read as bytes first and served after.
//!
//! Requests may be pipelined (RFC 9112 section 9.3.2): what was read behind one is the beginning of the next. They are
//! served one at a time, in order. At most one read's bytes wait; the rest waits in the kernel.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use http::header::{EXPECT, HOST};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v1::server::HttpSession;
use pingora_timeout::timeout;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt};

use crate::connections::Connection;
use crate::domain::decision::DenyReason;
use crate::gateway::forward::respond::Answer;
use crate::gateway::read::absolute_form::to_origin_form;
use crate::gateway::read::raw_head;
use crate::gateway::read::raw_head::{HeadOutcome, HeadPosition, RawHead};
use crate::gateway::serve::current::CurrentGateway;
use crate::gateway::serve::request::Gateway;
use crate::gateway::wire::chunks::Chunks;
use crate::gateway::wire::session::{Reusable, Session, finish_http1};
use crate::gateway::wire::socket::Socket;

/// How many bytes are discarded behind a rejection, so that the client receives it before the connection is reset.
const LINGER_BYTES_MAX: usize = 1 << 20;

/// How long bytes are discarded behind a rejection.
const LINGER_FOR: Duration = Duration::from_secs(2);

/// How many bytes are discarded where they are read one at a time.
const LINGER_STEPS_MAX: usize = 16 * 1024;

/// A connection that turned out to speak HTTP/2, and what was read from it.
pub struct SpeaksHttp2(pub Stream, pub BytesMut);

/// Serves a connection to its end.
pub(crate) async fn serve(
    app: &CurrentGateway,
    connection: &Arc<Connection>,
    mut stream: Stream,
    may_be_http2: bool,
) -> Option<SpeaksHttp2> {
    let mut deadline = pin!(tokio::time::sleep(app.current().limits.header_timeout));
    let mut awaited = match may_be_http2 {
        true => HeadPosition::FirstOrHttp2,
        false => HeadPosition::First,
    };
    let mut read = BytesMut::new();
    loop {
        let gateway = app.current();
        let head = raw_head::read(
            &mut stream,
            read,
            deadline.as_mut(),
            &gateway.limits,
            awaited,
            connection,
        );
        match head.await {
            Ok(head) => {
                // `None` where the connection was evicted at this moment: the client sees it end, and no request
                // has begun.
                let request = connection.begin_request()?;
                // Settings may have changed while the head was awaited. From here on they stay for this
                // request.
                let next = Box::pin(serve_one(&app.current(), stream, head)).await?;
                (stream, read) = (next.stream, next.read);
                skip_empty_line(&mut read);
                awaited = HeadPosition::Next;
                drop(request);
            }
            Err(HeadOutcome::Silence) => return None,
            Err(HeadOutcome::Http2(read)) => return Some(SpeaksHttp2(stream, read)),
            Err(HeadOutcome::Refused { reason, host }) => {
                let _request = connection.begin_request()?;
                refuse(&gateway, stream, reason, &host).await;
                return None;
            }
        }
    }
}

/// Drops an empty line behind a request, which old clients send and which begins no request (RFC 9112 section 2.2).
fn skip_empty_line(read: &mut BytesMut) {
    if read.as_ref() == b"\r\n" {
        read.advance(2);
    }
}

/// A head that was read and is no request, and where to answer it.
pub(crate) struct Unreadable {
    pub(crate) stream: Stream,
    pub(crate) reason: DenyReason,
    /// The value of `Host`, or nothing.
    pub(crate) host: String,
}

/// Parses a head that was read, into a session in origin-form.
pub(crate) async fn parsed(stream: Stream, head: RawHead) -> Result<HttpSession, Box<Unreadable>> {
    let mut session = session_of(stream, head);
    // The head was read: this parses it and reads nothing.
    let parsed = timeout(LINGER_FOR, session.read_request()).await;
    let (reason, host) = match parsed {
        Ok(Ok(Some(_))) => match to_origin_form(session.req_header_mut()) {
            Ok(()) => return Ok(session),
            Err(reason) => {
                let host = session.get_header(HOST).and_then(|host| host.to_str().ok());
                (reason, host.unwrap_or_default().to_owned())
            }
        },
        // The error holds the bytes that were read, credentials among them: it is not logged.
        _ => (DenyReason::RequestMalformed, String::new()),
    };
    let stream = session.into_inner();
    Err(Box::new(Unreadable { stream, reason, host }))
}

/// Serves one request. Returns the connection where it may serve another.
async fn serve_one(gateway: &Gateway, stream: Stream, head: RawHead) -> Option<Reusable> {
    let is_chunked = head.is_chunked;
    let mut session = match parsed(stream, head).await {
        Ok(session) => session,
        Err(unreadable) => {
            let Unreadable { stream, reason, host } = *unreadable;
            refuse(gateway, stream, reason, &host).await;
            return None;
        }
    };
    session.set_pipelining_enabled(true);
    session.set_abort_on_close(false);
    // The whole body has one deadline.
    session.set_read_timeout(None);
    session.set_write_timeout(Some(gateway.limits.body_timeout));
    // A denied body is discarded within bounds, and the connection stays usable. But a client that waits for
    // `100 Continue` may keep its body and send the next request, which would be discarded in its place.
    let waits = session.get_header(EXPECT).is_some();
    session.set_close_on_response_before_downstream_finish(waits);
    let mut session = Session::Http1(session);
    let is_reusable = gateway.handle(&mut session).await.reusable;
    let Session::Http1(mut session) = session else {
        return None;
    };
    if !is_reusable {
        if !Socket::is_torn(&session) {
            end(&mut session).await;
        }
        return None;
    }
    let reusable = finish_http1(session, gateway.limits.body_timeout).await?;
    if !is_chunked {
        return Some(reusable);
    }
    let chunks = reusable.stream.into_any().downcast::<Chunks>().ok()?;
    let (stream, read) = chunks.into_parts(reusable.read)?;
    Some(Reusable { stream, read })
}

/// A session whose parser finds the head read already.
fn session_of(stream: Stream, head: RawHead) -> HttpSession {
    let RawHead {
        mut bytes,
        length,
        is_chunked,
    } = head;
    let stream = match is_chunked {
        true => Box::new(Chunks::new(stream, bytes.split_off(length))),
        false => stream,
    };
    let mut session = HttpSession::new(stream);
    session.set_pipelined_prefix(bytes);
    session
}

/// Responds to what never became a request, and closes the connection.
async fn refuse(gateway: &Gateway, mut stream: Stream, reason: DenyReason, host: &str) {
    gateway.metrics.denied(None, reason);
    gateway.metrics.responded(None, reason.status(), false);
    let request_id = gateway.request_ids.next();
    let answer = Answer {
        form: gateway.error_form(host.as_bytes()),
        ..Answer::new(reason, &request_id)
    };
    let answering = async {
        stream.write_all(&answer.to_http1()).await?;
        stream.flush().await?;
        AsyncWriteExt::shutdown(&mut stream).await?;
        let mut discarded = [0_u8; 16 * 1024];
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            match stream.read(&mut discarded).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        std::io::Result::Ok(())
    };
    // Whether the client received it or not, the connection ends.
    let _ = timeout(LINGER_FOR, answering).await;
}

/// Closes a connection behind its last response, within bounds: buffered bytes are written before the close, and a
/// client that reads nothing cannot hold the connection open.
async fn end(session: &mut HttpSession) {
    if timeout(LINGER_FOR, session.shutdown()).await.is_ok() {
        linger(session).await;
    }
}

/// Reads on briefly behind the last response: a connection closed with bytes unread is reset, and the response may
/// be lost with it.
async fn linger(session: &mut HttpSession) {
    let reading = async {
        for _ in 0..LINGER_STEPS_MAX {
            if !matches!(session.idle().await, Ok(1..)) {
                return;
            }
        }
    };
    let _ = timeout(LINGER_FOR, reading).await;
}
