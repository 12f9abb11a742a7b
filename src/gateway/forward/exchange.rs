//! The exchange that a permit allows: the request to the upstream, and the response back to the client.
//!
//! Forwarding takes a [`Permit`], so there is no way to write to an upstream without a decision.
//! Headers that identify the client are stripped in every spelling first, and set from the permit after.

use crate::gateway::observe::cut::Cut;
use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, StatusCode, Version};
use pingora_error::BError;
use pingora_http::{RequestHeader, ResponseHeader};
use smallvec::SmallVec;

use super::connection::{Connection, absolute_uri};
use super::http1_response::{BODY_READ, is_bodiless};
use super::upstream::Pool;
use crate::domain::decimal::digits;
use crate::domain::decision::{DenyReason, Permit};
use crate::domain::scope::ScopeSet;
use crate::gateway::read::body::Held;
use crate::gateway::read::client_facts::ClientFacts;
use crate::gateway::read::cors::CorsHeaders;
use crate::gateway::read::spelling::{after_prefix, is_spelt_alike, letters};
use crate::gateway::wire::http2_stream::WAITING_BYTES_MAX;
use crate::gateway::wire::session::Session;

/// Headers that concern one connection only (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [&str; 6] = [
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "http2-settings",
    "te",
];

const X_DECISION: HeaderName = HeaderName::from_static("x-portcullis-decision");
const X_SOURCE_ID: HeaderName = HeaderName::from_static("x-portcullis-source-id");
const X_WORKSPACE_ID: HeaderName = HeaderName::from_static("x-portcullis-workspace-id");
const X_APP_ID: HeaderName = HeaderName::from_static("x-portcullis-app-id");
const X_SCOPE: HeaderName = HeaderName::from_static("x-portcullis-scope");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What the request has that is not in the permit.
pub struct Origin<'a> {
    pub client: &'a ClientFacts,
    /// The scopes of the token that the permit rests on.
    pub scopes: Option<&'a ScopeSet>,
    /// Whether `Authorization` goes upstream.
    pub forward_authorization: bool,
}

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
    /// The upstream failed; nothing was sent to the client yet.
    Upstream(DenyReason),
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
        let mut connection = connected.map_err(Failed::Upstream)?;
        let request = request_header(permit, origin, session.req_header(), body.bytes(), &connection)
            .map_err(|_| Failed::Upstream(DenyReason::RequestMalformed))?;
        let method = request.method.clone();
        let exchange = async {
            connection.send(request, body.bytes()).await?;
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
                return Err(Failed::Upstream(failure.reason()));
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
    session
        .write_head(response, is_bodiless)
        .await
        .map_err(by_client)?;
    if !is_bodiless {
        while let Some(part) = next_part(&mut connection, session).await? {
            session.write_part(part).await.map_err(by_client)?;
        }
        session.write_last(Bytes::new()).await.map_err(by_client)?;
    }
    pool.release(connection).await;
    Ok(())
}

async fn next_part(connection: &mut Connection, session: &Session) -> Result<Option<Bytes>, Cut> {
    connection.response_body().await.map_err(|failure| {
        connection.failed(&failure);
        // The end of the connection would be the end of such a body.
        if session.req_header().version == Version::HTTP_10 {
            session.tear();
        }
        Cut::ByUpstream
    })
}

/// The header that goes upstream: the client's, without what concerns its connection or claims an
/// identity, and with what the permit says.
fn request_header(
    permit: &Permit,
    origin: &Origin<'_>,
    from: &RequestHeader,
    body: &Bytes,
    connection: &Connection,
) -> Result<RequestHeader, BError> {
    let (mut to, client) = (from.clone(), origin.client);
    let unwanted: SmallVec<[HeaderName; 8]> = from
        .headers
        .keys()
        .filter(|name| !is_forwarded(name, origin))
        .cloned()
        .collect();
    for name in &unwanted {
        to.remove_header(name);
    }
    if from.version == Version::HTTP_2 {
        to.set_raw_path(from.raw_path())?;
        to.insert_header(HOST, client.authority.clone())?;
    }
    if client.authority.is_empty() {
        to.insert_header(HOST, connection.host())?;
    }
    if !client.host.is_empty() {
        to.insert_header(X_FORWARDED_HOST, client.host.clone())?;
    }
    let had_body = from.headers.contains_key(CONTENT_LENGTH) || from.headers.contains_key(TRANSFER_ENCODING);
    if had_body || !body.is_empty() {
        to.insert_header(CONTENT_LENGTH, body.len())?;
    }
    to.insert_header(X_DECISION, HeaderValue::from_static(permit.mode().as_str()))?;
    if let Some(source) = permit.source() {
        to.insert_header(X_SOURCE_ID, source.id.as_str())?;
        to.insert_header(X_WORKSPACE_ID, source.workspace.as_str())?;
    }
    if let Some(app) = permit.app() {
        to.insert_header(X_APP_ID, app.id.as_str())?;
        to.insert_header(X_WORKSPACE_ID, app.workspace.as_str())?;
        if let Some(scopes) = origin.scopes {
            // A scope that the app no longer has was not checked, and does not count upstream either.
            to.insert_header(X_SCOPE, scopes.shared_with(&app.scopes).to_string())?;
        }
    }
    to.insert_header(X_REQUEST_ID, client.request_id.as_str())?;
    if let Some(forwarded_for) = &client.forwarded_for {
        to.insert_header(X_FORWARDED_FOR, forwarded_for.clone())?;
    }
    to.insert_header(X_FORWARDED_PROTO, HeaderValue::from_static(client.scheme()))?;
    let http2 = connection.is_http2();
    if http2 {
        let authority = match client.authority.to_str() {
            Ok(named) if !named.is_empty() => named,
            _ => connection.host(),
        };
        absolute_uri(&mut to, authority, connection.is_tls())?;
        to.remove_header(&HOST);
    }
    if from.version == Version::HTTP_2 && !http2 {
        join_cookies(&mut to)?;
    }
    to.set_version(if http2 { Version::HTTP_2 } else { Version::HTTP_11 });
    Ok(to)
}

/// HTTP/2 may split `Cookie`, HTTP/1.1 knows it once (RFC 9113 section 8.2.3).
fn join_cookies(request: &mut RequestHeader) -> Result<(), BError> {
    let all = request.headers.get_all(COOKIE).iter();
    let crumbs: Vec<&[u8]> = all.map(HeaderValue::as_bytes).collect();
    if crumbs.len() < 2 {
        return Ok(());
    }
    let joined = crumbs.join(b"; ".as_slice());
    request.insert_header(COOKIE, joined)
}

/// Whether a header of the client goes upstream as it came.
fn is_forwarded(name: &HeaderName, origin: &Origin<'_>) -> bool {
    if *name == http::header::AUTHORIZATION {
        return origin.forward_authorization;
    }
    let framing = [
        &CONNECTION,
        &TRANSFER_ENCODING,
        &CONTENT_LENGTH,
        &UPGRADE,
        &TE,
        &TRAILER,
        &EXPECT,
    ];
    let text = name.as_str();
    if framing.contains(&name) || HOP_BY_HOP.contains(&text) || is_ours(text) {
        return false;
    }
    // A server that maps headers to variables would take `Content_Length` for the length.
    let is_framing = |framing: &&HeaderName| is_spelt_alike(text, framing.as_str());
    let is_odd = text
        .bytes()
        .any(|byte| !byte.is_ascii_alphanumeric() && byte != b'-');
    !(is_odd && framing.iter().any(is_framing))
}

/// Whether a name, in any spelling that differs only in bytes that are neither letters nor digits, is one that we set, or one by which a client could tell the upstream
/// who it is or that another path was asked for than the one decided on.
fn is_ours(name: &str) -> bool {
    const OURS: [&str; 8] = [
        "x-request-id",
        "x-real-ip",
        "x-client-ip",
        "x-original-url",
        "x-original-uri",
        "x-original-host",
        "x-rewrite-url",
        "x-envoy-original-path",
    ];
    const PREFIXES: [&str; 2] = ["x-portcullis-", "x-forwarded-"];
    const OTHERS: [&str; 3] = ["forwarded", "true-client-ip", "cf-connecting-ip"];
    let is_one_of = |names: &[&str]| names.iter().any(|ours| is_spelt_alike(name, ours));
    match letters(name).next() {
        Some(b'x') => {
            let begins =
                |prefix: &&str| after_prefix(name, prefix).is_some_and(|rest| letters(rest).next().is_some());
            PREFIXES.iter().any(begins) || is_one_of(&OURS)
        }
        Some(b'c' | b'f' | b't') => is_one_of(&OTHERS),
        _ => false,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_our_names_is_ours() {
        for ours in [
            "x-portcullis-source-id",
            "x_portcullis_source_id",
            "x-portcullis_app-id",
            "x-portcullis-anything",
            "x-request-id",
            "x_request_id",
            "x-forwarded_for",
            "x_forwarded_proto",
            "x-forwarded-host",
            "x-forwarded-port",
            "x_forwarded-anything",
            "x-original_url",
            "x-rewrite-url",
            "x-real-ip",
            "x_client_ip",
            "x-original-uri",
            "x-original_host",
            "x-envoy-original-path",
            "true-client-ip",
            "true_client_ip",
            "cf-connecting_ip",
            "forwarded",
            "x.portcullis.source.id",
            "x~portcullis!source'id",
            "xportcullissourceid",
            "-x-forwarded-for",
            "x.request.id",
            "x..real..ip",
            "for.warded",
        ] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in [
            "x-portcullis",
            "x-forwarded",
            "host",
            "x-request-ids",
            "xx-request-id",
            "client-ip",
            "cf-connecting-ips",
            "traceparent",
        ] {
            assert!(!is_ours(other), "{other}");
        }
    }
}
