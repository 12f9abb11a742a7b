//! An HTTP/1 connection: one request after the other, each read as bytes first and served after.
//!
//! Requests may be pipelined (RFC 9112 section 9.3.2): what was read behind one is the beginning of the next. They are
//! served one at a time, in order. At most one read's bytes wait; the rest waits in the kernel.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use http::header::HOST;
use pingora_timeout::timeout;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt};

use crate::config::Limits;
use crate::connections::Connection;
use crate::domain::decision::DenyReason;
use crate::gateway::forward::respond::Answer;
use crate::gateway::read::absolute_form::to_origin_form;
use crate::gateway::read::raw_head;
use crate::gateway::read::raw_head::{HeadOutcome, HeadPosition, RawHead};
use crate::gateway::serve::current::CurrentGateway;
use crate::gateway::serve::request::Gateway;
use crate::gateway::wire::http1_stream::Http1Stream;
use crate::gateway::wire::session::Session;
use crate::gateway::wire::socket::Socket;

/// How many bytes are discarded behind a rejection, so that the client receives it before the connection is reset.
const LINGER_BYTES_MAX: usize = 1 << 20;

/// How long bytes are discarded behind a rejection.
const LINGER_FOR: Duration = Duration::from_secs(2);

/// A connection that turned out to speak HTTP/2, and what was read from it.
pub struct SpeaksHttp2(pub Box<Socket>, pub BytesMut);

/// Serves a connection to its end.
pub(crate) async fn serve(
    app: &CurrentGateway,
    connection: &Arc<Connection>,
    mut socket: Box<Socket>,
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
            &mut socket,
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
                (socket, read) = Box::pin(serve_one(&app.current(), socket, head)).await?;
                skip_empty_line(&mut read);
                awaited = HeadPosition::Next;
                drop(request);
            }
            Err(HeadOutcome::Silence) => return None,
            Err(HeadOutcome::Http2(read)) => return Some(SpeaksHttp2(socket, read)),
            Err(HeadOutcome::Refused { reason, host }) => {
                let _request = connection.begin_request()?;
                refuse(&gateway, socket, reason, &host).await;
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
    pub(crate) socket: Box<Socket>,
    pub(crate) reason: DenyReason,
    /// The value of `Host`, or nothing.
    pub(crate) host: String,
}

/// Parses a head that was read, into a request in origin-form.
pub(crate) fn parsed(
    socket: Box<Socket>,
    raw: RawHead,
    limits: &Limits,
) -> Result<Http1Stream, Box<Unreadable>> {
    let (reason, host) = match raw_head::parse(raw.head) {
        Ok((mut request, lines)) => match to_origin_form(&mut request) {
            Ok(()) => {
                let head = (request, lines);
                return Ok(Http1Stream::new(socket, raw.behind, head, limits.body_timeout));
            }
            Err(reason) => {
                let host = request.headers.get(HOST).and_then(|host| host.to_str().ok());
                (reason, host.unwrap_or_default().to_owned())
            }
        },
        Err(reason) => (reason, String::new()),
    };
    Err(Box::new(Unreadable { socket, reason, host }))
}

/// Serves one request. Returns the connection and what was read behind the request, where it may serve another.
async fn serve_one(gateway: &Gateway, socket: Box<Socket>, raw: RawHead) -> Option<(Box<Socket>, BytesMut)> {
    let stream = match parsed(socket, raw, &gateway.limits) {
        Ok(stream) => stream,
        Err(unreadable) => {
            let Unreadable { socket, reason, host } = *unreadable;
            refuse(gateway, socket, reason, &host).await;
            return None;
        }
    };
    let mut session = Session::Http1(stream);
    let is_reusable = gateway.handle(&mut session).await.reusable;
    let Session::Http1(stream) = session else {
        return None;
    };
    let socket = match stream.finish() {
        Ok(kept) if is_reusable => return Some(kept),
        Ok((socket, _)) | Err(socket) => socket,
    };
    if !socket.is_torn() {
        end(socket).await;
    }
    None
}

/// Responds to what never became a request, and closes the connection.
async fn refuse(gateway: &Gateway, mut socket: Box<Socket>, reason: DenyReason, host: &str) {
    let request_id = gateway.request_ids.next();
    gateway.record_unreadable(reason, &request_id, socket.client().ip());
    let answer = Answer {
        form: gateway.error_form(host.as_bytes()),
        ..Answer::new(reason, &request_id)
    };
    let wire = answer.to_http1();
    if let Ok(Ok(())) = timeout(LINGER_FOR, socket.write_all(&wire)).await {
        end(socket).await;
    }
}

/// Closes a connection behind its last response, within bounds: buffered bytes are written before the close, a client
/// that reads nothing cannot hold the connection open, and one that still sends receives the response. A connection
/// that is closed with bytes unread is reset, and the response may be lost with it.
async fn end(mut socket: Box<Socket>) {
    let ending = async {
        socket.flush().await?;
        AsyncWriteExt::shutdown(&mut socket).await?;
        let mut discarded = [0_u8; 16 * 1024];
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            match socket.read(&mut discarded).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        std::io::Result::Ok(())
    };
    // Whether the client received it or not, the connection ends.
    let _ = timeout(LINGER_FOR, ending).await;
}
