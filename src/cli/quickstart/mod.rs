//! `portcullis quickstart`: everything on this machine, with sample data, and what to paste next.

pub(crate) mod args;
mod config;

pub(super) use super::quickstart::args::QuickstartArgs;
use super::quickstart::config::{ALL_SCOPES, Listens, PUBLIC_HOST, make_encryption_key, write_secret};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use super::failure::Failure;
use super::planes::Planes;
use super::preflight;
use super::sample_upstream;
use super::serve::panicked;
use super::signals::{Asked, Ending};
use crate::clock::{Clock, instant};
use crate::config::Config;
use crate::control::{Actor, AppDetails, Control, NewApp, NewAppKey, NewSource};
use crate::domain::ids::{AppId, WorkspaceId};
use crate::domain::policy::Enforcement;
use crate::gateway::listen::sockets::{Sockets, bind};
use crate::gateway::server::Running;
use crate::model::source::Source;
use crate::task_monitor::TaskMonitor;

/// Who makes the sample data.
static ACTOR: Actor = Actor::system("quickstart");

/// The first owner of the sample workspace.
const OWNER_EMAIL: &str = "owner@quickstart.example";

/// What the sample token in the printed lines asks for.
const SCOPE: &str = "tracking_api:write";

pub(super) async fn quickstart(args: QuickstartArgs) -> Result<(), Failure> {
    let began = instant();
    let mut ending = Ending::new()?;
    std::fs::create_dir_all(&args.dir).map_err(|error| {
        Failure::input(format_args!(
            "{} cannot be made: {error}; choose another with --dir",
            args.dir.display()
        ))
    })?;
    println!("portcullis quickstart writes to {}", args.dir.display());
    let (upstream, upstream_name) = bound(&args.upstream)?;
    let upstream = TcpListener::from_std(upstream).map_err(Failure::internal)?;
    let upstream_address = upstream.local_addr().map_err(Failure::internal)?;
    let (config, sockets) = write_config(&args, upstream_name)?;
    let monitor = TaskMonitor::default();
    let mut planes = tokio::select! {
        planes = Planes::start(&config, sockets, None, &monitor) => planes?,
        task = monitor.panicked() => return Err(panicked(task)),
    };
    let (stop, stopping) = tokio::sync::oneshot::channel::<()>();
    let log = absolute(&args.dir.join("upstream.jsonl"))?;
    let sample = {
        let log = log.clone();
        let serving = async move {
            sample_upstream::serve(upstream, &log, async {
                let _ = stopping.await;
            })
            .await
        };
        tokio::spawn(monitor.watch("sample_upstream", serving))
    };
    let env_path = args.dir.join("env");
    let addresses = Addresses::of(&planes)?;
    let control = planes
        .control
        .as_deref()
        .ok_or_else(|| Failure::internal("the control plane is missing"))?;
    let env = match EnvFile::read_if_there(&env_path)? {
        Some(before) => before.moved_to(&addresses, &log),
        None => make_data(control, &args.dir, &addresses, &log).await?,
    };
    env.write(&env_path)?;
    planes.start_observability()?;
    print_what_to_paste(&args, &env_path, &addresses, upstream_address, began.elapsed());
    let (how, fallen) = tokio::select! {
        how = ending.asked() => (how, None),
        task = monitor.panicked() => (Asked::AtOnce, Some(task)),
    };
    drop(stop);
    planes.stop(how.with(ending)).await;
    if let Some(task) = fallen {
        return Err(panicked(task));
    }
    sample.await.map_err(Failure::internal)?
}

/// A listening socket, and its address with the port that it has. The host stays as it was given.
fn bound(address: &str) -> Result<(std::net::TcpListener, String), Failure> {
    let socket = bind(address).map_err(Failure::from).map_err(name_the_flags)?;
    let port = socket.local_addr().map_err(Failure::internal)?.port();
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    Ok((socket, format!("{host}:{port}")))
}

/// Writes the config file and reads it, as `serve` does. Its sockets are bound first, so that it names their ports.
fn write_config(args: &QuickstartArgs, upstream: String) -> Result<(Config, Sockets), Failure> {
    let gateway = bound(&args.gateway)?;
    let control_plane = bound(&args.control_plane)?;
    let observability = bound(&args.observability)?;
    let listens = Listens {
        gateway: gateway.1.clone(),
        control_plane: control_plane.1.clone(),
        observability: observability.1.clone(),
        upstream,
    };
    make_encryption_key(&args.dir)?;
    let path = args.dir.join("portcullis.yaml");
    write_secret(&path, &config::text(args, &listens))?;
    let config = preflight::read(&path, Clock::System.now())?.config;
    let sockets = [gateway, control_plane, observability];
    let sockets = sockets.into_iter().map(|(socket, address)| (address, socket));
    Ok((config, Sockets::taken_over(sockets.collect())))
}

/// Where the planes listen.
struct Addresses {
    gateway: SocketAddr,
    control: SocketAddr,
    observability: SocketAddr,
}

impl Addresses {
    fn of(planes: &Planes) -> Result<Self, Failure> {
        let missing = || Failure::internal("a listener is missing");
        Ok(Self {
            gateway: planes
                .gateway
                .as_ref()
                .map(Running::addresses)
                .and_then(|all| all.first().copied())
                .ok_or_else(missing)?,
            control: planes.control_address.ok_or_else(missing)?,
            observability: planes.observability_address.ok_or_else(missing)?,
        })
    }

    /// The values of the env file that follow from where the planes listen.
    fn values(&self, upstream_log: &Path) -> Vec<(&'static str, String)> {
        let (gateway, control, observability) = (self.gateway, self.control, self.observability);
        vec![
            ("GATEWAY_URL", format!("http://{gateway}")),
            ("FUNCTIONS_URL", format!("http://{gateway}")),
            (
                "PUBLIC_API_URL",
                format!("http://{PUBLIC_HOST}:{}", gateway.port()),
            ),
            ("TOKEN_URL", format!("http://{control}/token")),
            ("AUTH_SERVER", format!("http://{control}")),
            ("JWKS_URL", format!("http://{control}/.well-known/jwks.json")),
            ("METRICS_URL", format!("http://{observability}/metrics")),
            ("CONSOLE_URL", format!("http://{control}/")),
            ("API_URL", format!("http://{control}/api/v1")),
            ("ISSUER", format!("http://{control}")),
            ("UPSTREAM_LOG", upstream_log.display().to_string()),
        ]
    }
}

/// Makes the sample workspace through the same functions that the API calls.
async fn make_data(
    control: &Control,
    dir: &Path,
    addresses: &Addresses,
    log: &Path,
) -> Result<EnvFile, Failure> {
    let workspace = control
        .workspaces
        .create(&ACTOR, "Quickstart")
        .await
        .map_err(Failure::internal)?
        .id;
    let owner = control
        .members
        .create_owner(&ACTOR, &workspace, OWNER_EMAIL)
        .await
        .map_err(Failure::internal)?;
    let password = control
        .passwords
        .set_new_password(&ACTOR, &owner)
        .await
        .map_err(Failure::internal)?;
    let api_token = control
        .api_tokens
        .create_api_token(&ACTOR, &owner.id, "quickstart", None)
        .await
        .map_err(Failure::internal)?;
    let app_key = dir.join("client-private.pem");
    let other_key = dir.join("other-client-private.pem");
    let app = make_app(control, &workspace, "Quickstart app", &ALL_SCOPES, &app_key).await?;
    let other = make_app(control, &workspace, "Another app", &[SCOPE], &other_key).await?;
    let [website, elsewhere, unenforced, observed, function] =
        make_sources(control, &workspace, &app, &other).await?;
    let issuer_key = dir.join("issuer-private.pem");
    write_secret(&issuer_key, &control.issuer_keys.signing_key_pkcs8_pem())?;
    let key_of = |app: &AppDetails| app.keys.first().map(|key| key.id.to_string()).unwrap_or_default();
    let path = |path: &Path| absolute(path).map(|path| path.display().to_string());
    let mut values = addresses.values(log);
    values.extend([
        ("CLIENT_ID", app.app.id.to_string()),
        ("KEY_ID", key_of(&app)),
        ("PRIVATE_KEY_FILE", path(&app_key)?),
        ("SCOPE", SCOPE.to_owned()),
        ("WRITE_KEY", website),
        ("OTHER_WRITE_KEY", elsewhere),
        ("OTHER_CLIENT_ID", other.app.id.to_string()),
        ("OTHER_KEY_ID", key_of(&other)),
        ("OTHER_PRIVATE_KEY_FILE", path(&other_key)?),
        ("UNENFORCED_WRITE_KEY", unenforced),
        ("OBSERVED_WRITE_KEY", observed),
        ("FUNCTION_KEY", function),
        ("WORKSPACE_ID", workspace.to_string()),
        ("OWNER_EMAIL", OWNER_EMAIL.to_owned()),
        ("OWNER_PASSWORD", password.to_string()),
        ("OWNER_API_TOKEN", api_token.expose().to_owned()),
        ("ISSUER_PRIVATE_KEY_FILE", path(&issuer_key)?),
    ]);
    Ok(EnvFile::of(values))
}

/// One source for each thing to try. Their write keys come back.
async fn make_sources(
    control: &Control,
    workspace: &WorkspaceId,
    app: &AppDetails,
    other: &AppDetails,
) -> Result<[String; 5], Failure> {
    let make = async |name, kind, app, enforcement| {
        let source = make_source(control, workspace, name, kind, app, enforcement).await?;
        Ok::<_, Failure>(source.write_key.expose().to_owned())
    };
    Ok([
        make("Website", "http_api", Some(app), Enforcement::On).await?,
        make("Somebody else's", "http_api", Some(other), Enforcement::On).await?,
        make("Not enforced", "nodejs", None, Enforcement::Off).await?,
        make("Observed", "python", Some(app), Enforcement::Observe).await?,
        make("Webhook", "source_function", Some(app), Enforcement::On).await?,
    ])
}

async fn make_app(
    control: &Control,
    workspace: &WorkspaceId,
    name: &str,
    scopes: &[&str],
    private_key: &Path,
) -> Result<AppDetails, Failure> {
    let pem = make_client_key(private_key)?;
    let new = NewApp {
        name: name.to_owned(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        token_lifetime: "1d".to_owned(),
        public_key: NewAppKey {
            name: "quickstart".to_owned(),
            pem,
            algorithm: None,
        },
    };
    control
        .apps
        .create(&ACTOR, workspace, new)
        .await
        .map_err(Failure::internal)
}

async fn make_source(
    control: &Control,
    workspace: &WorkspaceId,
    name: &str,
    kind: &str,
    app: Option<&AppDetails>,
    enforcement: Enforcement,
) -> Result<Source, Failure> {
    let new = NewSource {
        name: name.to_owned(),
        kind: kind.to_owned(),
        write_key: None,
    };
    let source = control
        .sources
        .create(&ACTOR, workspace, new)
        .await
        .map_err(Failure::internal)?;
    if let Some(app) = app {
        let id: &AppId = &app.app.id;
        control
            .sources
            .connect(&ACTOR, workspace, &source.id, id)
            .await
            .map_err(Failure::internal)?;
        control
            .sources
            .set_enforcement(&ACTOR, workspace, &source.id, enforcement)
            .await
            .map_err(Failure::internal)?;
    }
    Ok(source)
}

/// Makes an RSA key of 2048 bits, the private half in PKCS#8 as SDKs read it; returns the public half.
fn make_client_key(path: &Path) -> Result<String, Failure> {
    let failed = |_| Failure::internal("no key can be made");
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
    let private: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(failed)?;
    write_secret(path, &Zeroizing::new(pem("PRIVATE KEY", private.as_ref())))?;
    Ok(pem("PUBLIC KEY", public.as_ref()))
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    let _ = writeln!(text, "-----END {label}-----");
    text
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::input(format_args!("{}: {error}", path.display())))
}

/// A file of `KEY=value` lines that a shell can source.
pub(super) struct EnvFile {
    values: Vec<(String, Zeroizing<String>)>,
}

impl EnvFile {
    fn of(values: Vec<(&str, String)>) -> Self {
        Self {
            values: values
                .into_iter()
                .map(|(name, value)| (name.to_owned(), Zeroizing::new(value)))
                .collect(),
        }
    }

    /// Reads such a file.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::input(format_args!("{} cannot be read: {error}", path.display())))?;
        let text = Zeroizing::new(text);
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Ok(Self {
            values: pairs
                .map(|(name, value)| {
                    let bare = value
                        .strip_prefix('\'')
                        .and_then(|value| value.strip_suffix('\''))
                        .unwrap_or(value);
                    (name.to_owned(), Zeroizing::new(bare.to_owned()))
                })
                .collect(),
        })
    }

    fn read_if_there(path: &Path) -> Result<Option<Self>, Failure> {
        if path.exists() {
            Self::read(path).map(Some)
        } else {
            Ok(None)
        }
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values
            .iter()
            .find(|(held, _)| held == name)
            .map(|(_, value)| value.as_str())
    }

    /// The same data, reached where the planes listen now.
    fn moved_to(mut self, addresses: &Addresses, log: &Path) -> Self {
        for (name, value) in addresses.values(log) {
            self.values.retain(|(held, _)| held != name);
            self.values.push((name.to_owned(), Zeroizing::new(value)));
        }
        self
    }

    fn write(&self, path: &Path) -> Result<(), Failure> {
        let mut text = Zeroizing::new(String::new());
        for (name, value) in &self.values {
            let _ = writeln!(text, "{name}={}", quoted(value).as_str());
        }
        write_secret(path, &text)
    }
}

/// A word as a shell reads it. Paths may hold spaces; single quotes are the one quoting without surprises.
fn quoted(word: &str) -> Zeroizing<String> {
    let plain = word
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/@+=".contains(&byte));
    let quote = if plain { "" } else { "'" };
    Zeroizing::new(format!("{quote}{word}{quote}"))
}

/// Where a port is taken, says how to choose others: the newcomer knows none of the four.
fn name_the_flags(failure: Failure) -> Failure {
    let more = |message| {
        format!("{message} (--gateway, --control-plane, --observability and --upstream choose others)")
    };
    match failure {
        Failure::Input(message) => Failure::Input(more(message)),
        Failure::Environment(message) => Failure::Environment(more(message)),
        other => other,
    }
}

fn print_what_to_paste(
    args: &QuickstartArgs,
    env: &Path,
    addresses: &Addresses,
    upstream: SocketAddr,
    took: std::time::Duration,
) {
    let program =
        std::env::current_exe().map_or_else(|_| "portcullis".to_owned(), |path| path.display().to_string());
    // The other terminal may stand in another folder.
    let word = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        quoted(&path.display().to_string()).to_string()
    };
    let (program, dir, env) = (quoted(&program), word(&args.dir), word(env));
    let program = program.as_str();
    let Addresses {
        gateway,
        control,
        observability,
    } = addresses;
    println!(
        r#"portcullis is ready after {:.0} ms. Ctrl-C ends it; the data stays in {dir}.

  gateway         http://{gateway}
  Public API      http://{PUBLIC_HOST}:{}   (the same gateway, under a host of its own)
  console         http://{control}/   (sign in as {OWNER_EMAIL}; the password is OWNER_PASSWORD in {env})
  control plane   http://{control}   (token endpoint, management API)
  metrics         http://{observability}/metrics
  sample upstream http://{upstream}   (writes what it gets to {dir}/upstream.jsonl)
  config          {dir}/portcullis.yaml   (to go on: copy it in that folder, put your own upstream in, and run
                  {program} serve --config COPY)

Paste into another terminal:

# 1. Get an access token, as a client would: a signed assertion for a token.
. {env}
TOKEN=$({program} token --env {env})
(umask 077; printf 'Authorization: Bearer %s\n' "$TOKEN" > {dir}/token.header)

# 2. Send an event with it: allowed.
event() {{ printf '{{"event":"Hello","userId":"u1","writeKey":"%s"}}' "$WRITE_KEY"; }}
event | curl -sSi -w '\n' "$GATEWAY_URL/v1/track" -H @{dir}/token.header -H 'Content-Type: application/json' -d @-

# 3. Send one without a token: denied, and the answer says why.
event | curl -sSi -w '\n' "$GATEWAY_URL/v1/track" -H 'Content-Type: application/json' -d @-

# 4. Revoke the token, and send again: denied from this moment on.
(umask 077; printf 'Authorization: Bearer %s\n' "$OWNER_API_TOKEN" > {dir}/owner.header)
printf '{{"token":"%s"}}' "$TOKEN" | curl -sSi -w '\n' "$API_URL/workspaces/$WORKSPACE_ID/apps/$CLIENT_ID/tokens/revoke" \
  -H @{dir}/owner.header -H 'Content-Type: application/json' -d @-
event | curl -sSi -w '\n' "$GATEWAY_URL/v1/track" -H @{dir}/token.header -H 'Content-Type: application/json' -d @-

# 5. The same and more in a browser: the page, and what to sign in with.
printf '%s\n' "$CONSOLE_URL" "$OWNER_EMAIL" "$OWNER_PASSWORD"
"#,
        took.as_secs_f64() * 1_000.0,
        gateway.port()
    );
}
