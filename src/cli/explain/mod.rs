//! `portcullis explain`: why the gateway allows or denies a request, check by check, by the gateway's own code.

mod curl;
mod http_file;
pub(super) mod output;
mod policy;
mod remedies;
mod request;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::Value;
use zeroize::Zeroizing;

use self::request::{RequestText, contents};
use super::admin_socket;
use super::failure::Failure;
use crate::clock::{Clock, ManualClock};
use crate::config;
use crate::config::{Config, OutsideIssuer};
use crate::domain::time::UnixSeconds;
use crate::gateway::explain::denials::DENIALS_MAX;
use crate::gateway::explain::explanation::{Explanation, Outcome};
use crate::gateway::link::jwks;
use crate::gateway::offline::OfflineGateway;

/// The config that is read where none is named.
const CONFIG: &str = "portcullis.yaml";

/// How the explanation is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people: each check in order, and what to do about the one that failed
    Text,
    /// One JSON object
    Json,
}

#[derive(Args)]
#[command(group = clap::ArgGroup::new("input").required(true).args(["request", "curl", "url", "request_id"]))]
pub(super) struct ExplainArgs {
    /// The config of the gateway (YAML); its policy comes from the policy file or the store that it names
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_CONFIG", default_value = CONFIG)]
    config: PathBuf,
    /// A file with one request as it is sent: request line, headers, empty line, body; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// A curl command line, as one argument
    #[arg(long, value_name = "COMMAND")]
    curl: Option<String>,
    /// The URL of the request
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The id of a request that a running gateway denied, found through the admin socket of the config
    #[arg(long, value_name = "ID", conflicts_with_all = ["token", "at"])]
    request_id: Option<String>,
    /// The method [default: GET, or POST with --data]
    #[arg(short = 'X', long = "method", value_name = "METHOD", requires = "url")]
    method: Option<String>,
    /// A header (repeatable)
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", requires = "url")]
    headers: Vec<String>,
    /// The body, or `@FILE`; sent as application/json unless --header says otherwise
    #[arg(long, value_name = "BODY", requires = "url")]
    data: Option<String>,
    /// The access token, `@FILE`, or `-` for standard input; it replaces the request's own
    #[arg(long, value_name = "TOKEN", allow_hyphen_values = true)]
    token: Option<String>,
    /// Decide as at this moment (RFC 3339, such as 2026-01-31T12:00:00Z) [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<jiff::Timestamp>,
    /// How to write the explanation
    #[arg(long, value_name = "FORM", value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub(super) const EXIT_CODES: &str = "\
The policy is the current one: there is no history, so --at changes the time alone. Nothing is sent to the upstream.

Exit codes:
  0 allow or would_deny    3 deny    1 the config or the request cannot be read    2 wrong usage
  75 the store is not there yet: try again";

/// Explains one request.
pub(super) async fn explain(args: ExplainArgs) -> Result<(), Failure> {
    let report = match &args.request_id {
        Some(id) => looked_up(&args, id).await?,
        None => {
            let request = request_of(&args)?;
            let config = config::load(&args.config)?;
            let (explanation, notes) = explained(&config, clock(args.at)?, &request.bytes()?).await?;
            output::report(&explanation, &notes)
        }
    };
    match args.output {
        Output::Json => output::json(&report)?,
        Output::Text => output::text(&report),
    }
    match report.get("decision").and_then(Value::as_str) == Some(Outcome::Deny.as_str()) {
        true => Err(Failure::Denied),
        false => Ok(()),
    }
}

/// The report of a denial that a running gateway remembers.
async fn looked_up(args: &ExplainArgs, id: &str) -> Result<Value, Failure> {
    let config = config::load(&args.config)?;
    let Some(socket) = &config.admin_socket else {
        return Err(Failure::input(format_args!(
            "{} has no admin socket; add `admin: {{socket: portcullis-admin.sock}}` and restart the gateway",
            config.path.display()
        )));
    };
    admin_socket::denial(socket, id).await?.ok_or_else(|| {
        Failure::input(format_args!(
            "request `{}` is not among the last {DENIALS_MAX} denials of the gateway at {}; it was allowed, denied longer ago, or handled by another process",
            id.escape_debug(),
            socket.display()
        ))
    })
}

fn request_of(args: &ExplainArgs) -> Result<RequestText, Failure> {
    let mut request = match (&args.request, &args.curl, &args.url) {
        (Some(path), ..) => http_file::parse(&contents(path)?)?,
        (_, Some(line), _) => curl::parse(line)?,
        (_, _, Some(url)) => of_flags(args, url)?,
        (None, None, None) => {
            return Err(Failure::input(
                "no request is named; give --request, --curl or --url",
            ));
        }
    };
    if let Some(token) = &args.token {
        request.set_token(&token_text(token)?)?;
    }
    Ok(request)
}

fn of_flags(args: &ExplainArgs, url: &str) -> Result<RequestText, Failure> {
    let body = args.data.as_deref().map(request::data).transpose()?;
    let method = match (&args.method, &body) {
        (Some(method), _) => method.clone(),
        (None, Some(_)) => "POST".to_owned(),
        (None, None) => "GET".to_owned(),
    };
    let mut request = RequestText::new(&method, url)?;
    for header in &args.headers {
        request.add_header(header)?;
    }
    if let Some(body) = body {
        if !request.has("content-type") {
            request.add_header("Content-Type: application/json")?;
        }
        request.body = body;
    }
    Ok(request)
}

fn token_text(token: &str) -> Result<Zeroizing<String>, Failure> {
    let text = match (token, token.strip_prefix('@')) {
        ("-", _) => contents(std::path::Path::new("-"))?,
        (_, Some(file)) => contents(std::path::Path::new(file))?,
        _ => Zeroizing::new(token.as_bytes().to_vec()),
    };
    let text = std::str::from_utf8(&text).map_err(|_| Failure::input("the token is not ASCII text"))?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

fn clock(at: Option<jiff::Timestamp>) -> Result<Clock, Failure> {
    let Some(at) = at else {
        return Ok(Clock::System);
    };
    let seconds = u64::try_from(at.as_second());
    let seconds = seconds.map_err(|_| Failure::input("--at is before 1970"))?;
    Ok(Clock::Manual(ManualClock::at(UnixSeconds(seconds))))
}

/// The explanation, and what else there is to know about it.
async fn explained(
    config: &Config,
    clock: Clock,
    request: &[u8],
) -> Result<(Explanation, Vec<String>), Failure> {
    let Some(gateway) = &config.gateway else {
        return Err(Failure::input(format_args!(
            "{} has no gateway section, so it decides nothing; name the config of a gateway",
            config.path.display()
        )));
    };
    let snapshot = policy::snapshot(config, clock.now()).await?;
    let offline = OfflineGateway::new(gateway, &config.issuers, clock)?;
    offline
        .install(&snapshot, config.freshness)
        .map_err(|error| Failure::input(format_args!("the policy cannot be used: {error}")))?;
    let explanation = offline.explain(request).await;
    let lacking = explanation.lacks_keys_of.as_deref();
    let Some(issuer) = lacking.and_then(|name| config.issuers.iter().find(|held| held.issuer == name)) else {
        return Ok((explanation, Vec::new()));
    };
    let note = fetch_keys(&offline, issuer).await;
    Ok((offline.explain(request).await, vec![note]))
}

/// Fetches the keys of an issuer, since the token is its. Says how it went.
async fn fetch_keys(offline: &OfflineGateway, issuer: &OutsideIssuer) -> String {
    let name = &issuer.issuer;
    match jwks::fetch_once(issuer).await {
        Ok(Some(found)) => {
            offline.set_issuer_keys(name, &found.keys);
            format!(
                "fetched {} keys of issuer `{name}` from {}",
                found.keys.len(),
                found.uri
            )
        }
        Ok(None) => format!("issuer `{name}` has its keys in a file"),
        Err(error) => format!(
            "keys of issuer `{name}` could not be fetched, and a gateway that has them decides otherwise: {error}"
        ),
    }
}
