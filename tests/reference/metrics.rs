//! docs/reference/metrics.md: every metric of a process that runs both planes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::process::{Process, portcullis};
use super::support::scratch::Scratch;
use super::support::web::{get, post};
use crate::{check_page, opening, row, sources, table};

/// Texts in the code that look like a metric's name.
const NO_METRICS: [&str; 1] = [
    // The channel of PostgreSQL's LISTEN and NOTIFY.
    "portcullis_policy",
];

const CONFIG: &str = r#"version: 1
gateway:
  listeners:
    - {address: "127.0.0.1:0"}
    - {address: "127.0.0.1:0", tls: {certificates: [{cert: "edge.crt", key: "edge.key"}]}}
  apis:
    tracking: {hosts: ["*"], paths: ["/v1/*"], scope: "tracking_api:write", identify: [basic, body], upstream: events}
  upstreams:
    events: {servers: ["127.0.0.1:9"]}
issuers:
  - {issuer: "https://issuer.test/", jwks_uri: "http://127.0.0.1:9/jwks.json", audience: ["https://gateway.test"]}
control_plane:
  listen: "127.0.0.1:0"
  store: "sqlite:portcullis.db"
observability: {listen: "127.0.0.1:0", access_log: {enabled: false}}
"#;

/// One metric as a scrape shows it.
#[derive(Default)]
struct Metric {
    help: String,
    kind: String,
    labels: BTreeSet<String>,
}

/// The metrics of a scrape in the Prometheus text format.
fn read(text: &str) -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    let mut of = |name: &str, change: &mut dyn FnMut(&mut Metric)| {
        change(metrics.entry(name.to_owned()).or_default());
    };
    let mut family = String::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            of(name, &mut |metric| metric.help = help.to_owned());
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            of(name, &mut |metric| metric.kind = kind.to_owned());
            family = name.to_owned();
        } else if let Some((labels, _)) = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')) {
            for label in labels.split("\",") {
                let name = label.split('=').next().unwrap();
                if name != "le" {
                    of(&family, &mut |metric| {
                        metric.labels.insert(name.to_owned());
                    });
                }
            }
        }
    }
    metrics
}

/// The texts of src that are a metric's name.
fn names_in_the_code() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, text) in sources() {
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for after in code.split("\"portcullis_").skip(1) {
            let Some((rest, _)) = after.split_once('"') else {
                continue;
            };
            let name = format!("portcullis_{rest}");
            let is_name = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            if is_name && !NO_METRICS.contains(&name.as_str()) {
                names.insert(name);
            }
        }
    }
    names
}

/// Starts both planes and waits until every metric of the code is in a scrape.
#[expect(
    clippy::disallowed_methods,
    reason = "another process needs real time to start"
)]
fn scrape() -> String {
    let dir = Scratch::new();
    let pair = rcgen::generate_simple_self_signed(["edge.test".to_owned()]).unwrap();
    dir.write("edge.crt", &pair.cert.pem());
    dir.write("edge.key", &pair.signing_key.serialize_pem());
    let config = dir.write("portcullis.yaml", CONFIG);
    let process = Process::start(portcullis(["serve", "--config"]).arg(config));
    let listener = |name: &'static str| {
        process.stderr.wait_for("a listener", |lines| {
            let mut records = lines
                .iter()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let record = records.find(|record| record["listener"] == name)?;
            Some(format!("http://{}", record["address"].as_str()?))
        })
    };
    let url = format!("{}/metrics", listener("observability"));
    // One request to the token endpoint, so that its counter has a result.
    let token = format!("{}/token", listener("control_plane"));
    post(&token).body("application/x-www-form-urlencoded", b"").send();
    let wanted = names_in_the_code();
    let deadline = Instant::now() + Duration::from_secs(20);
    let text = loop {
        let text = String::from_utf8(get(&url).send().body).unwrap();
        let found = read(&text);
        let missing: Vec<&String> = wanted.iter().filter(|name| !found.contains_key(*name)).collect();
        if missing.is_empty() {
            break text;
        }
        assert!(
            Instant::now() < deadline,
            "{missing:?} are in src and not in a scrape; a metric with labels appears when a label value is first \
             used: create its values with 0 at the start"
        );
        std::thread::yield_now();
    };
    assert_eq!(process.stop().code, Some(0));
    text
}

#[test]
fn metrics_page_is_current() {
    let mut page = opening(
        "Metrics",
        "`GET /metrics` of the observability listener, in the Prometheus text format. No label takes a value that a client \
         chooses.",
    );
    page += &table(&["Metric", "Type", "Labels", "Meaning"]);
    for (name, metric) in read(&scrape()) {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        page += &row(&[
            &format!("`{name}`"),
            &metric.kind,
            &labels.join(" "),
            &metric.help,
        ]);
    }
    check_page("metrics.md", &page);
}
