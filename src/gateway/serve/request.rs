//! The life of one request: head, body, decision, response. The branches are here; the work of each step is in its own
//! file.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderValue;

use super::admitted_request::AdmittedRequest;
use super::known_facts::{Denied, KnownFacts};
use crate::clock::guard::ClockWatch;
use crate::clock::{Clock, instant};
use crate::config::{Api, ApiPath, ErrorForm, Limits};
use crate::connections::RequestIds;
use crate::domain::decision::{DenyReason, Permit};
use crate::domain::network::Network;
use crate::gateway::explain::denials::RecentDenials;
use crate::gateway::explain::recorder::Recorder;
use crate::gateway::forward::exchange;
use crate::gateway::forward::exchange::{Answered, Failed, Origin};
use crate::gateway::forward::upstream::Pool;
use crate::gateway::link::jwks::KeyFetcher;
use crate::gateway::link::key_file::KeyFile;
use crate::gateway::link::tally::{Client, Tally};
use crate::gateway::observe::access_log::AccessLog;
use crate::gateway::observe::access_record::{AccessRecord, shown_path};
use crate::gateway::observe::cut::Cut;
use crate::gateway::observe::metrics::Metrics;
use crate::gateway::read::body::HeldBytes;
use crate::gateway::read::client_facts::{ClientFacts, Ids};
use crate::gateway::read::cors::CorsHeaders;
use crate::gateway::read::refusal::Refusal;
use crate::gateway::read::route::Route;
use crate::gateway::read::{cors, head, route};
use crate::gateway::state::policy_cell::PolicyCell;
use crate::gateway::state::token_cache::TokenCache;
use crate::gateway::wire::session::Session;
use crate::gateway::wire::trace_context::SpanIds;
use crate::report;
use crate::report::Verdict;

/// Everything that requests share under one config. It never changes: a reload makes the next one.
#[derive(Clone)]
pub struct Gateway {
    pub apis: Vec<Api>,
    /// By the index of the API.
    pub pools: Vec<Arc<Pool>>,
    pub limits: Limits,
    /// Load balancers: peers whose forwarding headers are believed, and which have no connection limit of their own.
    pub trusted_proxies: Arc<[Network]>,
    /// Scheme and authority under which clients reach the gateway, where the config names them.
    pub public_url: Option<String>,
    pub policy: Arc<PolicyCell>,
    pub tokens: Arc<TokenCache>,
    pub fetchers: Vec<Arc<KeyFetcher>>,
    pub key_files: Vec<Arc<KeyFile>>,
    pub held: Arc<HeldBytes>,
    pub metrics: Arc<Metrics>,
    pub tally: Arc<Tally>,
    pub access_log: Option<Arc<AccessLog>>,
    pub clock: Clock,
    /// How much time has certainly passed; expired revocations are dropped by it.
    pub watch: Arc<ClockWatch>,
    pub request_ids: Arc<RequestIds>,
    pub span_ids: Arc<SpanIds>,
    /// The last denials, where the admin socket is there to ask for them.
    pub denials: Option<Arc<RecentDenials>>,
}

/// What is known about a request when it ends, for its log line and its metrics.
pub(crate) struct Outcome {
    pub(crate) api: Option<usize>,
    /// As sent; 0 where there was no response.
    pub(crate) status: u16,
    pub(crate) decision: &'static str,
    pub(crate) reason: Option<DenyReason>,
    pub(crate) known: KnownFacts,
    /// Whether the connection may serve another request.
    pub(crate) reusable: bool,
}

/// What is to be done with a request whose head was read.
pub(crate) enum Task<'g> {
    Serve(usize, &'g Api),
    /// Answer a browser that asks whether it may send one.
    Preflight(usize, &'g Api, String),
    /// Answer with the gateway's own document.
    Metadata {
        host: String,
    },
    /// No API is configured for the path, or none with this method.
    NotFound {
        form: ErrorForm,
        allowed: Option<&'g ApiPath>,
    },
}

const METHOD_OVERRIDDEN: &str = "a header names another method than the request, and the method decides here which API it is for; send that method itself";

impl Gateway {
    /// Serves one request whose head was read.
    pub(crate) async fn handle(&self, session: &mut Session) -> Outcome {
        let began = instant();
        let client = self.client_facts(session);
        let outcome = self.serve(session, &client).await;
        self.record(session, &client, &outcome, began);
        outcome
    }

    pub(crate) fn client_facts(&self, session: &Session) -> ClientFacts {
        let ids = Ids {
            new_request_id: || self.request_ids.next(),
            spans: &self.span_ids,
        };
        ClientFacts::of(session, &self.trusted_proxies, ids)
    }

    async fn serve(&self, session: &mut Session, client: &ClientFacts) -> Outcome {
        let (at, api) = match self.route(session) {
            Ok(Task::Serve(at, api)) => (at, api),
            Ok(Task::Preflight(at, api, method)) => {
                return self.preflight(session, client, (at, api), &method).await;
            }
            Ok(Task::Metadata { host }) => return self.metadata(session, client, &host).await,
            Ok(Task::NotFound { form, allowed }) => {
                return self.not_found(session, client, form, allowed).await;
            }
            Err(refusal) => return self.refuse(session, client, None, refusal.into(), None).await,
        };
        let mut watched = self.denials.as_ref().map(|_| Recorder::default());
        let mut admitted = match self.admit(session, client, api, &mut watched).await {
            Ok(admitted) => admitted,
            Err(denied) => return self.refuse(session, client, Some(at), denied, watched).await,
        };
        let began = instant();
        let mut known = std::mem::take(&mut admitted.known);
        let Some(pool) = self.pools.get(at) else {
            let denied = Denied::knowing(DenyReason::UpstreamUnavailable, known);
            return self.refuse(session, client, Some(at), denied, None).await;
        };
        let answered = match self.send(session, client, &admitted, pool).await {
            Ok(answered) => answered,
            Err(Failed::Upstream(reason, server)) => {
                (known.upstream_server, known.upstream) = (server, Some(began.elapsed()));
                let denied = Denied::knowing(reason, known);
                return self.refuse(session, client, Some(at), denied, None).await;
            }
            Err(Failed::ClientGone) => return self.reset_by_client(at, &admitted.permit, known),
        };
        known.upstream_server = Some(answered.server());
        // Over HTTP/1 a connection has one response, and connections are counted.
        if session.is_http2()
            && let Err(reason) = admitted.body.add_response(answered.waiting_bytes_max())
        {
            let denied = Denied::knowing(reason, known);
            return self.refuse(session, client, Some(at), denied, None).await;
        }
        let would_deny = admitted.permit.would_deny();
        // Counted before the client receives the response: metrics read after it include it.
        self.metrics.allowed(Some(at), would_deny);
        self.tally_allowed(session, client, &admitted);
        let status = answered.status();
        let cors = api.cors.as_ref();
        let cors = cors.map(|cors| CorsHeaders::new(cors, &session.req_header().headers));
        let relayed = exchange::relay(answered, session, &client.request_id, pool, cors.as_ref()).await;
        known.cut = relayed.inspect_err(|cut| self.metrics.cut(at, *cut)).err();
        known.upstream = Some(began.elapsed());
        Outcome {
            api: Some(at),
            status,
            decision: decision_word(would_deny),
            reason: would_deny,
            reusable: known.cut.is_none(),
            known,
        }
    }

    /// An allowed request that its client reset before the response.
    fn reset_by_client(&self, at: usize, permit: &Permit, known: KnownFacts) -> Outcome {
        let would_deny = permit.would_deny();
        self.metrics.allowed(Some(at), would_deny);
        Outcome {
            api: Some(at),
            status: 0,
            decision: decision_word(would_deny),
            reason: would_deny,
            known,
            reusable: false,
        }
    }

    /// Checks the head and finds the API that the request belongs to.
    pub(crate) fn route(&self, session: &Session) -> Result<Task<'_>, Refusal> {
        let request = session.req_header();
        let head = head::head(request, &self.limits)?;
        let serves_any_host = |api: &Api| api.hosts.iter().any(|host| host == "*");
        if head.host.is_empty() && !self.apis.iter().any(serves_any_host) {
            return Err(DenyReason::RequestMalformed.into());
        }
        if head.path == crate::gateway::forward::respond::METADATA_PATH && !head.host.is_empty() {
            return Ok(Task::Metadata { host: head.host });
        }
        let asked = cors::preflight(request);
        let method = asked.unwrap_or(request.method.as_str());
        if route::is_overridden(&self.apis, &head, method, &request.headers) {
            return Err(Refusal::because(DenyReason::PathInvalid, METHOD_OVERRIDDEN));
        }
        let form = route::error_form(&self.apis, &head.host);
        Ok(match (route::route(&self.apis, &head, method)?, asked) {
            (Route::Api(at, api), Some(method)) => Task::Preflight(at, api, method.to_owned()),
            (Route::Api(at, api), None) => Task::Serve(at, api),
            (Route::OtherMethods(path), _) => Task::NotFound {
                form,
                allowed: Some(path),
            },
            (Route::Nowhere, _) => Task::NotFound { form, allowed: None },
        })
    }

    async fn send(
        &self,
        session: &mut Session,
        client: &ClientFacts,
        admitted: &AdmittedRequest,
        pool: &Pool,
    ) -> Result<Answered, Failed> {
        let origin = Origin {
            client,
            scopes: admitted.scopes(),
            forward_authorization: admitted.forward_authorization,
        };
        exchange::send(&admitted.permit, &origin, session, &admitted.body, pool).await
    }

    fn tally_allowed(&self, session: &Session, client: &ClientFacts, admitted: &AdmittedRequest) {
        let version = admitted.policy_version;
        match (admitted.permit.source(), admitted.permit.would_deny()) {
            (Some(source), None) => self.tally.allowed(source, version),
            (Some(source), Some(reason)) => {
                self.tally.refused(
                    source,
                    version,
                    Verdict::WouldDeny,
                    reason,
                    counted(session, client),
                );
            }
            (None, _) => {}
        }
    }

    fn record(&self, session: &Session, client: &ClientFacts, outcome: &Outcome, began: Instant) {
        let took = began.elapsed();
        let (known, is_cut) = (&outcome.known, outcome.known.cut.is_some());
        self.metrics.finished(outcome.api, took, known.upstream);
        if outcome.status != 0 {
            self.metrics.responded(outcome.api, outcome.status, is_cut);
        }
        let Some(log) = &self.access_log else { return };
        if !log.wants(outcome.decision, outcome.status, is_cut) {
            return;
        }
        let request = session.req_header();
        let (bytes_in, bytes_out) = session.body_bytes();
        let target = String::from_utf8_lossy(request.raw_path());
        let api = outcome.api.and_then(|at| self.apis.get(at));
        log.write(&AccessRecord {
            at_ms: self.clock.unix_millis(),
            request_id: &client.request_id,
            trace_id: client.trace.as_ref().map(|trace| trace.trace_id.as_str()),
            span_id: client.trace.as_ref().map(|trace| trace.span_id.as_str()),
            client: client.address,
            host: client.host.to_str().ok().filter(|host| !host.is_empty()),
            method: Some(request.method.as_str()),
            path: Some(shown_path(&target).into()),
            status: outcome.status,
            api: api.map(|api| api.name.as_str()),
            decision: outcome.decision,
            reason: outcome.reason.map(DenyReason::as_str),
            source_id: known.source_id(),
            app_id: known.app_id(),
            workspace_id: known.workspace_id(),
            issuer: known.issuer(),
            client_key_id: known.client_key_id(),
            upstream_server: known.upstream_server,
            cut: known.cut.map(Cut::as_str),
            took,
            decide: known.decide,
            upstream: known.upstream,
            bytes_in,
            bytes_out,
        });
    }

    /// Logs and counts a connection that was answered before it had a request that can be read.
    pub(crate) fn record_unreadable(&self, reason: DenyReason, request_id: &str, client: IpAddr) {
        self.metrics.denied(None, reason);
        self.metrics.responded(None, reason.status(), false);
        if let Some(log) = &self.access_log {
            log.write(&AccessRecord {
                at_ms: self.clock.unix_millis(),
                request_id,
                client: Some(client.to_canonical()),
                status: reason.status(),
                decision: reason.decision(),
                reason: Some(reason.as_str()),
                ..AccessRecord::default()
            });
        }
    }
}

fn decision_word(would_deny: Option<DenyReason>) -> &'static str {
    if would_deny.is_some() {
        "would_deny"
    } else {
        "allow"
    }
}

/// The client as the tally counts it.
pub(super) fn counted<'a>(session: &'a Session, client: &ClientFacts) -> Client<'a> {
    let named = session.req_header().headers.get(http::header::USER_AGENT);
    Client {
        agent: report::agent(named.map(HeaderValue::as_bytes)),
        address: client.address,
    }
}
