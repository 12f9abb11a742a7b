//! A control plane to talk to, keys to prove apps with, and a client that sends exactly what it is told.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis::clock::{Clock, ManualClock};
use portcullis::config::{ControlLimits, LeakedTokens, Login, Signing};
use portcullis::control::http::server;
use portcullis::control::{
    Actor, AppDetails, Control, ControlSettings, NewApp, NewAppKey, NewSource, OpenError, TrailAge,
};
use portcullis::domain::ids::WorkspaceId;
use portcullis::domain::key::Algorithm;
use portcullis::domain::time::UnixSeconds;
use portcullis::store_location::StoreLocation;
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::postgres::{Cluster, Database};
use super::secrets;

/// Nothing here takes this long unless it hangs.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// When the tests take place.
pub const NOW: u64 = 1_795_323_600;

/// The name that clients know the server by, whatever port a test runs on.
pub const ISSUER: &str = "https://control.test";

pub const AUDIENCE: &str = "https://gateway.test";

/// Who makes what the tests begin with.
pub static OPERATOR: Actor = Actor::system("tests");

/// Whether this process tests on `PostgreSQL`.
pub fn on_postgres() -> bool {
    #[expect(clippy::disallowed_methods, reason = "which database is chosen from outside")]
    let chosen = std::env::var(super::on_postgres::STORE);
    chosen.as_deref() == Ok("postgres")
}

/// A folder that goes away with its test, and a store that does.
pub struct TempDir {
    path: PathBuf,
    /// Made when it is first asked for.
    database: OnceLock<Database>,
}

impl TempDir {
    pub fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "portcullis-control-{}-{}",
            std::process::id(),
            MADE.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self {
            path,
            database: OnceLock::new(),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The store of this test: one file or one database, whichever this process tests on.
    pub fn store(&self) -> StoreLocation {
        let text = if on_postgres() {
            self.database.get_or_init(|| Cluster::shared().database()).url()
        } else {
            "sqlite:store.db".to_owned()
        };
        StoreLocation::parse(&text, &self.path).unwrap()
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

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
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
        Self::start_within(dir, differ, server::Bounds::default()).await
    }

    /// The same, with other bounds on connections.
    pub async fn start_within(
        dir: &TempDir,
        differ: impl FnOnce(&mut ControlSettings),
        bounds: server::Bounds,
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
        let serve = server::serve_within(Arc::clone(&control), listener, stopped, Duration::ZERO, bounds);
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

    /// The same, with the cookie of a session of the owner.
    pub async fn workspace_and_session(&self) -> (Tenant<'_>, String) {
        let workspace = self.control.workspaces.create(&OPERATOR, "Acme").await.unwrap();
        let email = format!("owner-of-{}@example.com", workspace.id);
        let owner = self
            .control
            .members
            .create_owner(&OPERATOR, &workspace.id, &email)
            .await
            .unwrap();
        let password = self
            .control
            .passwords
            .set_new_password(&OPERATOR, &owner)
            .await
            .unwrap();
        let token = self
            .control
            .api_tokens
            .create_api_token(&OPERATOR, &owner.id, "tests", None);
        let tenant = Tenant {
            server: self,
            id: workspace.id,
            api_token: token.await.unwrap().expose().to_owned(),
        };
        let body = json!({"email": email, "password": password.as_str()}).to_string();
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

/// The cookie of the session that an answer opens.
#[track_caller]
pub fn session_cookie(answer: &Answer) -> String {
    let cookies = answer.all("set-cookie");
    let session = cookies.iter().find(|set| set.starts_with("__Host-portcullis="));
    let session = session.unwrap_or_else(|| panic!("no session: {answer:?}"));
    session.split(';').next().unwrap().to_owned()
}

/// One request to a server on a connection of its own.
pub async fn send_to(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    if !body.is_empty() || method != "GET" {
        write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    head.push_str("\r\n");
    note_secrets(headers, body);
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // A server that refuses by the head alone may close before it has read the body.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        Answer::parse(&answer)
    };
    tokio::time::timeout(DEADLINE, exchange).await.unwrap()
}

/// Writes down the secrets that a request carries.
fn note_secrets(headers: &[(&str, &str)], body: &[u8]) {
    for (_, value) in headers.iter().filter(|(name, _)| *name == "Cookie") {
        secrets::note_cookies(value);
    }
    if let Ok(body) = serde_json::from_slice(body) {
        secrets::note_members(&body);
    } else if let Some((_, form)) = std::str::from_utf8(body)
        .ok()
        .and_then(|body| body.split_once("client_assertion="))
    {
        secrets::note(form.split('&').next());
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
        audience: AUDIENCE.to_owned(),
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
        fleet_max_age: Duration::from_secs(86_400),
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

#[derive(Clone)]
enum Pair {
    Rsa(Arc<RsaKeyPair>),
    P256(Arc<EcdsaKeyPair>),
    Ed25519(Arc<Ed25519KeyPair>),
}

/// A client's key pair.
#[derive(Clone)]
pub struct TestKey {
    pub algorithm: Algorithm,
    pair: Pair,
    pub public_pem: String,
    pub private_pem: String,
}

impl TestKey {
    /// An RSA key; the same one each time, since making one takes a while.
    pub fn rsa(algorithm: Algorithm) -> Self {
        static PAIR: LazyLock<Arc<RsaKeyPair>> =
            LazyLock::new(|| Arc::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));
        let private: Pkcs8V1Der<'_> = PAIR.as_der().unwrap();
        let public: PublicKeyX509Der<'_> = PAIR.public_key().as_der().unwrap();
        secrets::note_private_key(&pem("PRIVATE KEY", private.as_ref()));
        Self {
            algorithm,
            pair: Pair::Rsa(Arc::clone(&PAIR)),
            public_pem: pem("PUBLIC KEY", public.as_ref()),
            private_pem: pem("PRIVATE KEY", private.as_ref()),
        }
    }

    pub fn p256() -> Self {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let public_pem = pem("PUBLIC KEY", public.as_ref());
        let private_pem = pem("PRIVATE KEY", pkcs8.as_ref());
        secrets::note_private_key(&private_pem);
        Self {
            algorithm: Algorithm::Es256,
            pair: Pair::P256(Arc::new(pair)),
            public_pem,
            private_pem,
        }
    }

    pub fn ed25519() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let public_pem = pem("PUBLIC KEY", public.as_ref());
        let private_pem = pem("PRIVATE KEY", pkcs8.as_ref());
        secrets::note_private_key(&private_pem);
        Self {
            algorithm: Algorithm::EdDsa,
            pair: Pair::Ed25519(Arc::new(pair)),
            public_pem,
            private_pem,
        }
    }

    /// A compact JWS over exactly this header and these claims.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let input = signing_input(&header.to_string(), &claims.to_string());
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let padding: &'static dyn aws_lc_rs::signature::RsaEncoding =
                    if self.algorithm == Algorithm::Ps256 {
                        &RSA_PSS_SHA256
                    } else {
                        &RSA_PKCS1_SHA256
                    };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, input.as_bytes(), &mut signature)
                    .unwrap();
                signature
            }
            Pair::P256(pair) => pair.sign(&random, input.as_bytes()).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(input.as_bytes()).as_ref().to_vec(),
        };
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

pub fn signing_input(header: &str, claims: &str) -> String {
    format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    )
}

/// The claims of a token, without looking at its signature.
pub fn claims_of(token: &str) -> Value {
    part_of(token, 1)
}

pub fn header_of(token: &str) -> Value {
    part_of(token, 0)
}

fn part_of(token: &str, at: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(at).unwrap()).unwrap()).unwrap()
}

pub fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// A response, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .expect("a whole head");
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<_> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        for (_, value) in headers.iter().filter(|(name, _)| name == "set-cookie") {
            secrets::note_cookies(value);
        }
        let body = bytes[end + 4..].to_vec();
        if let Ok(body) = serde_json::from_slice(&body) {
            secrets::note_members(&body);
        }
        Self {
            status,
            headers,
            body,
        }
    }

    /// Every value of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let held = self.headers.iter().filter(|(held, _)| held == name);
        held.map(|(_, value)| value.as_str()).collect()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(held, _)| held == name)
            .map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }

    /// The `type` of a problem document, without its common prefix.
    #[track_caller]
    pub fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert!(
            problem["title"].is_string() && problem["detail"].is_string(),
            "{problem}"
        );
        problem["type"]
            .as_str()
            .unwrap()
            .strip_prefix("urn:portcullis:problem:")
            .unwrap()
            .to_owned()
    }
}

/// A request whose handler has begun and waits for the second half of the body.
pub struct HalfSent {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl HalfSent {
    pub async fn begin(
        address: SocketAddr,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Self {
        let mut head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nExpect: 100-continue\r\n\
             Content-Length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head.push_str("\r\n");
        let begun = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            // The body is asked for when it is read, and it is read after everything else was looked at.
            let mut interim = [0; 25];
            stream.read_exact(&mut interim).await.unwrap();
            assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
            let (half, rest) = body.as_bytes().split_at(body.len() / 2);
            stream.write_all(half).await.unwrap();
            Self {
                stream,
                rest: rest.to_vec(),
            }
        };
        tokio::time::timeout(DEADLINE, begun).await.unwrap()
    }

    pub async fn finish(mut self) -> Answer {
        let answered = async {
            self.stream.write_all(&self.rest).await.unwrap();
            let mut answer = Vec::new();
            let _ = self.stream.read_to_end(&mut answer).await;
            Answer::parse(&answer)
        };
        tokio::time::timeout(DEADLINE, answered).await.unwrap()
    }
}
