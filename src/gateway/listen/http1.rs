//! An HTTP/1 connection: one request after the other, each read as bytes first and served after.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::header::EXPECT;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_timeout::timeout;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt};

use crate::connections::Connection;
use crate::domain::decision::DenyReason;
use crate::gateway::forward::respond::Answer;
use crate::gateway::read::raw_head;
use crate::gateway::read::raw_head::{HeadOutcome, HeadPosition, RawHead};
use crate::gateway::serve::current::CurrentGateway;
use crate::gateway::serve::request::Gateway;
use crate::gateway::wire::chunks::Chunks;
use crate::gateway::wire::socket::Socket;

/// How much is read away behind a refusal, so that the client gets to see it and not a reset.
const LINGER_BYTES_MAX: usize = 1 << 20;

/// And for how long.
const LINGER_FOR: Duration = Duration::from_secs(2);

/// The same where the bytes can be had one by one only.
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
    let mut is_first = true;
    loop {
        let gateway = app.current();
        let awaited = match (is_first, may_be_http2) {
            (true, true) => HeadPosition::FirstOrHttp2,
            (true, false) => HeadPosition::First,
            (false, _) => HeadPosition::Next,
        };
        is_first = false;
        match raw_head::read(
            &mut stream,
            deadline.as_mut(),
            &gateway.limits,
            awaited,
            connection,
        )
        .await
        {
            Ok(head) => {
                // None where the connection was evicted in this moment: the client hears the end, and nothing was
                // begun.
                let request = connection.begin_request()?;
                // Settings may have changed while the head was waited for. From here on they stay for this
                // request.
                stream = Box::pin(serve_one(&app.current(), stream, head)).await?;
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

/// Serves one request. Gives the connection back where it may serve another.
async fn serve_one(gateway: &Gateway, stream: Stream, head: RawHead) -> Option<Stream> {
    let is_chunked = head.is_chunked;
    let mut session = session_of(stream, head);
    let idle = gateway.limits.idle_timeout.as_secs().max(1);
    session.set_keepalive(Some(idle));
    session.set_abort_on_close(false);
    // The whole body has one deadline.
    session.set_read_timeout(None);
    session.set_write_timeout(Some(gateway.limits.body_timeout));
    // The head is there: this parses it and reads nothing.
    match timeout(LINGER_FOR, session.read_request()).await {
        Ok(Ok(true)) => {}
        // The error holds the bytes that were read, credentials among them: it is not logged.
        _ => {
            gateway
                .refuse_head(&mut session, DenyReason::RequestMalformed)
                .await;
            end(&mut session).await;
            return None;
        }
    }
    // A denied body is read away within bounds, and then the connection is as good as before. But a client that
    // waits to be asked for its body may keep it and go on, and what it sends next would be read away.
    let waits = session.get_header(EXPECT).is_some();
    session.set_close_on_response_before_downstream_finish(waits);
    if !gateway.handle(&mut session).await {
        if matches!(&session, ServerSession::H1(session) if Socket::is_torn(session)) {
            return None;
        }
        end(&mut session).await;
        return None;
    }
    // Nearly always there is nothing left to be written.
    let finishing = timeout(gateway.limits.body_timeout, session.finish());
    let (stream, _) = finishing.await.ok()?.ok()??.into_parts();
    if !is_chunked {
        return Some(stream);
    }
    let chunks = stream.into_any().downcast::<Chunks>().ok()?;
    chunks.into_stream()
}

/// A session whose parser finds the head read already.
fn session_of(stream: Stream, head: RawHead) -> ServerSession {
    let RawHead {
        mut bytes,
        length,
        is_chunked,
    } = head;
    let stream = match is_chunked {
        true => Box::new(Chunks::new(stream, bytes.split_off(length))),
        false => stream,
    };
    let mut session = ServerSession::new_http1(stream);
    session.set_pipelined_prefix(bytes);
    session
}

/// Answers what never became a request.
async fn refuse(gateway: &Gateway, mut stream: Stream, reason: DenyReason, host: &str) {
    gateway.metrics.denied(None, reason);
    let request_id = gateway.request_ids.next();
    let answer = Answer {
        form: gateway.error_form(host.as_bytes()),
        ..Answer::new(reason, &request_id)
    };
    let answering = async {
        stream.write_all(&answer.to_http1()).await?;
        stream.flush().await?;
        AsyncWriteExt::shutdown(&mut stream).await?;
        let mut away = [0_u8; 16 * 1024];
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            match stream.read(&mut away).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        std::io::Result::Ok(())
    };
    // Whether the client took it or not, this is the end.
    let _ = timeout(LINGER_FOR, answering).await;
}

/// Closes a connection behind its last answer, in order and within bounds: what is still to be written goes
/// before the close, and a client that reads nothing lets nothing go.
async fn end(session: &mut ServerSession) {
    if timeout(LINGER_FOR, session.shutdown()).await.is_ok() {
        linger(session).await;
    }
}

/// Reads on for a moment behind the last answer: a connection closed with bytes unread is reset, and the
/// answer may be lost with it.
async fn linger(session: &mut ServerSession) {
    let ServerSession::H1(session) = session else {
        return;
    };
    let reading = async {
        for _ in 0..LINGER_STEPS_MAX {
            if !matches!(session.idle().await, Ok(1..)) {
                return;
            }
        }
    };
    let _ = timeout(LINGER_FOR, reading).await;
}
