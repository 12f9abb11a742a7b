//! A gateway that serves nobody: it reads and decides one request at a time, and explains each decision.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use prometheus::Registry;
use tokio::io::{AsyncWriteExt as _, duplex};
use tokio::time::sleep;

use super::explain::explanation::{CheckResult, Explanation, Outcome};
use super::explain::recorder::Recorder;
use super::explain::unverified;
use crate::clock::Clock;
use crate::config;
use crate::config::OutsideIssuer;
use crate::connections::{
    Connection, ConnectionLimiter, ConnectionLimits, ConnectionMetrics, ConnectionPermit,
};
use crate::domain::checks::Check;
use crate::domain::decision::DenyReason;
use crate::domain::ids::Audience;
use crate::domain::issuer_keys::IssuerKeys;
use crate::domain::policy::Freshness;
use crate::gateway::build;
use crate::gateway::link::subscribe::Installer;
use crate::gateway::listen::http1::parsed;
use crate::gateway::read::credential::{Credential, credential};
use crate::gateway::read::raw_head::{self, HeadOutcome, HeadPosition};
use crate::gateway::read::refusal::Refusal;
use crate::gateway::serve::request::{Gateway, Task};
use crate::gateway::start_error::StartError;
use crate::gateway::wire::session::Session;
use crate::gateway::wire::socket::Socket;
use crate::snapshot::{InvalidSnapshot, Snapshot, Update};
use crate::task_monitor::TaskMonitor;

/// Room for what the gateway writes to the client, such as `100 Continue`; beyond it writing waits.
const ANSWER_BYTES: usize = 64 * 1024;

/// A gateway without listeners, upstream connections and background tasks.
pub struct OfflineGateway {
    gateway: Gateway,
    permit: ConnectionPermit,
}

impl OfflineGateway {
    /// The gateway of a config. Key files are read; key sets at a URL are not fetched.
    ///
    /// # Errors
    /// [`StartError`]: a key file cannot be used.
    pub fn new(
        config: &config::Gateway,
        issuers: &[OutsideIssuer],
        clock: Clock,
    ) -> Result<Self, StartError> {
        let (registry, monitor) = (Registry::new(), TaskMonitor::default());
        let (mut gateway, _) = build::gateway(config, issuers, None, clock, &registry, &monitor)?;
        // No task fetches here, so a request must not wait for one.
        gateway.fetchers.clear();
        let limiter = ConnectionLimiter::new(ConnectionMetrics::new("gateway")?);
        let limits = ConnectionLimits {
            connections: 1,
            per_client: 1,
            exempt: &[],
        };
        let permit = limiter.group().acquire(IpAddr::V4(Ipv4Addr::LOCALHOST), &limits);
        let permit = permit.map_err(|_| prometheus::Error::Msg("no connection is allowed".to_owned()))?;
        Ok(Self { gateway, permit })
    }

    /// Puts a policy in force, confirmed now.
    ///
    /// # Errors
    /// [`InvalidSnapshot`] names the field.
    pub fn install(&self, snapshot: &Snapshot, freshness: Freshness) -> Result<(), InvalidSnapshot> {
        let public_url = self.gateway.public_url.as_deref();
        let mut installer = Installer::new(
            Arc::clone(&self.gateway.policy),
            freshness,
            public_url.and_then(|url| Audience::parse(url).ok()),
            self.gateway.clock.clone(),
            Arc::clone(&self.gateway.watch),
        );
        installer.install(&Update::Snapshot(Box::new(snapshot.clone())))
    }

    /// Gives an outside issuer these keys.
    pub fn set_issuer_keys(&self, issuer: &str, keys: &IssuerKeys) {
        self.gateway.policy.set_issuer_keys(issuer, keys);
    }

    /// Explains what the gateway does with a request, given as the bytes of HTTP/1.1 that a client sends.
    pub async fn explain(&self, request: &[u8]) -> Explanation {
        let mut recorder = Recorder::of_every_decision();
        let (mut client, server) = duplex(request.len().max(ANSWER_BYTES));
        // There is room for all of it, so writing does not wait.
        let written = async {
            client.write_all(request).await?;
            client.shutdown().await
        };
        if written.await.is_err() {
            return self.explanation(
                &recorder,
                Found::refused(None, DenyReason::RequestMalformed.into()),
            );
        }
        let found = self.find(server, &mut recorder).await;
        self.explanation(&recorder, found)
    }

    async fn find(&self, server: tokio::io::DuplexStream, recorder: &mut Recorder) -> Found {
        let mut socket = Box::new(Socket::in_memory(server));
        let connection: &Arc<Connection> = self.permit.connection();
        let limits = &self.gateway.limits;
        let deadline = std::pin::pin!(sleep(limits.header_timeout));
        let position = HeadPosition::First;
        let none = bytes::BytesMut::new();
        let head = raw_head::read(&mut socket, none, deadline, limits, position, connection).await;
        let head = match head {
            Ok(head) => head,
            Err(HeadOutcome::Refused { reason, .. }) => return Found::refused(None, reason.into()),
            Err(HeadOutcome::Silence | HeadOutcome::Http2(_)) => {
                return Found::refused(None, DenyReason::RequestMalformed.into());
            }
        };
        let session = match parsed(socket, head, limits) {
            Ok(session) => session,
            Err(unreadable) => return Found::refused(None, unreadable.reason.into()),
        };
        self.judge(&mut Session::Http1(session), recorder).await
    }

    /// The way of a request through the gateway up to its decision.
    async fn judge(&self, session: &mut Session, recorder: &mut Recorder) -> Found {
        let gateway = &self.gateway;
        let client = gateway.client_facts(session);
        let (at, api) = match gateway.route(session) {
            Ok(Task::Serve(at, api)) => (at, api),
            Ok(Task::Preflight(at, ..)) => {
                return Found::answered(
                    self.api_name(at),
                    "the gateway answers the preflight itself, with 204",
                );
            }
            Ok(Task::Metadata { .. }) => {
                return Found::answered(None, "the gateway answers with its own metadata (RFC 9728)");
            }
            Ok(Task::NotFound { allowed, .. }) => {
                let sentence = match allowed {
                    Some(_) => "no API is configured for this method on this host and path (405)",
                    None => "no API is configured for this host and path (404)",
                };
                let refusal = Refusal::because(DenyReason::PathInvalid, sentence);
                return Found::refused(None, refusal);
            }
            Err(refusal) => return Found::refused(None, refusal),
        };
        let api_name = self.api_name(at);
        let token = match credential(&session.req_header().headers) {
            Credential::Token(text) => Some(text),
            _ => None,
        };
        let unverified = token.and_then(|text| unverified::claims(&text, gateway.limits.token_bytes));
        let found = match gateway.admit(session, &client, api, recorder).await {
            Ok(admitted) => Found {
                api: api_name,
                outcome: match admitted.permit.would_deny() {
                    Some(_) => Outcome::WouldDeny,
                    None => Outcome::Allow,
                },
                reason: admitted.permit.would_deny(),
                sentence: None,
                unverified: None,
            },
            Err(denied) => Found::refused(api_name, denied.refusal),
        };
        Found { unverified, ..found }
    }

    fn explanation(&self, recorder: &Recorder, found: Found) -> Explanation {
        let mut checks = recorder.checks();
        let of_token = checks.iter_mut().find(|record| record.check == Check::Token);
        if let (Some(record), Some(claims), true) = (of_token, &found.unverified, recorder.has_faulty_token())
            && record.result == CheckResult::Fail
        {
            record.detail = format!("{}; {claims}", record.detail);
        }
        Explanation {
            outcome: found.outcome,
            reason: found.reason,
            sentence: found.sentence,
            policy_version: self.gateway.policy.load().as_ref().map(|policy| policy.version()),
            api: found.api,
            source: recorder.source(),
            app: recorder.app(),
            checks,
            lacks_keys_of: recorder.lacks_keys_of(),
        }
    }

    fn api_name(&self, at: usize) -> Option<String> {
        self.gateway.apis.get(at).map(|api| api.name.clone())
    }
}

/// How the way of a request ended.
struct Found {
    api: Option<String>,
    outcome: Outcome,
    reason: Option<DenyReason>,
    sentence: Option<String>,
    /// What the request's token says, for when it did not verify.
    unverified: Option<String>,
}

impl Found {
    fn refused(api: Option<String>, refusal: Refusal) -> Self {
        let Refusal { reason, detail } = refusal;
        let sentence = detail.unwrap_or_else(|| reason.description().into());
        Self {
            api,
            outcome: Outcome::Deny,
            reason: Some(reason),
            sentence: Some(sentence.into_owned()),
            unverified: None,
        }
    }

    fn answered(api: Option<String>, sentence: &str) -> Self {
        Self {
            api,
            outcome: Outcome::Allow,
            reason: None,
            sentence: Some(sentence.to_owned()),
            unverified: None,
        }
    }
}
