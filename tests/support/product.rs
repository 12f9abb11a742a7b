//! The built product as tests run it: quickstart, serve, the token command, the management API.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use portcullis::domain::key::Algorithm;
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};

use super::process::{Finished, Process, portcullis};
use super::recorder::Recorder;
use super::scratch::Scratch;
use super::secrets;
use super::test_key::TestKey;
use super::web::{Answer, Request, get, post};

/// Ports that the system chooses.
const ANY_PORT: &str = "127.0.0.1:0";

/// Values of an env file that nobody else may see.
const SECRET: [&str; 7] = [
    "WRITE_KEY",
    "OTHER_WRITE_KEY",
    "UNENFORCED_WRITE_KEY",
    "OBSERVED_WRITE_KEY",
    "FUNCTION_KEY",
    "OWNER_PASSWORD",
    "OWNER_API_TOKEN",
];

/// What quickstart wrote down.
#[derive(Clone)]
pub struct Env(pub BTreeMap<String, String>);

impl Env {
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let env = Self(
            text.lines()
                .map(|line| {
                    let (name, value) = line.split_once('=').unwrap();
                    (name.to_owned(), value.trim_matches('\'').to_owned())
                })
                .collect(),
        );
        secrets::note(env.secrets().iter().map(String::as_str));
        env
    }

    pub fn get(&self, name: &str) -> &str {
        &self.0[name]
    }

    /// What must never be seen in an output: secret values and private keys.
    pub fn secrets(&self) -> Vec<String> {
        let values = SECRET.iter().map(|name| self.get(name).to_owned());
        let keys = self
            .0
            .iter()
            .filter(|(name, _)| name.ends_with("PRIVATE_KEY_FILE"));
        values
            .chain(keys.flat_map(|(_, path)| secrets::lines_of_private_key(Path::new(path))))
            .collect()
    }

    /// Fetches a token as the app whose variables begin with `prefix`.
    pub fn token(&self, prefix: &str, scope: &str) -> String {
        let finished = self.try_token(prefix, scope);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        secrets::note([finished.stdout.as_str()]);
        finished.stdout
    }

    pub fn try_token(&self, prefix: &str, scope: &str) -> Finished {
        let of = |name: &str| self.get(&format!("{prefix}{name}")).to_owned();
        self.try_token_by(&of("CLIENT_ID"), &of("KEY_ID"), &of("PRIVATE_KEY_FILE"), scope)
    }

    /// Fetches a token as an app, proved with one of its keys.
    pub fn try_token_by(&self, client: &str, key: &str, private_key_file: &str, scope: &str) -> Finished {
        let mut command = portcullis(["token", "--scope", scope]);
        command
            .env("CLIENT_ID", client)
            .env("KEY_ID", key)
            .env("PRIVATE_KEY_FILE", private_key_file);
        for name in ["TOKEN_URL", "AUTH_SERVER"] {
            command.env(name, self.get(name));
        }
        Process::run(&mut command)
    }

    /// Calls the management API as the owner, below the workspace.
    pub fn manage(&self, method: &'static str, path: &str, body: &Value) -> Answer {
        let url = format!(
            "{}/workspaces/{}{path}",
            self.get("API_URL"),
            self.get("WORKSPACE_ID")
        );
        let request = Request::to(method, &url).bearer(self.get("OWNER_API_TOKEN"));
        if body.is_null() {
            request.send()
        } else {
            request.json(body).send()
        }
    }

    /// The same, where success is taken for granted.
    pub fn change(&self, method: &'static str, path: &str, body: &Value) -> Value {
        let answer = self.manage(method, path, body);
        assert!(
            (200..300).contains(&answer.status()),
            "{method} {path}: {} {}",
            answer.status(),
            answer.json()["detail"]
        );
        answer.json()
    }

    pub fn revoke(&self, token: &str) {
        let path = format!("/apps/{}/tokens/revoke", self.get("CLIENT_ID"));
        assert_eq!(
            self.change("POST", &path, &json!({"token": token}))["status"],
            "revoked"
        );
    }

    /// The id of the source with this name.
    pub fn source(&self, name: &str) -> String {
        let sources = self.change("GET", "/sources", &Value::Null);
        let source = sources["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|source| source["name"] == name);
        source.unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// A request that sends one event of a source.
    pub fn event(&self, write_key: &str) -> Request {
        let body = json!({"event": "Hello", "userId": "u1", "writeKey": self.get(write_key)});
        post(&format!("{}/v1/track", self.get("GATEWAY_URL"))).json(&body)
    }
}

/// Quickstart, running.
pub struct Quickstart {
    pub process: Process,
    pub env: Env,
}

impl Quickstart {
    /// Runs quickstart on ports of its own, with everything in `dir`.
    pub fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[ANY_PORT; 4], &[], &[])
    }

    /// `at`: gateway, control plane, observability, upstream.
    pub fn start_with(dir: &Path, at: &[&str; 4], flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = portcullis(["quickstart", "--dir"]);
        command.arg(dir);
        for (flag, address) in ["--gateway", "--control-plane", "--observability", "--upstream"]
            .iter()
            .zip(at)
        {
            command.args([flag, address]);
        }
        command.args(flags).envs(variables.iter().copied());
        let process = Process::start(&mut command);
        process.stdout.wait_for("quickstart is ready", |lines| {
            lines.iter().any(|line| line.contains("ready")).then_some(())
        });
        Self {
            process,
            env: Env::read(&dir.join("env")),
        }
    }

    /// Asks it to end, and expects that it does so in order.
    pub fn stop(self) -> Finished {
        let finished = self.process.stop();
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        finished
    }
}

/// A copy of the folder that one quickstart left, so that not every test makes keys of its own.
pub fn quickstart_data() -> Scratch {
    static MADE: OnceLock<Scratch> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        forget_earlier_runs();
        let scratch = Scratch::new();
        Quickstart::start(scratch.path()).stop();
        scratch
    });
    let copy = Scratch::new();
    for entry in fs::read_dir(made.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let moved = fs::read_to_string(copy.join("env")).unwrap().replace(
        &made.path().display().to_string(),
        &copy.path().display().to_string(),
    );
    fs::write(copy.join("env"), moved).unwrap();
    copy
}

/// A folder in a static is not dropped when the process ends; the next run deletes it.
fn forget_earlier_runs() {
    for entry in fs::read_dir(env!("CARGO_TARGET_TMPDIR")).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name
            .strip_prefix(super::scratch::PREFIX)
            .and_then(|rest| rest.split('-').next());
        if process.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// `serve` with the planes that a config names.
pub struct Serve {
    pub process: Process,
    pub gateway: Option<String>,
    pub control: Option<String>,
    pub observability: Option<String>,
}

impl Serve {
    pub fn start(config: &Path) -> Self {
        let mut command = portcullis(["serve", "--config"]);
        Self::by(command.arg(config))
    }

    /// Takes over from the process that runs with this config.
    pub fn upgrade(config: &Path) -> Self {
        let mut command = portcullis(["serve", "--upgrade", "--config"]);
        Self::by(command.arg(config))
    }

    /// By a command that becomes `serve`.
    pub fn by(command: &mut Command) -> Self {
        let process = Process::start(command);
        // The observability listener is always configured here, and named last.
        let records = process.stderr.wait_for("serve listens", |lines| {
            let records: Vec<Value> = lines
                .iter()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
            let listens = |record: &Value| record["listener"] == "observability";
            records.iter().any(listens).then_some(records)
        });
        let at = |listener: &str| {
            let record = records.iter().find(|record| record["listener"] == listener)?;
            record["address"]
                .as_str()
                .map(|address| format!("http://{address}"))
        };
        Self {
            gateway: at("gateway"),
            control: at("control_plane"),
            observability: at("observability"),
            process,
        }
    }

    /// The address behind one of the URLs.
    pub fn address(url: Option<&String>) -> SocketAddr {
        url.unwrap().trim_start_matches("http://").parse().unwrap()
    }

    /// The metrics, as text.
    pub fn metrics(&self) -> String {
        let url = format!("{}/metrics", self.observability.as_deref().unwrap());
        String::from_utf8(get(&url).send().body).unwrap()
    }

    pub fn stop(self) -> Finished {
        let finished = self.process.stop();
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        finished
    }
}

/// What a test may want different in the config of a [`World`].
pub struct Wishes {
    pub reauthenticate_status: u16,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            reauthenticate_status: 401,
        }
    }
}

/// Both planes served from a config, on the data of a quickstart, before a recording upstream.
pub struct World {
    pub serve: Serve,
    pub upstream: Recorder,
    pub env: Env,
    pub dir: Scratch,
}

impl World {
    pub fn start() -> Self {
        Self::with(&Wishes::default())
    }

    pub fn with(wishes: &Wishes) -> Self {
        let dir = quickstart_data();
        let upstream = Recorder::start();
        let config = dir.write("portcullis.yaml", &both_planes(&upstream, wishes));
        let serve = Serve::start(&config);
        let env = served_env(dir.path(), &serve);
        Self {
            serve,
            upstream,
            env,
            dir,
        }
    }

    /// Stops the product and starts it again from the same folder, and with the same issuer.
    pub fn restart(self) -> Self {
        let Self {
            serve, upstream, dir, ..
        } = self;
        let config = dir.join("portcullis.yaml");
        let issuer = format!("  public_url: \"{}\"\n", serve.control.as_deref().unwrap());
        fs::write(&config, fs::read_to_string(&config).unwrap() + &issuer).unwrap();
        serve.stop();
        let serve = Serve::start(&config);
        let env = served_env(dir.path(), &serve);
        Self {
            serve,
            upstream,
            env,
            dir,
        }
    }
}

/// Quickstart's data, reached where `serve` listens.
pub fn served_env(dir: &Path, serve: &Serve) -> Env {
    let mut env = Env::read(&dir.join("env"));
    let mut set = |name: &str, value: String| env.0.insert(name.to_owned(), value);
    if let Some(gateway) = &serve.gateway {
        set("GATEWAY_URL", gateway.clone());
    }
    if let Some(control) = &serve.control {
        set("TOKEN_URL", format!("{control}/token"));
        set("API_URL", format!("{control}/api/v1"));
        set("JWKS_URL", format!("{control}/.well-known/jwks.json"));
        set("AUTH_SERVER", control.clone());
    }
    env
}

/// On what quickstart left: its signing keys are sealed with a key that it made.
pub const CONTROL_PLANE: &str = r#"control_plane:
  listen: "127.0.0.1:0"
  store: "sqlite:portcullis.db"
  signing: {key_encryption_key: "file:signing-encryption.key"}
"#;

/// On an empty store.
pub const NEW_CONTROL_PLANE: &str = r#"control_plane:
  listen: "127.0.0.1:0"
  store: "sqlite:portcullis.db"
"#;

pub const OBSERVABILITY: &str = r#"observability: {listen: "127.0.0.1:0", access_log: {enabled: false}}
"#;

pub fn gateway(upstream: &Recorder, wishes: &Wishes) -> String {
    gateway_to(upstream.address, wishes)
}

pub fn gateway_to(server: SocketAddr, wishes: &Wishes) -> String {
    let Wishes {
        reauthenticate_status,
        ..
    } = wishes;
    format!(
        r#"version: 1
gateway:
  workers: 2
  listeners: [{{address: "{ANY_PORT}"}}]
  apis:
    tracking:
      hosts: ["*"]
      paths: ["/v1/*"]
      scope: "tracking_api:write"
      identify: [basic, body]
      upstream: api
      reauthenticate_status: {reauthenticate_status}
      forward_token: true
    public:
      hosts: ["*"]
      paths: ["/*"]
      scope: "public_api:read_write"
      identify: [token]
      without_token: forward
      shares_upstream: true
      upstream: api
  upstreams:
    api: {{servers: ["{server}"]}}
"#
    )
}

fn both_planes(upstream: &Recorder, wishes: &Wishes) -> String {
    gateway(upstream, wishes) + OBSERVABILITY + CONTROL_PLANE
}

/// A new key pair of an app. Returns the path of its private half, and its public half.
pub fn key_pair(dir: &Scratch) -> (String, String) {
    let key = TestKey::generate(Algorithm::Rs256);
    let file = dir.write("app-key.pem", &key.private_pem);
    (file.display().to_string(), key.public_pem)
}

/// The place of a file of this project.
pub fn project_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs statements on the SQLite store in `dir`, next to the product.
pub fn change_store(dir: &Path, statements: &[&'static str]) {
    let url = format!("sqlite:{}", dir.join("portcullis.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut store = SqliteConnection::connect(&url).await.unwrap();
        for statement in statements {
            sqlx::query(*statement).execute(&mut store).await.unwrap();
        }
        store.close().await.unwrap();
    });
}
