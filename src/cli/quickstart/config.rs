//! The quickstart's config file: both planes and three APIs on this machine, in front of one sample upstream.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::args::QuickstartArgs;
use crate::cli::failure::Failure;
use crate::domain::sealing::KEY_BYTES;

/// The host of the Public API.
pub(super) const PUBLIC_HOST: &str = "localhost";

pub(crate) const ALL_SCOPES: [&str; 3] = ["tracking_api:write", "functions:write", "public_api:read_write"];

/// An address whose port the system chooses.
pub(super) const ANY_PORT: &str = "127.0.0.1:0";

/// The file that signing keys are encrypted with.
const ENCRYPTION_KEY: &str = "signing-encryption.key";

/// Where everything listens, as `host:port`.
pub(super) struct Listens {
    pub(super) gateway: String,
    pub(super) control_plane: String,
    pub(super) observability: String,
    pub(super) upstream: String,
    /// Where edges connect, if there are any.
    pub(super) edges: Option<String>,
}

/// How long edges serve enforced sources without a control plane.
const EDGE_MAX_AGE: &str = "5m";

/// The text of the config file.
pub(super) fn text(args: &QuickstartArgs, listens: &Listens) -> String {
    let (max_age, edges) = match &listens.edges {
        None => (String::new(), String::new()),
        Some(address) => (
            format!(", max_age: {EDGE_MAX_AGE}"),
            format!("  edges: {{listen: {}, heartbeat: 1s}}\n", json(address)),
        ),
    };
    let gateway = gateway(args, &listens.gateway, &listens.upstream);
    format!(
        r#"# `portcullis quickstart` writes this file at each start. Copy it to another name in this folder to change it, put your
# own upstream in, and run `portcullis serve --config COPY` after the quickstart has ended.
version: 1
{gateway}policy: {{source: bundled{max_age}}}
control_plane:
  listen: {control_plane}
  store: "sqlite:portcullis.db"
  signing: {{key_encryption_key: "file:{ENCRYPTION_KEY}"}}
{edges}observability:
  listen: {observability}
  access_log: {{enabled: {access_log}}}
shutdown: {{drain_timeout: 5s, idle_grace: 100ms}}
"#,
        control_plane = json(&listens.control_plane),
        observability = json(&listens.observability),
        access_log = args.access_log,
    )
}

/// The text of an edge's config file: the same gateway, fed by the control plane at `control_plane`.
pub(super) fn edge_text(args: &QuickstartArgs, listens: &Listens, name: &str) -> String {
    let control_plane = listens.edges.as_deref().unwrap_or_default();
    let gateway = gateway(args, ANY_PORT, &listens.upstream);
    format!(
        r#"# `portcullis quickstart --edges` writes this file at each start.
version: 1
{gateway}policy:
  source: remote
  control_planes: [{control_plane}]
  state: "{name}"
  join: "file:{name}.join"
  max_age: {EDGE_MAX_AGE}
observability: {{listen: "{ANY_PORT}", access_log: {{enabled: false}}}}
shutdown: {{drain_timeout: 5s, idle_grace: 100ms}}
"#,
        control_plane = json(&format!("http://{control_plane}")),
    )
}

/// The config's section about the gateway, when it listens on `address`.
fn gateway(args: &QuickstartArgs, address: &str, upstream: &str) -> String {
    let [tracking, functions, public] = ALL_SCOPES;
    let hosts: Vec<String> = event_hosts(address).iter().map(|host| json(host)).collect();
    let hosts = hosts.join(", ");
    let status = args.reauthenticate_status;
    // On all addresses the paths for events are taken under `localhost`, too; the sample upstream has no others.
    let shares = match is_on_all_addresses(address) {
        true => ", shares_upstream: true",
        false => "",
    };
    let public_url = match public_url(address) {
        Some(url) => format!("\n  public_url: {}", json(&url)),
        None => String::new(),
    };
    format!(
        r#"gateway:
  listeners: [{{address: {address}}}]{public_url}
  apis:
    tracking: {{hosts: [{hosts}], paths: ["/v1/*"], scope: "{tracking}", identify: [basic, body], upstream: sample, reauthenticate_status: {status}}}
    functions:
      hosts: [{hosts}]
      # Other methods there are the Public API's.
      paths: [{{path: "/", methods: [POST]}}]
      scope: "{functions}"
      identify: ["query:b", "header:X-Segment-Source-Function-Token"]
      upstream: sample
      reauthenticate_status: {status}
    # On a host of its own, so that no event finds a path around `tracking`.
    public: {{hosts: ["{PUBLIC_HOST}"], paths: ["/*"], scope: "{public}", identify: [token], without_token: forward, upstream: sample, reauthenticate_status: {status}{shares}}}
  upstreams:
    # The quickstart's own. Put the address of yours here.
    sample: {{servers: [{upstream}]}}
  token_cache: 10000
"#,
        address = json(address),
        upstream = json(upstream),
    )
}

/// The URL of a gateway that listens on one address.
fn public_url(address: &str) -> Option<String> {
    let at: SocketAddr = address.parse().ok()?;
    (!at.ip().is_unspecified() && at.port() != 0).then(|| format!("http://{at}"))
}

/// A text in quotes, as YAML and JSON read it.
fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Makes the key that the signing keys are encrypted with, unless an earlier run did.
pub(super) fn make_encryption_key(dir: &Path) -> Result<(), Failure> {
    let path = dir.join(ENCRYPTION_KEY);
    if path.exists() {
        return Ok(());
    }
    let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| Failure::internal("the system has no random numbers"))?;
    write_secret(&path, &Zeroizing::new(STANDARD.encode(bytes.as_slice())))
}

/// The hosts of the APIs for events, when the gateway listens on `address`. `localhost` is the Public API's alone,
/// which takes every path and forwards what carries no token. A listener on all addresses of the machine can be
/// reached by names that are unknown here; the paths for events are then taken on each of them.
fn event_hosts(address: &str) -> Vec<String> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() => vec!["*".to_owned()],
        Ok(_) => vec![host.to_ascii_lowercase()],
        Err(_) if bare.eq_ignore_ascii_case(PUBLIC_HOST) => vec!["127.0.0.1".to_owned(), "[::1]".to_owned()],
        Err(_) => vec![
            bare.to_ascii_lowercase(),
            "127.0.0.1".to_owned(),
            "[::1]".to_owned(),
        ],
    }
}

fn is_on_all_addresses(address: &str) -> bool {
    event_hosts(address).iter().any(|host| host == "*")
}

/// Writes a file that only this user may read, whole or not at all.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::input(format_args!("{} cannot be written: {error}", path.display()));
    let temporary = path.with_extension("new");
    let _ = std::fs::remove_file(&temporary);
    let mut file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(failed)
}

/// The path from the root of the file system, for files that are read from other folders.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::input(format_args!("{}: {error}", path.display())))
}
