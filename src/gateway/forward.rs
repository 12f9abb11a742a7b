//! A permit, and what it is for: the request that goes upstream, and the response that comes back.
//!
//! Forwarding takes a [`Permit`], so there is no way to write to an upstream without a decision.
//! Headers that identify somebody are stripped in every spelling first and set from the permit after.

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, StatusCode, Version};
use pingora_core::protocols::http::ServerSession;
use pingora_error::{BError, Error, ErrorType};
use pingora_http::{RequestHeader, ResponseHeader};

use super::body::Held;
use super::upstream::{Connection, Pool, absolute_uri};
use crate::domain::decision::{DenyReason, Permit};
use crate::domain::scope::ScopeSet;

/// Headers that concern one connection only (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [&str; 5] = [
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
];

/// What the request brought along that is not in the permit.
pub struct Origin<'a> {
    pub request_id: &'a str,
    /// The client's address as this listener saw it.
    pub client: Option<std::net::IpAddr>,
    pub tls: bool,
    /// The whole `Host` or `:authority`.
    pub authority: &'a str,
    /// The scopes of the token that the permit rests on.
    pub scopes: Option<&'a ScopeSet>,
    /// Whether `Authorization` goes upstream.
    pub forward_authorization: bool,
}

/// How an exchange failed.
#[derive(Debug)]
pub enum Failure {
    /// Nothing was sent to the client yet: a denial can still be answered.
    Unanswered(DenyReason),
    /// The response had begun; the connection must end here.
    Interrupted,
}

/// The status the client was sent.
pub struct Exchanged {
    pub status: u16,
}

/// Sends the request upstream, whole, and its response back.
///
/// # Errors
/// [`Failure`], which says whether the client can still be answered.
pub async fn forward(
    permit: &Permit,
    origin: &Origin<'_>,
    session: &mut ServerSession,
    body: &Held,
    pool: &Pool,
) -> Result<Exchanged, Failure> {
    let mut connection = pool
        .connect()
        .await
        .map_err(|error| Failure::Unanswered(reason_of(&error)))?;
    let request = request_header(permit, origin, session.req_header(), body.bytes(), &connection)
        .map_err(|_| Failure::Unanswered(DenyReason::RequestMalformed))?;
    let mut response = send(&mut connection, request, body.bytes())
        .await
        .map_err(|error| Failure::Unanswered(reason_of(&error)))?;
    let status = response.status.as_u16();
    clean_response(&mut response, session);
    session
        .write_response_header(Box::new(response))
        .await
        .map_err(|_| Failure::Interrupted)?;
    loop {
        match connection.client.read_response_body().await {
            Ok(Some(part)) => session
                .write_response_body(part, false)
                .await
                .map_err(|_| Failure::Interrupted)?,
            Ok(None) => break,
            Err(_) => return Err(Failure::Interrupted),
        }
    }
    session
        .write_response_body(Bytes::new(), true)
        .await
        .map_err(|_| Failure::Interrupted)?;
    pool.release(connection).await;
    Ok(Exchanged { status })
}

fn reason_of(error: &BError) -> DenyReason {
    match error.etype() {
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => DenyReason::UpstreamTimeout,
        _ => DenyReason::UpstreamUnavailable,
    }
}

/// Writes the request and reads the final response's header.
async fn send(
    connection: &mut Connection<'_>,
    request: RequestHeader,
    body: &Bytes,
) -> Result<ResponseHeader, BError> {
    let client = &mut connection.client;
    client.write_request_header(Box::new(request)).await?;
    if !body.is_empty() {
        client.write_request_body(body.clone(), true).await?;
    }
    client.finish_request_body().await?;
    loop {
        client.read_response_header().await?;
        match client.response_header() {
            Some(header) if header.status == StatusCode::SWITCHING_PROTOCOLS => {
                return Err(Error::explain(
                    ErrorType::InvalidHTTPHeader,
                    "the upstream changed the protocol unasked",
                ));
            }
            // Interim responses belong to the connection they came on.
            Some(header) if header.status.is_informational() => {}
            Some(header) => return Ok(header.clone()),
            None => {
                return Err(Error::explain(
                    ErrorType::InvalidHTTPHeader,
                    "the upstream sent no header",
                ));
            }
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
    connection: &Connection<'_>,
) -> Result<RequestHeader, BError> {
    let mut to = RequestHeader::build(
        from.method.clone(),
        from.raw_path(),
        Some(from.headers.len() + 10),
    )?;
    for (name, value) in from.case_header_iter().filter_map(|(name, value)| {
        let lower = HeaderName::from_bytes(name.as_slice()).ok()?;
        is_forwarded(&lower, origin).then_some((name, value))
    }) {
        to.append_header(name.clone(), value.clone())?;
    }
    if from.version == Version::HTTP_2 {
        // Hop-by-hop case information does not exist there, and the header iterator above knows it.
        to.insert_header(HOST, origin.authority)?;
    }
    let had_body = from.headers.contains_key(CONTENT_LENGTH) || from.headers.contains_key(TRANSFER_ENCODING);
    if had_body || !body.is_empty() {
        to.insert_header(CONTENT_LENGTH, body.len())?;
    }
    to.insert_header("X-Portcullis-Decision", permit.mode().as_str())?;
    if let Some(source) = permit.source() {
        to.insert_header("X-Portcullis-Source-Id", source.id.as_str())?;
        to.insert_header("X-Portcullis-Workspace-Id", source.workspace.as_str())?;
    }
    if let Some(app) = permit.app() {
        to.insert_header("X-Portcullis-App-Id", app.id.as_str())?;
        to.insert_header("X-Portcullis-Workspace-Id", app.workspace.as_str())?;
        if let Some(scopes) = origin.scopes {
            to.insert_header("X-Portcullis-Scope", scopes.to_string())?;
        }
    }
    to.insert_header("X-Request-Id", origin.request_id)?;
    if let Some(client) = origin.client {
        to.insert_header("X-Forwarded-For", client.to_string())?;
    }
    to.insert_header("X-Forwarded-Proto", if origin.tls { "https" } else { "http" })?;
    to.insert_header("X-Forwarded-Host", origin.authority)?;
    let http2 = connection.client.as_http2().is_some();
    if http2 {
        absolute_uri(&mut to, origin.authority, connection.peer.is_tls())?;
        to.remove_header(&HOST);
    }
    to.set_version(if http2 { Version::HTTP_2 } else { Version::HTTP_11 });
    Ok(to)
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
    !framing.contains(&name) && !HOP_BY_HOP.contains(&text) && !is_ours(text)
}

/// Whether a name is one that we set, in any spelling: servers that map headers to variables cannot
/// tell `_` from `-`.
fn is_ours(name: &str) -> bool {
    const OURS: [&str; 4] = [
        "x-request-id",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
    ];
    const PREFIX: &str = "x-portcullis-";
    let same = |a: &str, b: &str| {
        a.len() == b.len()
            && a.bytes()
                .zip(b.bytes())
                .all(|(a, b)| a == b || (a == b'_' && b == b'-'))
    };
    match name.as_bytes() {
        [b'x', b'-' | b'_', ..] => {
            name.get(..PREFIX.len()).is_some_and(|start| same(start, PREFIX))
                || OURS.iter().any(|ours| same(name, ours))
        }
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
    let bodiless = request.method == Method::HEAD
        || matches!(response.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
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
        ] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in [
            "x-portcullis",
            "x-forwarded-port",
            "host",
            "x-request-ids",
            "xx-request-id",
        ] {
            assert!(!is_ours(other), "{other}");
        }
    }
}
