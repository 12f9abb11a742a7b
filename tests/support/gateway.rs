//! A real gateway on a free port, fed by hand through the seam that the control plane uses.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use portcullis::clock::{Clock, MadeClock, ManualClock};
use portcullis::config::{
    Api, ErrorForm, Gateway, Identify, Limits, Listener, ListenerTls, OutsideIssuer, PathPattern,
    ProxyProtocol, Timeouts, Upstream,
};
use portcullis::domain::facts::{UnknownSources, WithoutToken};
use portcullis::domain::policy::Freshness;
use portcullis::domain::scope::Scope;
use portcullis::domain::time::UnixSeconds;
use portcullis::feed::{Publisher, feed};
use portcullis::gateway::listen::listener::Drain;
use portcullis::gateway::listen::sockets::Sockets;
use portcullis::gateway::probe::Probe;
use portcullis::gateway::server::{Origin, Parts, Prepared, Running};
use portcullis::gateway::start_error::StartError;
use portcullis::snapshot::{Change, Changes, Snapshot, Update};
use portcullis::task_monitor::TaskMonitor;
use prometheus::Registry;
use serde_json::{Value, json};

use crate::certs::use_one_provider;
use crate::client::{Answer, exchange};
use crate::forge::{self, Forge, NOW, write_key};
use crate::upstream::StubUpstream;
use crate::wait::DEADLINE;

/// One key for all tests: making an RSA key takes longer than most of them.
pub static FORGE: LazyLock<Forge> = LazyLock::new(Forge::new);

pub const FUNCTIONS_SCOPE: &str = "functions:write";
pub const PUBLIC_SCOPE: &str = "public_api:read_write";

// Sources of the standard policy, by what is special about them. Each is connected to the app of its number.
/// Enforced; its app has every scope.
pub const ENFORCED: usize = 0;
/// Enforced, another app's.
pub const OTHER: usize = 1;
/// Not enforced.
pub const UNENFORCED: usize = 2;
/// Judged and let through.
pub const OBSERVED: usize = 3;
/// Enforced; its app lacks every scope.
pub const SCOPELESS: usize = 4;

/// The policy most tests run on.
pub fn snapshot() -> Snapshot {
    let mut snapshot = FORGE.snapshot(5, 1);
    snapshot.apps[ENFORCED]
        .scopes
        .extend([FUNCTIONS_SCOPE.to_owned(), PUBLIC_SCOPE.to_owned()]);
    snapshot.apps[SCOPELESS].scopes = vec!["other:read".to_owned()];
    snapshot.sources[UNENFORCED].enforcement = "off".to_owned();
    snapshot.sources[OBSERVED].enforcement = "observe".to_owned();
    snapshot
}

/// A gateway that has not started: everything about it can still be changed.
pub struct Setup {
    pub config: Gateway,
    pub issuers: Vec<OutsideIssuer>,
    pub freshness: Freshness,
    pub clock: ManualClock,
    /// What tells the time in place of `clock`.
    pub made_clock: Option<MadeClock>,
    /// What is installed before `start` returns.
    pub snapshot: Option<Snapshot>,
}

impl Setup {
    /// Three APIs like the real ones, all in front of `upstream`, on one plain listener.
    pub fn new(upstream: &StubUpstream) -> Self {
        Self::to(&[upstream.address()])
    }

    /// The same in front of these servers.
    pub fn to(servers: &[SocketAddr]) -> Self {
        let config = Gateway {
            workers: 1,
            listeners: vec![Listener {
                address: "127.0.0.1:0".to_owned(),
                tls: None,
                proxy_protocol: ProxyProtocol::Off,
            }],
            apis: vec![tracking(), functions(), public()],
            upstreams: BTreeMap::from([("main".to_owned(), pool(servers))]),
            limits: Limits {
                // Nothing that a test does takes this long, and none waits it out.
                idle_timeout: Duration::from_secs(30),
                ..Limits::default()
            },
            trusted_proxies: Vec::new(),
            public_url: None,
            token_cache_entries: 1_000,
        };
        Self {
            config,
            issuers: Vec::new(),
            freshness: forge::FRESHNESS,
            clock: ManualClock::at(NOW),
            made_clock: None,
            snapshot: Some(snapshot()),
        }
    }

    pub fn upstream(&mut self) -> &mut Upstream {
        self.config.upstreams.get_mut("main").unwrap()
    }

    pub fn listener_tls(&mut self, tls: ListenerTls) {
        self.config.listeners[0].tls = Some(tls);
    }

    /// Starts it, and waits until the snapshot is in force.
    pub async fn start(self) -> TestGateway {
        let (publisher, subscriber) = feed();
        let snapshot = self.snapshot.clone();
        let gateway = self
            .start_from(Origin::Feed(subscriber), publisher)
            .await
            .unwrap();
        if let Some(snapshot) = snapshot {
            let version = snapshot.version;
            gateway.publish(Update::Snapshot(Box::new(snapshot))).await;
            gateway.assert_installed(version).await;
        }
        gateway
    }

    /// Starts it on a policy file.
    pub async fn start_on_file(self, path: &std::path::Path) -> Result<TestGateway, StartError> {
        let (publisher, _) = feed();
        self.start_from(Origin::File(path.to_owned()), publisher).await
    }

    async fn start_from(self, origin: Origin, publisher: Publisher) -> Result<TestGateway, StartError> {
        use_one_provider();
        let registry = Registry::new();
        let clock = match self.made_clock {
            Some(made) => Clock::Made(made),
            None => Clock::Manual(self.clock.clone()),
        };
        let prepared = Prepared::new(Parts {
            config: &self.config,
            issuers: &self.issuers,
            freshness: self.freshness,
            access_log: None,
            clock,
            registry: &registry,
            sockets: &mut Sockets::default(),
            monitor: &TaskMonitor::default(),
        })?;
        let running = prepared.run(origin).await?;
        running.accept()?;
        Ok(TestGateway {
            running,
            publisher,
            clock: self.clock,
            registry,
        })
    }
}

/// A running gateway; it ends when dropped.
pub struct TestGateway {
    running: Running,
    pub publisher: Publisher,
    pub clock: ManualClock,
    pub registry: Registry,
}

impl TestGateway {
    /// Where the first listener is.
    pub fn address(&self) -> SocketAddr {
        self.running.addresses()[0]
    }

    pub fn probe(&self) -> Probe {
        self.running.probe()
    }

    /// Ends it as TERM does.
    pub async fn stop(self, grace: Duration) {
        let drain = Drain {
            idle_grace: Duration::ZERO,
            within: grace,
        };
        self.running.drain(drain).await;
    }

    /// Begins to end it as TERM does.
    pub async fn drain(&self, idle_grace: Duration, within: Duration) {
        self.running.drain(Drain { idle_grace, within }).await;
    }

    /// Connections that are open now.
    pub fn open_connections(&self) -> f64 {
        self.metric("portcullis_connections", &[])
    }

    pub async fn publish(&self, update: Update) {
        self.publisher.publish(update).await.unwrap();
    }

    pub async fn assert_installed(&self, version: u64) {
        assert!(
            self.publisher.is_installed(version, DEADLINE).await,
            "version {version} was never installed"
        );
    }

    /// Publishes the changes that lead to `version` and waits until they are in force.
    pub async fn change(&self, version: u64, changes: Vec<Change>) {
        self.publish(Update::Changes(Changes {
            version,
            issued_at: NOW.0,
            changes,
        }))
        .await;
        self.assert_installed(version).await;
    }

    /// Sends a request on a new connection.
    pub async fn send(&self, request: &Http) -> Answer {
        let mut client = crate::client::H1::connect(self.address()).await;
        client.send(&request.bytes()).await;
        client.answer_to(&request.method).await
    }

    /// Sends bytes on a new connection.
    pub async fn send_raw(&self, bytes: impl AsRef<[u8]>) -> Answer {
        exchange(self.address(), bytes.as_ref()).await
    }

    /// The value of a counter or gauge with these labels.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.probe().refresh();
        let families = self.registry.gather();
        let held = families.iter().filter(|family| family.name() == name);
        let fits = |metric: &&prometheus::proto::Metric| {
            labels.iter().all(|(name, value)| {
                metric
                    .get_label()
                    .iter()
                    .any(|held| held.name() == *name && held.value() == *value)
            })
        };
        held.flat_map(|family| family.get_metric())
            .filter(fits)
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
            .sum()
    }
}

fn api(name: &str, path: PathPattern, scope: &str, identify: Vec<Identify>) -> Api {
    Api {
        name: name.to_owned(),
        hosts: vec![format!("{name}.test")],
        paths: vec![path.into()],
        scope: Scope::parse(scope).unwrap(),
        identify,
        upstream: "main".to_owned(),
        unknown_sources: UnknownSources::Deny,
        without_token: WithoutToken::Deny,
        reauthenticate_status: 401,
        forward_token: false,
        cors: None,
        error_form: ErrorForm::OAuth,
    }
}

fn tracking() -> Api {
    let identify = vec![Identify::Basic, Identify::Body];
    api(
        "tracking",
        PathPattern::Prefix("/v1/".to_owned()),
        forge::SCOPE,
        identify,
    )
}

fn functions() -> Api {
    let identify = vec![
        Identify::Query("b".to_owned()),
        Identify::Header("x-segment-source-function-token".to_owned()),
    ];
    api(
        "functions",
        PathPattern::Exact("/".to_owned()),
        FUNCTIONS_SCOPE,
        identify,
    )
}

fn public() -> Api {
    Api {
        without_token: WithoutToken::Forward,
        error_form: ErrorForm::PublicApi,
        ..api(
            "public",
            PathPattern::Prefix("/".to_owned()),
            PUBLIC_SCOPE,
            vec![Identify::Token],
        )
    }
}

/// A pool of plain HTTP/1.1 servers with time-outs no test waits out.
pub fn pool(servers: &[SocketAddr]) -> Upstream {
    Upstream {
        servers: servers.iter().map(ToString::to_string).collect(),
        tls: None,
        http2: false,
        health_check: None,
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            read: Duration::from_secs(30),
            write: Duration::from_secs(30),
            idle: Duration::from_secs(30),
        },
    }
}

/// A batch of events with the write key of source `n`.
pub fn batch(n: usize) -> String {
    format!(
        r#"{{"batch":[{{"type":"track","event":"e"}}],"writeKey":"{}"}}"#,
        write_key(n)
    )
}

/// A token of app `n` for the tracking API.
pub fn token(n: usize) -> String {
    FORGE.token_text(n, "token-1")
}

/// A token of app `n` with some claims replaced; a `null` takes a claim away.
pub fn token_with(n: usize, changed: Value) -> String {
    let mut claims = forge::claims(n, "token-1");
    merge(&mut claims, changed);
    FORGE.sign(&forge::header(), &claims)
}

/// A token of app `n` with this scope.
pub fn token_for(n: usize, scope: &str) -> String {
    token_with(n, json!({ "scope": scope }))
}

pub fn merge(into: &mut Value, changed: Value) {
    let into = into.as_object_mut().unwrap();
    let Value::Object(changed) = changed else {
        panic!("not an object")
    };
    for (name, value) in changed {
        match value {
            Value::Null => into.remove(&name),
            value => into.insert(name, value),
        };
    }
}

/// An HTTP/1.1 request, written exactly as given.
#[derive(Clone, Debug)]
pub struct Http {
    pub method: String,
    pub target: String,
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

impl Http {
    /// A request for the API of this host.
    pub fn new(method: &str, host: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: vec![format!("Host: {host}")],
            body: Vec::new(),
        }
    }

    /// A good batch for source `n` with a good token of its app.
    pub fn good_batch(n: usize) -> Self {
        Self::batch(n).bearer(&token(n))
    }

    /// A good batch for source `n` without a token.
    pub fn batch(n: usize) -> Self {
        Self::new("POST", "tracking.test", "/v1/batch").body(batch(n))
    }

    pub fn header(mut self, line: impl Into<String>) -> Self {
        self.headers.push(line.into());
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header(format!("Authorization: Bearer {token}"))
    }

    pub fn basic(self, user: &str) -> Self {
        self.header(basic(user))
    }

    /// With a Content-Length.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        let length = format!("Content-Length: {}", self.body.len());
        self.header(length)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for line in &self.headers {
            out.push_str(line);
            out.push_str("\r\n");
        }
        out.push_str("\r\n");
        let mut out = out.into_bytes();
        out.extend_from_slice(&self.body);
        out
    }
}

/// An `Authorization: Basic` line with an empty password, as SDKs send it.
pub fn basic(user: &str) -> String {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:"));
    format!("Authorization: Basic {pair}")
}

/// The present of the gateway's clock, moved by some seconds.
pub fn later(seconds: u64) -> UnixSeconds {
    UnixSeconds(NOW.0 + seconds)
}

/// Shares a stub between the test and its answerer.
pub fn shared<T>(value: T) -> Arc<parking_lot::Mutex<T>> {
    Arc::new(parking_lot::Mutex::new(value))
}
