//! The exchange that a permit allows: the request to the upstream, and the response back to the client.
//!
//! Forwarding takes a [`Permit`], so there is no way to write to an upstream without a decision.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, StatusCode, Version};
use pingora_http::{RequestHeader, ResponseHeader};

use super::connection::{Connection, Head};
use super::http1_response::{BODY_READ, is_bodiless};
pub use super::request_head::Origin;
use super::request_head::{self, HOP_BY_HOP};
use super::upstream::Pool;
use crate::domain::decimal::digits;
use crate::domain::decision::{DenyReason, Permit};
use crate::gateway::observe::cut::Cut;
use crate::gateway::read::body::Held;
use crate::gateway::read::cors::CorsHeaders;
use crate::gateway::wire::http2_stream::WAITING_BYTES_MAX;
use crate::gateway::wire::session::Session;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A response whose head has come.
pub struct Answered {
    connection: Connection,
    response: ResponseHeader,
}

impl Answered {
    /// The status that the client will be sent.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.response.status.as_u16()
    }

    /// The server that responds.
    #[must_use]
    pub fn server(&self) -> SocketAddr {
        self.connection.address()
    }

    /// The most bytes of the response that wait at one time for a client that reads slowly: its codec's, a part that is
    /// being written, and the next one. A response that is known to be shorter is counted by its length.
    #[must_use]
    pub fn waiting_bytes_max(&self) -> usize {
        const ALL: usize = WAITING_BYTES_MAX + 2 * BODY_READ;
        let length = self.response.headers.get(CONTENT_LENGTH);
        let length = length.and_then(|length| digits(length.to_str().ok()?));
        length.map_or(ALL, |length: usize| length.min(ALL))
    }
}

/// Why there is no response.
#[derive(Clone, Copy, Debug)]
pub enum Failed {
    /// The upstream failed; nothing was sent to the client yet. The server is the one that the request was sent to.
    Upstream(DenyReason, Option<SocketAddr>),
    /// The client has reset its request: no response is due.
    ClientGone,
}

/// Sends the whole request upstream and waits for the head of its response.
///
/// # Errors
/// [`Failed`], with nothing sent to the client.
pub async fn send(
    permit: &Permit,
    origin: &Origin<'_>,
    session: &mut Session,
    body: &Held,
    pool: &Pool,
) -> Result<Answered, Failed> {
    let mut is_repeated = false;
    loop {
        let connecting = pool.connect(is_repeated);
        let connected = connecting.await.map_err(|failure| failure.reason());
        let mut connection = connected.map_err(|reason| Failed::Upstream(reason, None))?;
        let server = Some(connection.address());
        let length = body.bytes().len();
        let head = match connection.is_http2() {
            false => Head::Http1(request_head::http1(permit, origin, session, length, &connection)),
            true => request_head::http2(permit, origin, session.req_header(), length, &connection)
                .map(|head| Head::Http2(Box::new(head)))
                .map_err(|_| Failed::Upstream(DenyReason::RequestMalformed, server))?,
        };
        let method = session.req_header().method.clone();
        let exchange = async {
            connection.send(head, body.bytes()).await?;
            connection.final_head(&method).await
        };
        // The work for a stream that was reset must end, or its client could open the next at once, and the next,
        // and have the work of all of them done.
        let response = tokio::select! {
            biased;
            response = exchange => response,
            () = session.reset() => return Err(Failed::ClientGone),
        };
        match response {
            Ok(response) => return Ok(Answered { connection, response }),
            Err(failure)
                if !is_repeated
                    && connection.may_have_been_closed_unused(&failure)
                    && may_repeat(session.req_header()) =>
            {
                is_repeated = true;
            }
            Err(failure) => {
                connection.failed(&failure);
                return Err(Failed::Upstream(failure.reason(), server));
            }
        }
    }
}

/// Whether a request may be sent a second time, on a new connection, after its server closed a kept one without a byte
/// of a response.
///
/// The server may have acted on it all the same, and RFC 9110 section 9.2.2 forbids a proxy to repeat a request then
/// unless that does no harm: its method is idempotent, or its client made it so by an idempotency key. So do nginx and
/// Go. Any other request gets 502, and its client decides.
#[must_use]
pub fn may_repeat(request: &RequestHeader) -> bool {
    let is_idempotent = matches!(
        request.method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
    );
    is_idempotent || request.headers.contains_key(IDEMPOTENCY_KEY)
}

/// Passes the response on.
///
/// # Errors
/// [`Cut`]: the client's connection must end here, so that what it got is not taken for the whole.
pub async fn relay(
    answered: Answered,
    session: &mut Session,
    request_id: &str,
    pool: &Pool,
    cors: Option<&CorsHeaders>,
) -> Result<(), Cut> {
    let Answered {
        mut connection,
        mut response,
    } = answered;
    let is_bodiless = is_bodiless(&session.req_header().method, response.status);
    clean_response(&mut response, session);
    // In place of the upstream's own: client, log and upstream name the request alike.
    let _ = response.insert_header(X_REQUEST_ID, request_id);
    let by_client = |_| Cut::ByClient;
    if let Some(cors) = cors {
        cors.apply(&mut response).map_err(by_client)?;
    }
    let lines = connection.take_lines();
    session
        .write_head(response, &lines, is_bodiless)
        .map_err(by_client)?;
    if !is_bodiless {
        if !connection.has_part() {
            // The client learns of the response at once, however long its body takes.
            session.flush().await.map_err(by_client)?;
        }
        while let Some(part) = next_part(&mut connection, session).await? {
            session.write_part(part).await.map_err(by_client)?;
        }
    }
    session.write_last(Bytes::new()).await.map_err(by_client)?;
    pool.release(connection).await;
    Ok(())
}

async fn next_part(connection: &mut Connection, session: &mut Session) -> Result<Option<Bytes>, Cut> {
    let failure = match connection.response_body().await {
        Ok(part) => return Ok(part),
        Err(failure) => failure,
    };
    connection.failed(&failure);
    // The client receives what came, and sees that it is not the whole.
    let _ = session.flush().await;
    // The end of the connection would be the end of such a body.
    if session.req_header().version == Version::HTTP_10 {
        session.tear();
    }
    Err(Cut::ByUpstream)
}

/// Removes what concerns the upstream's connection, and sets how the body is framed to the client.
fn clean_response(response: &mut ResponseHeader, session: &Session) {
    for nominated in nominated(&response.headers) {
        response.remove_header(&nominated);
    }
    for name in HOP_BY_HOP {
        // Proxy authentication of an upstream concerns this gateway alone; the rest is per hop.
        response.remove_header(name);
    }
    for name in [&CONNECTION, &UPGRADE, &TRAILER, &TRANSFER_ENCODING] {
        response.remove_header(name);
    }
    let request = session.req_header();
    let bodiless = is_bodiless(&request.method, response.status);
    if response.status == StatusCode::NO_CONTENT {
        // Over HTTP/2 it came unchecked.
        response.remove_header(&CONTENT_LENGTH);
    }
    if request.version == Version::HTTP_11 && !bodiless && !response.headers.contains_key(CONTENT_LENGTH) {
        // A body of unknown length: chunked keeps the client's connection usable.
        let _ = response.insert_header(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    response.set_version(Version::HTTP_11);
}

fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let options = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok());
    options
        .flat_map(|value| value.split(','))
        .filter_map(|option| HeaderName::from_bytes(option.trim().as_bytes()).ok())
        .filter(|name| !matches!(name.as_str(), "close" | "keep-alive" | "content-length"))
        .collect()
}
