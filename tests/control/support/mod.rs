//! A control plane under test, with workspaces, apps and sources on it.

pub mod gateway;
pub mod http;
pub mod provider;
pub mod sign_in;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use portcullis::clock::{Clock, ManualClock};
use portcullis::config::{ControlLimits, LeakedTokens, Login, Signing};
use portcullis::control::http::server;
use portcullis::control::{
    Actor, AppDetails, Control, ControlSettings, NewApp, NewAppKey, NewSource, OpenError, TrailAge,
};
use portcullis::domain::ids::WorkspaceId;
use portcullis::domain::key::Algorithm;
use portcullis::domain::time::UnixSeconds;
use portcullis::http_server::Bounds;
use portcullis::model::member::Member;
use portcullis::store_location::StoreLocation;
use portcullis::tls::acceptor::Acceptor;
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use self::http::{Answer, HalfSent, send_to, session_cookie};
use crate::postgres::{Cluster, Database};
use crate::scratch::Scratch;
pub use crate::test_key::{TestKey, claims_of, header_of, pem, signing_input};
pub use crate::wait::DEADLINE;

/// When the tests take place.
pub const NOW: u64 = 1_795_323_600;

/// The public URL of the server, independent of its port.
pub const ISSUER: &str = "https://control.test";

pub const AUDIENCE: &str = "https://gateway.test";

/// Who makes what the tests begin with.
pub static OPERATOR: Actor = Actor::system("tests");

/// Whether this process tests on `PostgreSQL`.
pub fn on_postgres() -> bool {
    #[expect(clippy::disallowed_methods, reason = "which database is chosen from outside")]
    let chosen = std::env::var(crate::on_postgres::STORE);
    chosen.as_deref() == Ok("postgres")
}

/// A temporary folder with a store, which lasts as long as the test.
pub struct TempDir {
    folder: Scratch,
    /// Created on first use.
    database: OnceLock<Database>,
}

impl TempDir {
    pub fn new() -> Self {
        Self {
            folder: Scratch::new(),
            database: OnceLock::new(),
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The store of this test: one file or one database, whichever this process tests on.
    pub fn store(&self) -> StoreLocation {
        let text = if on_postgres() {
            self.database.get_or_init(|| Cluster::shared().database()).url()
        } else {
            "sqlite:store.db".to_owned()
        };
        StoreLocation::parse(&text, self.path()).unwrap()
    }

    /// A connection to the store, for what no function of the product does.
    pub async fn sql(&self) -> AnyConnection {
        sqlx::any::install_default_drivers();
        let url = match self.store() {
            StoreLocation::Sqlite(path) => format!("sqlite:{}?mode=rwc", path.display()),
            StoreLocation::Postgres(url) => url.expose().to_owned(),
        };
        AnyConnection::connect(&url).await.unwrap()
    }
}

/// A control plane that serves on a port of its own.
pub struct TestControl {
    pub control: Arc<Control>,
    pub address: SocketAddr,
    pub clock: ManualClock,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl TestControl {
    pub async fn start(dir: &TempDir) -> Self {
        Self::start_signing(dir, Algorithm::Es256).await
    }

    pub async fn start_signing(dir: &TempDir, signing_algorithm: Algorithm) -> Self {
        Self::start_with(dir, |settings| settings.signing.algorithm = signing_algorithm).await
    }

    /// With settings that differ from the usual ones.
    pub async fn start_with(dir: &TempDir, differ: impl FnOnce(&mut ControlSettings)) -> Self {
        Self::start_within(dir, differ, Bounds::default()).await
    }

    /// The same, with other bounds on connections.
    pub async fn start_within(
        dir: &TempDir,
        differ: impl FnOnce(&mut ControlSettings),
        bounds: Bounds,
    ) -> Self {
        Self::start_listening(dir, differ, bounds, None).await
    }

    /// The same, over TLS where it is given.
    pub async fn start_listening(
        dir: &TempDir,
        differ: impl FnOnce(&mut ControlSettings),
        bounds: Bounds,
        tls: Option<Arc<Acceptor>>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let clock = ManualClock::at(UnixSeconds(NOW));
        let mut settings = settings(dir.store());
        differ(&mut settings);
        let control = Control::open(settings, Clock::Manual(clock.clone()))
            .await
            .unwrap();
        let control = Arc::new(control);
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            let _ = stopped.await;
        };
        let listening = server::Listening {
            socket: listener,
            tls,
            bounds,
            grace: Duration::ZERO,
        };
        let serve = server::serve(Arc::clone(&control), listening, stopped);
        Self {
            control,
            address,
            clock,
            stop,
            server: tokio::spawn(serve),
        }
    }

    /// Stops serving and closes the store, so that another one can be opened on it.
    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        tokio::time::timeout(DEADLINE, self.server)
            .await
            .unwrap()
            .unwrap();
        self.control.close().await;
    }

    pub fn issuer(&self) -> &str {
        self.control.issuer()
    }

    /// A workspace with an owner, whose API token comes with it.
    pub async fn workspace(&self) -> Tenant<'_> {
        let workspace = self.control.workspaces.create(&OPERATOR, "Acme").await.unwrap();
        let email = format!("owner-of-{}@example.com", workspace.id);
        let owner = self
            .control
            .members
            .create_owner(&OPERATOR, &workspace.id, &email)
            .await
            .unwrap();
        let token = self
            .control
            .api_tokens
            .create_api_token(&OPERATOR, &owner.id, "tests", None)
            .await
            .unwrap();
        Tenant {
            server: self,
            id: workspace.id,
            api_token: token.expose().to_owned(),
        }
    }

    /// The owner of a new workspace, and the password of their account.
    pub async fn owner_with_password(&self, email: &str) -> (Member, String) {
        let workspace = self.control.workspaces.create(&OPERATOR, "Acme").await.unwrap();
        let members = &self.control.members;
        let owner = members
            .create_owner(&OPERATOR, &workspace.id, email)
            .await
            .unwrap();
        let passwords = &self.control.passwords;
        let password = passwords.set_new_password(&OPERATOR, &owner).await.unwrap();
        (owner, password.to_string())
    }

    /// A workspace with an owner, whose API token and session cookie come with it.
    pub async fn workspace_and_session(&self) -> (Tenant<'_>, String) {
        let email = format!("owner-{}@example.com", unique());
        let (owner, password) = self.owner_with_password(&email).await;
        let token = self
            .control
            .api_tokens
            .create_api_token(&OPERATOR, &owner.id, "tests", None);
        let tenant = Tenant {
            server: self,
            id: owner.workspace,
            api_token: token.await.unwrap().expose().to_owned(),
        };
        let body = json!({"email": email, "password": password}).to_string();
        let headers = [("Content-Type", "application/json")];
        let opened = self
            .send("POST", "/api/v1/session", &headers, body.as_bytes())
            .await;
        (tenant, session_cookie(&opened))
    }

    /// One request on a connection of its own.
    pub async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        send_to(self.address, method, target, headers, body).await
    }

    /// Posts a form to the token endpoint.
    pub async fn post_token(&self, target: &str, form: &str) -> Answer {
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        self.send("POST", target, &headers, form.as_bytes()).await
    }

    /// Asks for a token as the SDKs do: nothing percent-encoded, no `client_id`.
    pub async fn ask(&self, assertion: &str, scope: &str) -> Answer {
        self.post_token("/token", &form(assertion, scope)).await
    }
}

/// The body of a token request, as all released SDKs write it.
pub fn form(assertion: &str, scope: &str) -> String {
    format!(
        "grant_type=client_credentials&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer\
         &client_assertion={assertion}&scope={scope}"
    )
}

pub fn settings(store: StoreLocation) -> ControlSettings {
    ControlSettings {
        store,
        public_url: ISSUER.to_owned(),
        audience: Some(AUDIENCE.to_owned()),
        resources: Vec::new(),
        assertion_lifetime_max_s: 3_600,
        signing: Signing {
            algorithm: Algorithm::Es256,
            ..Signing::default()
        },
        leaked_tokens: LeakedTokens::default(),
        trusted_proxies: Vec::new(),
        limits: ControlLimits::default(),
        audit_retention: Duration::from_secs(90 * 86_400),
        login: Login::default(),
        fleet_max_age: None,
    }
}

/// How long events are kept, at the time of the tests.
pub const TRAIL_AGE: TrailAge = TrailAge {
    now: UnixSeconds(NOW),
    retention: Duration::from_secs(90 * 86_400),
};

/// Opens a control plane that serves nothing.
pub async fn open(store: StoreLocation) -> Result<Control, OpenError> {
    open_with(store, |_| {}).await
}

/// The same with settings that differ from the usual ones.
pub async fn open_with(
    store: StoreLocation,
    differ: impl FnOnce(&mut ControlSettings),
) -> Result<Control, OpenError> {
    let clock = Clock::Manual(ManualClock::at(UnixSeconds(NOW)));
    let mut settings = settings(store);
    differ(&mut settings);
    Control::open(settings, clock).await
}

/// A workspace of a [`TestControl`], seen by its owner.
pub struct Tenant<'s> {
    pub server: &'s TestControl,
    pub id: WorkspaceId,
    pub api_token: String,
}

impl<'s> Tenant<'s> {
    /// A management call below this workspace. `path` may be empty.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.call_as(&self.api_token, method, path, body).await
    }

    pub async fn call_as(&self, api_token: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        let target = format!("/api/v1/workspaces/{}{path}", self.id);
        let authorization = format!("Bearer {api_token}");
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Content-Type", "application/json"),
        ];
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.server.send(method, &target, &headers, body.as_bytes()).await
    }

    /// A management call below this workspace, in a session.
    pub async fn call_in_session(
        &self,
        cookie: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let target = format!("/api/v1/workspaces/{}{path}", self.id);
        let headers = [
            ("Cookie", cookie),
            ("Sec-Fetch-Site", "same-origin"),
            ("Content-Type", "application/json"),
        ];
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.server.send(method, &target, &headers, body.as_bytes()).await
    }

    /// An app with `key` and these scopes.
    pub async fn app_with(&self, key: &TestKey, scopes: &[&str]) -> TestApp<'s> {
        let details = self
            .server
            .control
            .apps
            .create(&OPERATOR, &self.id, new_app("sender", scopes, key))
            .await
            .unwrap();
        TestApp {
            server: self.server,
            key: key.clone(),
            key_id: details.keys[0].id.to_string(),
            details,
        }
    }

    /// An app that may send events, with a P-256 key.
    pub async fn app(&self) -> TestApp<'s> {
        self.app_with(&TestKey::p256(), &["tracking_api:write"]).await
    }

    pub async fn source(&self, kind: &str) -> portcullis::model::source::Source {
        let new = NewSource {
            name: "web".to_owned(),
            kind: kind.to_owned(),
            write_key: None,
        };
        self.server
            .control
            .sources
            .create(&OPERATOR, &self.id, new)
            .await
            .unwrap()
    }
}

pub fn new_app(name: &str, scopes: &[&str], key: &TestKey) -> NewApp {
    NewApp {
        name: name.to_owned(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        token_lifetime: "1d".to_owned(),
        public_key: NewAppKey {
            name: "first".to_owned(),
            pem: key.public_pem.clone(),
            algorithm: Some(key.algorithm.as_str().to_owned()),
            expires_at: None,
        },
    }
}

/// An app together with its private key.
pub struct TestApp<'s> {
    pub server: &'s TestControl,
    pub details: AppDetails,
    pub key: TestKey,
    pub key_id: String,
}

impl TestApp<'_> {
    pub fn id(&self) -> &str {
        self.details.app.id.as_str()
    }

    pub fn header(&self) -> Value {
        json!({"alg": self.key.algorithm.as_str(), "kid": self.key_id, "typ": "JWT"})
    }

    /// The claims of an assertion as the Node SDK makes it.
    pub fn claims(&self) -> Value {
        json!({
            "iss": self.id(), "sub": self.id(), "aud": self.server.issuer(),
            "iat": NOW - 5, "exp": NOW + 55, "jti": unique(),
        })
    }

    /// The usual claims with one of them replaced, or left out where `value` is null.
    pub fn claims_with(&self, name: &str, value: Value) -> Value {
        let mut claims = self.claims();
        match value {
            Value::Null => claims
                .as_object_mut()
                .unwrap()
                .remove(name)
                .map(drop)
                .unwrap_or_default(),
            value => claims[name] = value,
        }
        claims
    }

    pub fn assertion(&self) -> String {
        self.key.sign(&self.header(), &self.claims())
    }

    pub fn assertion_with(&self, name: &str, value: Value) -> String {
        self.key.sign(&self.header(), &self.claims_with(name, value))
    }

    /// A token, obtained over HTTP.
    pub async fn token(&self) -> String {
        let answer = self.server.ask(&self.assertion(), "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }
}

/// A text that no other assertion has.
pub fn unique() -> String {
    static MADE: AtomicU32 = AtomicU32::new(0);
    format!("jti-{}", MADE.fetch_add(1, Ordering::Relaxed))
}

/// Lets a test that reads logs see those of code that another test runs for the first time. While there is one
/// subscriber only, `tracing` asks just the thread that comes by whether anybody listens, and remembers its answer.
pub fn listen_on_all_threads() {
    static SECOND: std::sync::LazyLock<tracing::Dispatch> =
        std::sync::LazyLock::new(|| tracing::Dispatch::new(tracing_subscriber::registry()));
    std::sync::LazyLock::force(&SECOND);
}
