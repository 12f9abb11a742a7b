//! The head of the request that goes upstream: the client's headers, without what concerns its connection or claims an
//! identity, and with what the permit says.
//!
//! Headers that identify the client are dropped in every spelling, and set from the permit.

use bytes::{BufMut as _, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Version};
use pingora_error::BError;
use pingora_http::RequestHeader;

use super::connection::{Connection, absolute_uri};
use crate::domain::decision::Permit;
use crate::domain::scope::ScopeSet;
use crate::gateway::read::client_facts::ClientFacts;
use crate::gateway::read::spelling::{after_prefix, is_spelt_alike, letters};
use crate::gateway::wire::session::Session;
use crate::gateway::wire::trace_context::TRACEPARENT;

/// Headers that concern one connection only (RFC 9110 section 7.6.1).
pub(super) const HOP_BY_HOP: [&str; 6] = [
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "http2-settings",
    "te",
];

/// How much room a head has at first, in bytes.
const HEAD_ROOM: usize = 1024;

/// What the request has that is not in the permit.
pub struct Origin<'a> {
    pub client: &'a ClientFacts,
    /// The scopes of the token that the permit rests on.
    pub scopes: Option<&'a ScopeSet>,
    /// Whether `Authorization` goes upstream.
    pub forward_authorization: bool,
}

/// The head in HTTP/1.1, as bytes. Names of an HTTP/1 client keep their spelling.
pub(super) fn http1(
    permit: &Permit,
    origin: &Origin<'_>,
    session: &Session,
    body_length: usize,
    connection: &Connection,
) -> BytesMut {
    let (from, client) = (session.req_header(), origin.client);
    let mut head = BytesMut::with_capacity(HEAD_ROOM);
    for part in [
        from.method.as_str().as_bytes(),
        b" ",
        from.raw_path(),
        b" HTTP/1.1\r\n",
    ] {
        head.put_slice(part);
    }
    let host = match client.authority.is_empty() {
        true => connection.host().as_bytes(),
        false => client.authority.as_bytes(),
    };
    put(&mut head, b"Host", host);
    match session.lines() {
        Some(lines) => {
            for (name, spelled, value) in lines.iter() {
                if *name != HOST && is_forwarded(name, origin) {
                    put(&mut head, spelled, value);
                }
            }
        }
        None => {
            for (name, value) in &from.headers {
                if *name != HOST && *name != COOKIE && is_forwarded(name, origin) {
                    put(&mut head, name.as_str().as_bytes(), value.as_bytes());
                }
            }
            if let Some(cookie) = joined_cookies(&from.headers) {
                put(&mut head, b"Cookie", &cookie);
            }
        }
    }
    set_by_gateway(permit, origin, from, body_length, |name, value| {
        put(&mut head, name.as_bytes(), value);
    });
    head.put_slice(b"\r\n");
    head
}

/// Appends a header line.
fn put(head: &mut BytesMut, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        head.extend_from_slice(part);
    }
}

/// The head in HTTP/2.
///
/// # Errors
/// The target or a value has no form in HTTP/2.
pub(super) fn http2(
    permit: &Permit,
    origin: &Origin<'_>,
    from: &RequestHeader,
    body_length: usize,
    connection: &Connection,
) -> Result<RequestHeader, BError> {
    let client = origin.client;
    let mut to = RequestHeader::build_no_case(from.method.clone(), from.raw_path(), None)?;
    for (name, value) in &from.headers {
        if *name != HOST && is_forwarded(name, origin) {
            to.append_header(name.clone(), value.clone())?;
        }
    }
    let mut is_set = Ok(());
    set_by_gateway(permit, origin, from, body_length, |name, value| {
        if is_set.is_ok() {
            is_set = to.insert_header(name, value);
        }
    });
    is_set?;
    let authority = match client.authority.to_str() {
        Ok(named) if !named.is_empty() => named,
        _ => connection.host(),
    };
    absolute_uri(&mut to, authority, connection.is_tls())?;
    to.set_version(Version::HTTP_2);
    Ok(to)
}

/// Calls `set` with the headers that upstreams receive from the gateway alone.
fn set_by_gateway(
    permit: &Permit,
    origin: &Origin<'_>,
    from: &RequestHeader,
    body_length: usize,
    mut set: impl FnMut(&'static str, &[u8]),
) {
    let client = origin.client;
    let had_body = from.headers.contains_key(CONTENT_LENGTH) || from.headers.contains_key(TRANSFER_ENCODING);
    if had_body || body_length > 0 {
        let length = body_length.to_string();
        set("Content-Length", length.as_bytes());
    }
    let mut text = |name, value: &str| set(name, value.as_bytes());
    text("X-Portcullis-Decision", permit.mode().as_str());
    if let Some(source) = permit.source() {
        text("X-Portcullis-Source-Id", source.id.as_str());
    }
    let of_source = permit.source().map(|source| &source.workspace);
    if let Some(workspace) = permit.app().map(|app| &app.workspace).or(of_source) {
        text("X-Portcullis-Workspace-Id", workspace.as_str());
    }
    if let Some(app) = permit.app() {
        text("X-Portcullis-App-Id", app.id.as_str());
        if let Some(scopes) = origin.scopes {
            // A scope that the app no longer has was not checked, and does not count upstream either.
            text("X-Portcullis-Scope", &scopes.shared_with(&app.scopes).to_string());
        }
    }
    text("X-Request-Id", &client.request_id);
    if let Some(trace) = &client.trace {
        text(TRACEPARENT, &trace.header());
    }
    text("X-Forwarded-Proto", client.scheme());
    set("X-Forwarded-For", client.forwarded_for.as_bytes());
    if !client.host.is_empty() {
        set("X-Forwarded-Host", client.host.as_bytes());
    }
}

/// HTTP/2 may split `Cookie`, HTTP/1.1 knows it once (RFC 9113 section 8.2.3).
fn joined_cookies(headers: &HeaderMap) -> Option<Vec<u8>> {
    let all = headers.get_all(COOKIE).iter();
    let crumbs: Vec<&[u8]> = all.map(HeaderValue::as_bytes).collect();
    (!crumbs.is_empty()).then(|| crumbs.join(b"; ".as_slice()))
}

/// Whether a header of the client goes upstream as it came.
fn is_forwarded(name: &HeaderName, origin: &Origin<'_>) -> bool {
    if *name == http::header::AUTHORIZATION {
        return origin.forward_authorization;
    }
    if *name == TRACEPARENT {
        return origin.client.trace.is_none();
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
