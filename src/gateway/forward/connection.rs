//! One exchange with an upstream server: the request out in one write, the response back in parts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{Method, Uri};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::client::HttpSession as ClientSession;
use pingora_error::{BError, Error, ErrorType};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_timeout::timeout;
use tokio::io::AsyncWriteExt as _;

use super::failure::Failure;
use super::http1_response::{Http1Response, keep_one_length};
use super::upstream_server::UpstreamServer;
use crate::config::Timeouts;
use crate::gateway::wire::head_lines::HeadLines;

/// How long the response of a server that did not take the whole request is waited for: it has been sent, or
/// will not be.
const RESPONSE_TO_A_PART: Duration = Duration::from_secs(1);

/// A body up to this size is copied behind the head, in bytes.
const JOINED_MAX: usize = 8 << 10;

/// The head of a request, in the version of its connection.
pub enum Head {
    Http1(BytesMut),
    Http2(Box<RequestHeader>),
}

/// A connection to one server of a pool, for one exchange.
pub struct Connection {
    pub(super) server: Arc<UpstreamServer>,
    pub(super) link: Link,
    timeouts: Timeouts,
    /// Whether an earlier request went over it.
    is_reused: bool,
    /// The server did not take the whole request. It may have responded all the same, and then closed.
    pub(super) is_cut_short: bool,
}

/// A connection by protocol, and by how far its exchange is.
pub(super) enum Link {
    /// HTTP/1.1, nothing sent yet.
    Fresh(Stream),
    /// HTTP/1.1, request sent.
    Http1(Box<Http1Response>),
    Http2(Box<ClientSession>),
    /// Failed.
    Gone,
}

impl Connection {
    pub(super) fn new(server: Arc<UpstreamServer>, link: Link, timeouts: Timeouts, is_reused: bool) -> Self {
        Self {
            server,
            link,
            timeouts,
            is_reused,
            is_cut_short: false,
        }
    }

    /// Whether the server is spoken to in HTTP/2.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        matches!(self.link, Link::Http2(_))
    }

    /// Whether the server is spoken to over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.server.peer.is_tls()
    }

    /// The server's address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// The server's own name and port, for a request whose client named no host.
    #[must_use]
    pub fn host(&self) -> &str {
        self.server.host()
    }

    /// Sends a whole request, whose head is in the version of this connection. A server that takes only a part of it may have responded: its response is read then
    /// as always.
    ///
    /// # Errors
    /// The request cannot be sent at all.
    pub async fn send(&mut self, head: Head, body: &Bytes) -> Result<(), Failure> {
        match (std::mem::replace(&mut self.link, Link::Gone), head) {
            (Link::Fresh(mut stream), Head::Http1(head)) => {
                self.is_cut_short = !write_http1(&mut stream, head, body, self.timeouts.write).await;
                self.link = Link::Http1(Box::new(Http1Response::new(stream, self.timeouts.read)));
            }
            (Link::Http2(mut session), Head::Http2(head)) => {
                session.set_write_timeout(Some(self.timeouts.write));
                let written = session.write_request_header(head).await;
                written.map_err(|error| self.http2_failure(&error))?;
                self.is_cut_short = send_http2_body(&mut session, body).await.is_err();
                self.link = Link::Http2(session);
            }
            (used, _) => self.link = used,
        }
        Ok(())
    }

    /// Reads the final response's head. Interim responses belong to the connection they came on.
    ///
    /// # Errors
    /// The server sent something else, nothing in time, or closed.
    pub async fn final_head(&mut self, method: &Method) -> Result<ResponseHeader, Failure> {
        // All that comes before it counts, too.
        let time = match self.is_cut_short {
            true => self.timeouts.read.min(RESPONSE_TO_A_PART),
            false => self.timeouts.read,
        };
        timeout(time, self.read_final_head(method))
            .await
            .unwrap_or_else(|_| Err(Failure::ResponseTimedOut(time)))
    }

    async fn read_final_head(&mut self, method: &Method) -> Result<ResponseHeader, Failure> {
        loop {
            let head = match &mut self.link {
                Link::Http1(response) => response.head(method).await?,
                Link::Http2(session) => {
                    session.set_read_timeout(Some(self.timeouts.read));
                    let read = session.read_response_header().await;
                    let head = session.response_header().cloned();
                    read.map_err(|error| self.http2_failure(&error))?;
                    let mut head = head.ok_or(Failure::Closed)?;
                    keep_one_length(&mut head)?;
                    head
                }
                Link::Fresh(_) | Link::Gone => return Err(Failure::Closed),
            };
            if head.status == http::StatusCode::SWITCHING_PROTOCOLS {
                return Err(Failure::Malformed("it changes the protocol without an offer"));
            }
            if !head.status.is_informational() {
                return Ok(head);
            }
        }
    }

    /// Takes the header lines of the final response as the server spelled them. None of them over HTTP/2.
    pub(super) fn take_lines(&mut self) -> HeadLines {
        match &mut self.link {
            Link::Http1(response) => response.take_lines(),
            Link::Http2(_) | Link::Fresh(_) | Link::Gone => HeadLines::default(),
        }
    }

    /// Whether the next part of the response's body, or its end, is there already.
    #[must_use]
    pub fn has_part(&self) -> bool {
        match &self.link {
            Link::Http1(response) => response.has_part(),
            Link::Http2(_) => false,
            Link::Fresh(_) | Link::Gone => true,
        }
    }

    /// Reads the next part of the response's body, `None` at its end.
    ///
    /// # Errors
    /// The server stopped before the end.
    pub async fn response_body(&mut self) -> Result<Option<Bytes>, Failure> {
        match &mut self.link {
            Link::Http1(response) => response.part().await,
            Link::Http2(session) => session.read_response_body().await.map_err(|_| Failure::BrokeOff),
            Link::Fresh(_) | Link::Gone => Ok(None),
        }
    }

    /// Whether a failed exchange can be what a server leaves that closes an unused connection just as a request
    /// arrives: the connection was used before, and not a byte of a response came.
    #[must_use]
    pub fn may_have_been_closed_unused(&self, failure: &Failure) -> bool {
        let has_begun = match &self.link {
            Link::Http1(response) => response.has_begun(),
            Link::Http2(_) => true,
            Link::Fresh(_) | Link::Gone => false,
        };
        self.is_reused && !has_begun && matches!(failure, Failure::Closed | Failure::Reset)
    }

    /// Notes that the exchange failed, for the state of the server.
    pub fn failed(&self, failure: &Failure) {
        self.server.failed(failure);
    }

    fn http2_failure(&self, error: &BError) -> Failure {
        Failure::of_http2(error, self.timeouts.read)
    }
}

async fn send_http2_body(session: &mut ClientSession, body: &Bytes) -> Result<(), BError> {
    if !body.is_empty() {
        session.write_request_body(body.clone(), true).await?;
    }
    session.finish_request_body().await
}

/// Puts head and body on the wire in one write: one call into the kernel, and one wake-up at the server. Returns
/// whether all of it was taken.
pub(super) async fn write_http1(
    stream: &mut Stream,
    mut head: BytesMut,
    body: &Bytes,
    within: Duration,
) -> bool {
    let writing = async {
        if body.len() <= JOINED_MAX {
            head.extend_from_slice(body);
            stream.write_all(&head).await?;
        } else {
            let mut wire = head.freeze().chain(body.clone());
            stream.write_all_buf(&mut wire).await?;
        }
        stream.flush().await
    };
    matches!(timeout(within, writing).await, Ok(Ok(())))
}

/// Names the target of an HTTP/2 request by scheme and authority.
///
/// # Errors
/// The path and host do not form a URI.
pub fn absolute_uri(request: &mut RequestHeader, host: &str, tls: bool) -> Result<(), BError> {
    let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
    let uri = Uri::builder()
        .scheme(if tls { "https" } else { "http" })
        .authority(host)
        .path_and_query(path)
        .build()
        .map_err(|_| Error::explain(ErrorType::InvalidHTTPHeader, "the target is no URI"))?;
    request.set_uri(uri);
    Ok(())
}
