//! What the gateway answers by itself, without an upstream: denials, 404 and the metadata of RFC 9728.

use std::time::Duration;

use http::Method;
use pingora_core::protocols::http::ServerSession;

use super::request::{Gateway, Outcome};
use crate::config::Api;
use crate::domain::decision::DenyReason;
use crate::gateway::forward::respond;
use crate::gateway::forward::respond::Answer;
use crate::gateway::forward::respond::METADATA_PATH;
use crate::gateway::read::client_facts::ClientFacts;

/// How much of a denied request's body is read away so that the client gets to see the answer.
const DRAINED_BYTES_MAX: usize = 2 << 20;

/// And for how long.
const DRAINED_FOR: Duration = Duration::from_secs(2);

impl Gateway {
    pub(crate) async fn deny(
        &self,
        session: &mut ServerSession,
        client: &ClientFacts,
        api: Option<usize>,
        reason: DenyReason,
        detail: Option<String>,
    ) -> Outcome {
        self.metrics.denied(api, reason);
        let answer = Answer {
            reason,
            api: api.and_then(|at| self.apis.get(at)),
            request_id: &client.request_id,
            metadata_url: self
                .resource(client)
                .filter(|_| reason.challenges())
                .map(|url| url + METADATA_PATH),
            detail,
        };
        let status = answer.status();
        let is_head = session.req_header().method == Method::HEAD;
        let mut reusable = answer.send(session, is_head).await.is_ok();
        if !session.is_body_done() {
            reusable &= drain(session).await;
        }
        Outcome {
            api,
            status,
            decision: "deny",
            reason: Some(reason),
            permit: None,
            upstream: None,
            reusable,
        }
    }

    /// Answers a head that the parser refused. The connection ends behind it.
    pub(crate) async fn refuse_head(&self, session: &mut ServerSession, reason: DenyReason) {
        self.metrics.denied(None, reason);
        session.set_keepalive(None);
        let answer = Answer {
            reason,
            api: None,
            request_id: &self.request_ids.next(),
            metadata_url: None,
            detail: None,
        };
        let _ = answer.send(session, false).await;
    }

    pub(crate) async fn not_found(&self, session: &mut ServerSession, client: &ClientFacts) -> Outcome {
        let request_id = &client.request_id;
        self.metrics.denied(None, DenyReason::PathInvalid);
        let body = serde_json::json!({
            "error": "not_found",
            "error_description": "no API is configured for this host and path",
            "reason": DenyReason::PathInvalid.as_str(),
            "request_id": request_id,
            "code": "not_found",
            "message": "no API is configured for this host and path",
        });
        let mut reusable = respond::send_json(session, 404, &body, request_id).await.is_ok();
        if !session.is_body_done() {
            reusable &= drain(session).await;
        }
        Outcome {
            api: None,
            status: 404,
            decision: "deny",
            reason: Some(DenyReason::PathInvalid),
            permit: None,
            upstream: None,
            reusable,
        }
    }

    /// The protected resource's identifier (RFC 9728 section 1.2): `public_url`, or the scheme and host that the client
    /// asked for. None where it asked for none.
    fn resource(&self, client: &ClientFacts) -> Option<String> {
        if let Some(url) = &self.public_url {
            return Some(url.clone());
        }
        let host = client.host.to_str().ok().filter(|host| !host.is_empty())?;
        Some(format!("{}://{host}", client.scheme()))
    }

    /// RFC 9728: what a client needs to get a token for this host.
    pub(crate) async fn metadata(
        &self,
        session: &mut ServerSession,
        client: &ClientFacts,
        requested: &str,
    ) -> Outcome {
        let servers: Vec<String> = self.policy.load().as_ref().map_or_else(Vec::new, |policy| {
            policy
                .issuers()
                .iter()
                .map(|issuer| issuer.issuer.to_string())
                .collect()
        });
        let fits = |api: &&Api| api.hosts.iter().any(|host| host == "*" || host == requested);
        let mut scopes: Vec<&str> = self
            .apis
            .iter()
            .filter(fits)
            .map(|api| api.scope.as_str())
            .collect();
        scopes.sort_unstable();
        scopes.dedup();
        let body = serde_json::json!({
            "resource": self.resource(client),
            "authorization_servers": servers,
            "scopes_supported": scopes,
            "bearer_methods_supported": ["header"],
        });
        let sent = respond::send_json(session, 200, &body, &client.request_id).await;
        Outcome {
            api: None,
            status: 200,
            decision: "allow",
            reason: None,
            permit: None,
            upstream: None,
            reusable: sent.is_ok() && session.is_body_done(),
        }
    }
}

/// Reads the rest of a denied body away within bounds, so that the answer is not lost to a reset.
/// Returns whether the connection is at the end of the request.
async fn drain(session: &mut ServerSession) -> bool {
    let reading = async {
        let mut read = 0;
        while let Ok(Some(part)) = session.read_request_body().await {
            read += part.len();
            if read > DRAINED_BYTES_MAX {
                return false;
            }
        }
        session.is_body_done()
    };
    tokio::time::timeout(DRAINED_FOR, reading).await.unwrap_or(false)
}
