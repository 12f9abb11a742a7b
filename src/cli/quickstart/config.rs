//! The quickstart's config: both planes and three APIs on this machine, in front of one sample upstream.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::args::QuickstartArgs;
use crate::cli::failure::Failure;
use crate::config::{
    Api, ApiPath, Config, ControlLimits, ControlPlane, ErrorForm, Gateway, Identify, Keys, LeakedTokens,
    Limits, Listener, Login, Observability, PathPattern, PolicyOrigin, ProxyProtocol, Shutdown, Signing,
    Timeouts, Upstream,
};
use crate::domain::facts::{UnknownSources, WithoutToken};
use crate::domain::policy::{Freshness, WhenStale};
use crate::domain::scope::Scope;
use crate::domain::sealing::{EncryptionKey, KEY_BYTES};
use crate::store_location::StoreLocation;

/// The name of the one upstream.
const UPSTREAM: &str = "sample";

/// The host of the Public API.
pub(super) const PUBLIC_HOST: &str = "localhost";

pub(super) fn config(args: &QuickstartArgs, upstream: SocketAddr) -> Result<Config, Failure> {
    let sample = Upstream {
        servers: vec![upstream.to_string()],
        tls: None,
        http2: false,
        health_check: None,
        timeouts: Timeouts {
            connect: Duration::from_secs(2),
            read: Duration::from_secs(30),
            write: Duration::from_secs(30),
            idle: Duration::from_secs(60),
        },
    };
    Ok(Config {
        path: args.dir.join("quickstart"),
        gateway: Some(Gateway {
            workers: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            listeners: vec![Listener {
                address: args.gateway.clone(),
                tls: None,
                proxy_protocol: ProxyProtocol::Off,
            }],
            apis: apis(&args.gateway, args.reauthenticate_status)?,
            upstreams: BTreeMap::from([(UPSTREAM.to_owned(), sample)]),
            limits: Limits::default(),
            trusted_proxies: Vec::new(),
            public_url: public_url(&args.gateway),
            token_cache_entries: 10_000,
        }),
        policy: PolicyOrigin::Bundled,
        freshness: Freshness {
            max_age_s: 86_400,
            when_stale: WhenStale::Deny,
        },
        issuers: Vec::new(),
        control_plane: Some(ControlPlane {
            listen: args.control_plane.clone(),
            public_url: None,
            audience: None,
            resources: public_url(&args.gateway).into_iter().collect(),
            assertion_lifetime_max: Duration::from_secs(3_600),
            store: StoreLocation::Sqlite(args.dir.join("portcullis.db")),
            signing: Signing {
                key_encryption_key: Some(encryption_key(&args.dir)?),
                ..Signing::default()
            },
            leaked_tokens: LeakedTokens::default(),
            trusted_proxies: Vec::new(),
            limits: ControlLimits::default(),
            login: Login::default(),
            audit_retention: Duration::from_secs(90 * 86_400),
            edges: None,
            fleet_max_age: Duration::from_secs(86_400),
        }),
        observability: Observability {
            listen: Some(args.observability.clone()),
            access_log: args.access_log,
        },
        // Nobody's events are at stake here, and whoever tries it out does not want to wait.
        shutdown: Shutdown {
            drain_timeout: Duration::from_secs(5),
            idle_grace: Duration::from_millis(100),
        },
        upgrade_socket: None,
        keys: Keys::default(),
    })
}

/// The URL of a gateway that listens on one address and a port that is known before it starts.
fn public_url(address: &str) -> Option<String> {
    let at: SocketAddr = address.parse().ok()?;
    (at.port() != 0 && !at.ip().is_unspecified()).then(|| format!("http://{at}"))
}

/// The key that the signing keys are encrypted with: the one of an earlier run, or a new one.
fn encryption_key(dir: &Path) -> Result<EncryptionKey, Failure> {
    let path = dir.join("signing-encryption.key");
    let text = if path.exists() {
        std::fs::read_to_string(&path)
            .map(Zeroizing::new)
            .map_err(|error| Failure::input(format_args!("{} cannot be read: {error}", path.display())))?
    } else {
        let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
        rand::fill(bytes.as_mut_slice()).map_err(|_| Failure::internal("there are no random numbers"))?;
        let text = Zeroizing::new(STANDARD.encode(bytes.as_slice()));
        write_secret(&path, &text)?;
        text
    };
    EncryptionKey::parse(&text)
        .map_err(|error| Failure::input(format_args!("the key in {} {error}", path.display())))
}

/// The hosts of the APIs for events, when the gateway listens on `address`. `localhost` is the Public API's alone,
/// which takes every path and forwards what carries no token. A listener on all addresses of the machine can be
/// reached by names that nobody knows here; the paths for events are then taken on each of them.
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

fn apis(address: &str, reauthenticate_status: u16) -> Result<Vec<Api>, Failure> {
    let api = |name: &str, path: ApiPath, scope: &str, identify| {
        Ok::<_, Failure>(Api {
            name: name.to_owned(),
            hosts: event_hosts(address),
            paths: vec![path],
            scope: Scope::parse(scope).map_err(Failure::internal)?,
            identify,
            upstream: UPSTREAM.to_owned(),
            unknown_sources: UnknownSources::Deny,
            without_token: WithoutToken::Deny,
            reauthenticate_status,
            forward_token: false,
            cors: None,
            error_form: ErrorForm::OAuth,
        })
    };
    let [tracking, functions, public] = ALL_SCOPES;
    let below = |prefix: &str| PathPattern::Prefix(prefix.to_owned()).into();
    let function_places = vec![
        Identify::Query("b".to_owned()),
        Identify::Header("x-segment-source-function-token".to_owned()),
    ];
    let public = Api {
        hosts: vec![PUBLIC_HOST.to_owned()],
        without_token: WithoutToken::Forward,
        error_form: ErrorForm::PublicApi,
        ..api("public", below("/"), public, vec![Identify::Token])?
    };
    Ok(vec![
        api(
            "tracking",
            below("/v1/"),
            tracking,
            vec![Identify::Basic, Identify::Body],
        )?,
        api(
            "functions",
            // Other methods there are the Public API's.
            ApiPath {
                methods: vec!["POST".to_owned()],
                ..PathPattern::Exact("/".to_owned()).into()
            },
            functions,
            function_places,
        )?,
        public,
    ])
}

pub(crate) const ALL_SCOPES: [&str; 3] = ["tracking_api:write", "functions:write", "public_api:read_write"];

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
