//! A permit, and what it is for: the request that goes upstream, and the response that comes back.
//!
//! Forwarding takes a [`Permit`], so there is no way to write to an upstream without a decision.
//! Headers that identify somebody are stripped in every spelling first and set from the permit after.

use crate::gateway::observe::cut::Cut;
use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, StatusCode, Version};
use pingora_core::protocols::http::ServerSession;
use pingora_error::{BError, Error, ErrorType};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_timeout::timeout;
use smallvec::SmallVec;

use super::respond;
use super::upstream::{Connection, Pool, absolute_uri};
use crate::domain::decision::{DenyReason, Permit};
use crate::domain::scope::ScopeSet;
use crate::gateway::read::body::Held;
use crate::gateway::read::client_facts::ClientFacts;
use crate::gateway::read::cors::CorsHeaders;
use crate::gateway::read::spelling::{after_prefix, is_spelt_alike, letters};
use crate::gateway::wire::socket::Socket;

/// Headers that concern one connection only (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [&str; 5] = [
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
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

/// What the request brought along that is not in the permit.
pub struct Origin<'a> {
    pub client: &'a ClientFacts,
    /// The scopes of the token that the permit rests on.
    pub scopes: Option<&'a ScopeSet>,
    /// Whether `Authorization` goes upstream.
    pub forward_authorization: bool,
}

/// An upstream that has taken the whole request and begun to answer.
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
}

/// Why there is no response.
#[derive(Clone, Copy, Debug)]
pub enum Failed {
    /// The upstream's fault; the client was sent nothing yet.
    Upstream(DenyReason),
    /// The client has taken its request back, and there is nobody to answer.
    ClientGone,
}

/// Sends the request upstream, whole, and waits for the head of its response.
///
/// # Errors
/// [`Failed`], with nothing sent to the client.
pub async fn send(
    permit: &Permit,
    origin: &Origin<'_>,
    session: &mut ServerSession,
    body: &Held,
    pool: &Pool,
) -> Result<Answered, Failed> {
    let failed = |error: BError| Failed::Upstream(reason_of(&error));
    let mut connection = pool.connect().await.map_err(failed)?;
    let request = request_header(permit, origin, session.req_header(), body.bytes(), &connection)
        .map_err(|_| Failed::Upstream(DenyReason::RequestMalformed))?;
    let exchange = async {
        connection.send(request, body.bytes()).await?;
        let within = connection.head_within();
        timeout(within, final_head(&mut connection))
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorType::ReadTimedout)))
    };
    // A stream that was reset must not go on in the background: its client may open the next at once, and
    // the next, and have us do the work of all of them.
    let response = match session.watch_h2_stream_close() {
        None => exchange.await,
        Some(closed) => tokio::select! {
            biased;
            response = exchange => response,
            _ = closed => return Err(Failed::ClientGone),
        },
    };
    let response = response.map_err(failed)?;
    Ok(Answered { connection, response })
}

/// Passes the response on.
///
/// # Errors
/// [`Cut`]: the client's connection must end here, so that what it got is not taken for the whole.
pub async fn relay(
    answered: Answered,
    session: &mut ServerSession,
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
    respond::write_head(session, response, is_bodiless)
        .await
        .map_err(by_client)?;
    if !is_bodiless {
        while let Some(part) = next_part(&mut connection, session).await? {
            session
                .write_response_body(part, false)
                .await
                .map_err(by_client)?;
        }
        respond::write_last(session, Bytes::new())
            .await
            .map_err(by_client)?;
    }
    pool.release(connection).await;
    Ok(())
}

async fn next_part(connection: &mut Connection, session: &ServerSession) -> Result<Option<Bytes>, Cut> {
    connection.response_body().await.map_err(|_| {
        // The end of the connection is the end of such a body, so it must not end in order.
        if session.req_header().version == Version::HTTP_10 {
            Socket::tear(session);
        }
        Cut::ByUpstream
    })
}

/// Whether a response has no body whatever its headers say (RFC 9112 section 6.3).
fn is_bodiless(method: &Method, status: StatusCode) -> bool {
    *method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

fn reason_of(error: &BError) -> DenyReason {
    match error.etype() {
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => DenyReason::UpstreamTimeout,
        _ => DenyReason::UpstreamUnavailable,
    }
}

/// The final response's head. Interim responses belong to the connection they came on.
async fn final_head(connection: &mut Connection) -> Result<ResponseHeader, BError> {
    loop {
        let head = connection.response_head().await?;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::explain(
                ErrorType::InvalidHTTPHeader,
                "the upstream changed the protocol unasked",
            ));
        }
        if !head.status.is_informational() {
            return Ok(head);
        }
    }
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
            // What the app no longer has was not looked at, and counts for nothing behind us either.
            to.insert_header(X_SCOPE, scopes.shared_with(&app.scopes).to_string())?;
        }
    }
    to.insert_header(X_REQUEST_ID, client.request_id.as_str())?;
    if let Some(forwarded_for) = &client.forwarded_for {
        to.insert_header(X_FORWARDED_FOR, forwarded_for.clone())?;
    }
    to.insert_header(X_FORWARDED_PROTO, HeaderValue::from_static(client.scheme()))?;
    to.insert_header(X_FORWARDED_HOST, client.host.clone())?;
    let http2 = connection.is_http2();
    if http2 {
        let authority = client.authority.to_str().unwrap_or_default();
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

/// Takes out what concerned the upstream's connection, and says how the body will be framed here.
fn clean_response(response: &mut ResponseHeader, session: &ServerSession) {
    for nominated in nominated(&response.headers) {
        response.remove_header(&nominated);
    }
    for name in HOP_BY_HOP {
        // Proxy authentication of an upstream is nobody's business beyond us; the rest is per hop.
        response.remove_header(name);
    }
    for name in [&CONNECTION, &UPGRADE, &TRAILER, &TRANSFER_ENCODING] {
        response.remove_header(name);
    }
    let request = session.req_header();
    let bodiless = is_bodiless(&request.method, response.status);
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
