//! What is known about the client of one request: its address, and the scheme, host and request id that it or a
//! trusted proxy names. Computed once; limits, log, tally and upstream headers all use it.

use std::net::IpAddr;

use http::header::{AsHeaderName, HOST, HeaderMap, HeaderValue};
use http::uri::Authority;
use pingora_http::RequestHeader;

use crate::connections::{X_FORWARDED_FOR, client_address, forwarded_id, is_trusted};
use crate::domain::network::Network;
use crate::gateway::wire::session::Session;
use crate::gateway::wire::trace_context::{SpanIds, TraceContext};

/// The longest host that is taken over from a trusted proxy, in bytes.
const HOST_BYTES_MAX: usize = 261;

/// The client of one request.
pub struct ClientFacts {
    /// The resolved address, IPv4 inside IPv6 as IPv4.
    pub address: Option<IpAddr>,
    /// Whether the client uses TLS: on this connection, or on the one to the trusted proxy before it.
    pub is_https: bool,
    /// `Host` or `:authority` of this request.
    pub authority: HeaderValue,
    /// The host that the client asked for: `authority`, or what a trusted proxy says.
    pub host: HeaderValue,
    /// `X-Forwarded-For` for the upstream: the peer, after what a trusted proxy sent.
    pub forwarded_for: HeaderValue,
    pub request_id: String,
    /// The trace that the request belongs to, where its client says so.
    pub trace: Option<TraceContext>,
}

/// What makes ids for requests.
pub struct Ids<'a, N> {
    /// Makes a request id where no trusted proxy sent one.
    pub new_request_id: N,
    pub spans: &'a SpanIds,
}

impl ClientFacts {
    /// Reads them from a request.
    pub fn of(session: &Session, trusted: &[Network], ids: Ids<'_, impl FnOnce() -> String>) -> Self {
        let request = session.req_header();
        let trace = TraceContext::continued(&request.headers, ids.spans);
        let authority = authority_of(request);
        let is_tls = session.is_tls();
        let (peer, own) = (session.client_ip().to_canonical(), session.client_text());
        if !is_trusted(peer, trusted) {
            return Self {
                address: Some(peer),
                is_https: is_tls,
                host: authority.clone(),
                authority,
                forwarded_for: own.clone(),
                request_id: (ids.new_request_id)(),
                trace,
            };
        }
        let headers = &request.headers;
        Self {
            address: Some(client_address(peer, headers, trusted)),
            is_https: forwarded_https(headers).unwrap_or(is_tls),
            host: forwarded_host(headers).unwrap_or_else(|| authority.clone()),
            authority,
            forwarded_for: extended(headers, own).unwrap_or_else(|| own.clone()),
            request_id: forwarded_id(headers).map_or_else(ids.new_request_id, str::to_owned),
            trace,
        }
    }

    /// The scheme by which the client reaches the gateway.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }
}

/// `Host`, or what HTTP/2 has in its place; empty where there is neither.
fn authority_of(request: &RequestHeader) -> HeaderValue {
    let header = request.headers.get(HOST).cloned();
    let named = || HeaderValue::from_str(request.uri.authority()?.as_str()).ok();
    header.or_else(named).unwrap_or(HeaderValue::from_static(""))
}

/// The entry that the nearest proxy wrote: the last one of the last header.
fn last_entry(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    let last = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    Some(last.rsplit(',').next().unwrap_or(last).trim())
}

fn forwarded_https(headers: &HeaderMap) -> Option<bool> {
    let scheme = last_entry(headers, "x-forwarded-proto")?;
    [("https", true), ("http", false)]
        .into_iter()
        .find_map(|(word, is_https)| scheme.eq_ignore_ascii_case(word).then_some(is_https))
}

fn forwarded_host(headers: &HeaderMap) -> Option<HeaderValue> {
    let host = last_entry(headers, "x-forwarded-host")?;
    let is_host = host.len() <= HOST_BYTES_MAX
        && !host.contains('@')
        && host
            .parse::<Authority>()
            .is_ok_and(|host| !host.host().is_empty());
    is_host.then(|| HeaderValue::from_str(host).ok()).flatten()
}

/// All of `X-Forwarded-For` in one value, with the peer behind it. None where nothing came.
fn extended(headers: &HeaderMap, peer: &HeaderValue) -> Option<HeaderValue> {
    let mut chain = Vec::new();
    for value in headers.get_all(X_FORWARDED_FOR) {
        let value = value.as_bytes().trim_ascii();
        if !value.is_empty() {
            chain.extend_from_slice(value);
            chain.extend_from_slice(b", ");
        }
    }
    if chain.is_empty() {
        return None;
    }
    chain.extend_from_slice(peer.as_bytes());
    HeaderValue::from_bytes(&chain).ok()
}
