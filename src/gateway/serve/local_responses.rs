//! The gateway's own responses, which no upstream is asked for: denials, 404 and the metadata of RFC 9728.

use std::time::Duration;

use bytes::Bytes;

use super::known_facts::{Denied, KnownFacts};
use super::request::{Gateway, Outcome};
use crate::config::{Api, ApiPath, ErrorForm};
use crate::domain::decision::DenyReason;
use crate::gateway::forward::respond;
use crate::gateway::forward::respond::Answer;
use crate::gateway::forward::respond::METADATA_PATH;
use crate::gateway::read::client_facts::ClientFacts;
use crate::gateway::read::cors::{self, CorsHeaders};
use crate::gateway::read::refusal::Refusal;
use crate::gateway::read::{head, route};
use crate::gateway::wire::head_lines::HeadLines;
use crate::gateway::wire::session::Session;

/// How many bytes of a denied request's body are discarded, so that the client receives the response.
const DRAINED_BYTES_MAX: usize = 2 << 20;

/// How long a denied request's body is discarded.
const DRAINED_FOR: Duration = Duration::from_secs(2);

impl Gateway {
    /// The form of errors for a request to this authority, before its API is known.
    pub(crate) fn error_form(&self, authority: &[u8]) -> ErrorForm {
        let host = head::host_name(authority);
        host.map_or(ErrorForm::OAuth, |host| route::error_form(&self.apis, &host))
    }

    pub(crate) async fn deny(
        &self,
        session: &mut Session,
        client: &ClientFacts,
        api: Option<usize>,
        denied: Denied,
    ) -> Outcome {
        let Refusal { reason, detail } = denied.refusal;
        self.metrics.denied(api, reason);
        let request = session.req_header();
        let known = api.and_then(|at| self.apis.get(at));
        let cors = known.and_then(|api| api.cors.as_ref());
        let answer = Answer {
            api: known,
            form: known.map_or_else(
                || self.error_form(client.authority.as_bytes()),
                |api| api.error_form,
            ),
            cors: cors.map(|cors| CorsHeaders::new(cors, &request.headers)),
            metadata_url: self
                .resource(client)
                .filter(|_| reason.challenges())
                .map(|url| url + METADATA_PATH),
            detail,
            ..Answer::new(reason, &client.request_id)
        };
        let status = answer.status();
        let mut reusable = answer.send(session).await.is_ok();
        if !session.is_body_done() {
            reusable &= drain(session).await;
        }
        Outcome {
            api,
            status,
            decision: reason.decision(),
            reason: Some(reason),
            known: denied.known,
            reusable,
        }
    }

    /// Answers a request for which no API is configured, or none with its method.
    pub(crate) async fn not_found(
        &self,
        session: &mut Session,
        client: &ClientFacts,
        form: ErrorForm,
        allowed: Option<&ApiPath>,
    ) -> Outcome {
        let (reason, request_id) = (DenyReason::PathInvalid, &client.request_id);
        self.metrics.denied(None, reason);
        let (status, code, sentence) = match allowed {
            Some(_) => (
                405,
                "method_not_allowed",
                "no API is configured for this method on this host and path; the header Allow names those that are",
            ),
            None => (404, "not_found", "no API is configured for this host and path"),
        };
        let body = respond::error_body(form, (code, code), sentence, reason.as_str(), request_id);
        let allow = allowed.map(|path| ("Allow", path.methods.join(", ")));
        let sent = respond::send_json(session, status, &body, request_id, allow).await;
        let mut reusable = sent.is_ok();
        if !session.is_body_done() {
            reusable &= drain(session).await;
        }
        Outcome {
            api: None,
            status,
            decision: "deny",
            reason: Some(reason),
            known: KnownFacts::default(),
            reusable,
        }
    }

    /// Answers a preflight, which carries neither a source nor a token.
    pub(crate) async fn preflight(
        &self,
        session: &mut Session,
        client: &ClientFacts,
        (at, api): (usize, &Api),
        method: &str,
    ) -> Outcome {
        self.metrics.allowed(Some(at), None);
        let answer = cors::answer(
            api.cors.as_ref(),
            session.req_header(),
            method,
            &client.request_id,
        );
        let mut reusable = match answer {
            Ok(head) => {
                session.write_head(head, &HeadLines::default(), true).is_ok()
                    && session.write_last(Bytes::new()).await.is_ok()
            }
            Err(_) => false,
        };
        if !session.is_body_done() {
            reusable &= drain(session).await;
        }
        Outcome {
            api: Some(at),
            status: 204,
            decision: "allow",
            reason: None,
            known: KnownFacts::default(),
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
        session: &mut Session,
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
        // Browsers read it, too, to find out how to get a token.
        let readable = Some(("Access-Control-Allow-Origin", "*".to_owned()));
        let sent = respond::send_json(session, 200, &body, &client.request_id, readable).await;
        Outcome {
            api: None,
            status: 200,
            decision: "allow",
            reason: None,
            known: KnownFacts::default(),
            reusable: sent.is_ok() && session.is_body_done(),
        }
    }
}

/// Discards the rest of a denied body within bounds, so that a reset does not destroy the response. Returns whether the
/// connection is at the end of the request.
async fn drain(session: &mut Session) -> bool {
    let reading = async {
        let mut read = 0;
        while let Ok(part @ 1..) = session.discard_body().await {
            read += part;
            if read > DRAINED_BYTES_MAX {
                return false;
            }
        }
        session.is_body_done()
    };
    tokio::time::timeout(DRAINED_FOR, reading).await.unwrap_or(false)
}
