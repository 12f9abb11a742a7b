//! What an operator sees of a running process: request ids, metrics and the log of events.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::support::process::{Process, eventually, portcullis};
use super::support::product::{
    CONTROL_PLANE, Env, OBSERVABILITY, Serve, Wishes, gateway, project_file, quickstart_data, served_env,
};
use super::support::recorder::Recorder;
use super::support::scratch::Scratch;
use super::support::web::{get, post};

/// Both planes, with more in the config.
struct Watched {
    dir: Scratch,
    env: Env,
    serve: Serve,
    _upstream: Recorder,
}

impl Watched {
    fn start(more: &str) -> Self {
        Self::with_control(CONTROL_PLANE, more)
    }

    /// `control` is the section of the control plane.
    fn with_control(control: &str, more: &str) -> Self {
        let dir = quickstart_data();
        let upstream = Recorder::start();
        let config = gateway(&upstream, &Wishes::default()) + control + OBSERVABILITY + more;
        let serve = Serve::start(&dir.write("portcullis.yaml", &config));
        let env = served_env(dir.path(), &serve);
        Self {
            dir,
            env,
            serve,
            _upstream: upstream,
        }
    }

    /// Replaces a text of the config file.
    fn change(&self, from: &str, to: &str) {
        let path = self.dir.join("portcullis.yaml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        let fresh = self.dir.write("portcullis.yaml.new", &text.replace(from, to));
        fs::rename(fresh, path).unwrap();
    }

    fn metric(&self, name: &str, labels: &str) -> f64 {
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{labels}}}")
        };
        let start = format!("{name}{labels} ");
        let metrics = self.serve.metrics();
        let line = metrics.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("no {start}")).parse().unwrap()
    }

    /// A request of a client that no app knows.
    fn rejected_token_request(&self) -> String {
        let answer = post(self.env.get("TOKEN_URL"))
            .body(
                "application/x-www-form-urlencoded",
                b"grant_type=client_credentials",
            )
            .send();
        assert!((400..500).contains(&answer.status()), "{}", answer.status());
        answer.header("x-request-id").unwrap().to_owned()
    }

    /// The records of rejected token requests.
    fn rejections(&self) -> Vec<Value> {
        let all = self.serve.process.stderr.so_far();
        let records = all
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        records
            .filter(|record| record["message"] == "client request rejected")
            .collect()
    }
}

#[test]
fn every_answer_of_the_control_plane_has_a_request_id() {
    let watched = Watched::start("");
    let control = watched.env.get("AUTH_SERVER");
    let mut ids = BTreeSet::new();
    let paths = [
        "/.well-known/jwks.json",
        "/api/v1/workspaces",
        "/api/v1/openapi.json",
        "/console/sign-in",
        "/nowhere",
        "/token",
        "/%00",
    ];
    for path in paths {
        let answer = get(&format!("{control}{path}"))
            .header("X-Request-Id", "mine")
            .send();
        let id = answer.header("x-request-id").unwrap_or_else(|| panic!("{path}"));
        assert_ne!(id, "mine", "{path}: a client's own id is not believed");
        assert!(ids.insert(id.to_owned()), "{path}: {id} again");
    }
    let id = watched.rejected_token_request();
    eventually("the rejection is logged", || !watched.rejections().is_empty());
    assert_eq!(watched.rejections()[0]["span"]["request_id"], id);
    watched.serve.stop();
}

#[test]
fn rejected_management_requests_are_logged_with_their_cause() {
    let watched = Watched::start("");
    let api = format!("{}/workspaces", watched.env.get("API_URL"));
    let answer = |authorization: &str| {
        let answer = get(&api).header("Authorization", authorization).send();
        assert_eq!(answer.status(), 401, "{authorization}");
        answer.json()["detail"].clone()
    };
    let token = watched.env.get("OWNER_API_TOKEN");
    let (last, rest) = (token.len() - 1, if token.ends_with('0') { '1' } else { '0' });
    let unknown = format!("Bearer {}{rest}", &token[..last]);
    let told: Vec<Value> = ["Basic eDp5", "Bearer x.y.z", &unknown].map(answer).into();
    assert!(told.iter().all(|detail| *detail == told[0]), "{told:?}");
    let causes = || {
        let all = watched.serve.process.stderr.so_far();
        let records = all
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        records
            .filter(|record| record["message"] == "management request rejected")
            .map(|record| record["cause"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    eventually("the rejections are logged", || causes().len() == 3);
    assert_eq!(
        causes(),
        ["authorization_scheme", "api_token_malformed", "api_token_unknown"]
    );
    watched.serve.stop();
}

#[test]
fn trusted_proxy_gives_request_ids_and_edges_have_some() {
    let more = "  trusted_proxies: [\"127.0.0.0/8\"]\n  edges: {listen: \"127.0.0.1:0\"}\n";
    let watched = Watched::with_control(&format!("{CONTROL_PLANE}{more}"), "");
    let answer = get(watched.env.get("JWKS_URL"))
        .header("X-Request-Id", "of-the-proxy")
        .send();
    assert_eq!(answer.header("x-request-id"), Some("of-the-proxy"));
    let edges = watched.serve.process.stderr.wait_for("edges listen", |lines| {
        let mut records = lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let record = records.find(|record| record["listener"] == "edges")?;
        Some(record["address"].as_str()?.to_owned())
    });
    let nowhere = format!("http://{edges}/nowhere");
    let answer = get(&nowhere).header("X-Request-Id", "of-the-proxy").send();
    assert_eq!(answer.status(), 404);
    assert_eq!(answer.header("x-request-id"), Some("of-the-proxy"));
    let answer = get(&nowhere).send();
    assert!(answer.header("x-request-id").is_some_and(|id| !id.is_empty()));
    watched.serve.stop();
}

/// Prometheus' own checker.
fn promtool() -> PathBuf {
    let promtool = project_file("target/test-env/prometheus/usr/bin/promtool");
    assert!(promtool.exists(), "promtool is missing; run `make setup` first");
    promtool
}

/// The names of the series of a scrape, with their labels.
fn series_names(metrics: &str) -> BTreeSet<String> {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
        .collect()
}

#[test]
fn hostile_requests_make_no_new_series() {
    let watched = Watched::start("");
    let (gateway, control) = (watched.env.get("GATEWAY_URL"), watched.env.get("AUTH_SERVER"));
    let hostile = |n: usize| {
        let name = format!("x{n}-{n:016x}");
        let body = format!("{{\"writeKey\":\"{name}\",\"event\":\"{name}\"}}");
        post(&format!("{gateway}/v1/{name}?{name}={name}"))
            .host(&format!("{name}.example.com"))
            .bearer(&name)
            .header("User-Agent", &name)
            .header(&name, &name)
            .body("application/json", body.as_bytes())
            .send();
        get(&format!("{control}/{name}")).host(&name).send();
        get(&format!("{control}/api/v1/workspaces/{name}/apps/{name}"))
            .bearer(&name)
            .send();
        get(&format!("{control}/console/assets/{name}")).send();
        let form = format!("grant_type={name}&scope={name}&client_id={name}");
        post(&format!("{control}/token"))
            .body("application/x-www-form-urlencoded", form.as_bytes())
            .send();
    };
    hostile(0);
    let before = series_names(&watched.serve.metrics());
    (1..100).for_each(hostile);
    let after = series_names(&watched.serve.metrics());
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "{new:#?}");
    let total = watched.metric(
        "portcullis_control_requests_total",
        "code_class=\"4xx\",route=\"none\"",
    );
    assert!(total >= 100.0, "{total}");
    watched.serve.stop();
}

#[test]
fn counters_of_failures_are_there_from_the_start() {
    let watched = Watched::start("");
    let metrics = watched.serve.metrics();
    let page = fs::read_to_string(project_file("docs/reference/metrics.md")).unwrap();
    // These count per issuer or per route, and there is no outside issuer here.
    let later = ["portcullis_jwks_fetch_total"];
    let mut counters = 0;
    for line in page.lines().filter(|line| line.contains(" | counter | ")) {
        let name = line.split('`').nth(1).unwrap();
        if later.contains(&name) {
            continue;
        }
        counters += 1;
        let starts = [format!("\n{name} "), format!("\n{name}{{")];
        let is_there = starts.iter().any(|start| metrics.contains(start));
        assert!(is_there, "{name} has no series before the first event");
    }
    assert!(counters > 15, "{counters}");
    for series in ["result=\"invalid_client\"", "result=\"temporarily_unavailable\""] {
        assert!(watched.metric("portcullis_tokens_issued_total", series).abs() < f64::EPSILON);
    }
    assert!(metrics.contains("portcullis_build_info{commit="), "{metrics}");
    assert!(metrics.contains("\nprocess_resident_memory_bytes "));
    watched.serve.stop();
}

#[test]
fn metric_tells_of_a_refused_config_until_it_is_mended() {
    let watched = Watched::start("shutdown: {drain_timeout: 1s}\n");
    let good = || watched.metric("portcullis_config_last_reload_successful", "");
    assert!(good() > 0.5);
    watched.change("drain_timeout: 1s", "drain_timeout: nonsense");
    watched.serve.process.signal("HUP");
    eventually("the refusal is in the metrics", || good() < 0.5);
    watched.change("drain_timeout: nonsense", "drain_timeout: 2s");
    eventually("the mended config is in the metrics", || good() > 0.5);
    watched.serve.stop();
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    let watched = Watched::start("");
    watched.env.event("WRITE_KEY").send();
    watched.rejected_token_request();
    let metrics = watched.dir.write("metrics.txt", &watched.serve.metrics());
    let check = format!("{} check metrics < {}", promtool().display(), metrics.display());
    let finished = Process::run(Command::new("sh").args(["-c", &check]));
    assert_eq!(finished.code, Some(0), "{}{}", finished.stdout, finished.stderr);
    watched.serve.stop();
}

#[test]
fn log_level_changes_on_reload() {
    let watched = Watched::start("log: {level: info}\n");
    let reloads = || watched.metric("portcullis_config_reload_total", "result=\"ok\"");
    let change = |from: &str, to: &str| {
        let before = reloads();
        watched.change(from, to);
        watched.serve.process.signal("HUP");
        eventually("the config is reloaded", || reloads() > before);
    };
    change("level: info", "level: error");
    watched.rejected_token_request();
    change("level: error", "level: info");
    let id = watched.rejected_token_request();
    eventually("the rejection is logged", || !watched.rejections().is_empty());
    let rejections = watched.rejections();
    assert_eq!(rejections.len(), 1, "{rejections:?}");
    assert_eq!(rejections[0]["span"]["request_id"], id);
    watched.serve.stop();
}

#[test]
fn log_can_be_text_and_the_flag_wins() {
    let dir = quickstart_data();
    let config = gateway(&Recorder::start(), &Wishes::default())
        + CONTROL_PLANE
        + OBSERVABILITY
        + "log: {level: error, format: text}\n";
    let path = dir.write("portcullis.yaml", &config);
    let mut command = portcullis(["serve", "--log-level", "info", "--config"]);
    let process = Process::start(command.arg(&path));
    process.stderr.wait_for("a line of text", |lines| {
        let is_text =
            |line: &String| line.contains(" INFO ") && line.contains("listening listener=\"gateway\"");
        lines.iter().any(is_text).then_some(())
    });
    assert_eq!(process.stop().code, Some(0));
    let refused = Process::run(portcullis(["serve", "--log-level", "loud", "--config"]).arg(&path));
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.stderr.contains("error, warn, info, debug or trace"),
        "{}",
        refused.stderr
    );
}

#[test]
fn readiness_ends_before_listeners_close() {
    let watched = Watched::start("shutdown: {delay: 4s, drain_timeout: 1s, idle_grace: 0s}\n");
    let ready = format!("{}/readyz", watched.serve.observability.as_deref().unwrap());
    assert_eq!(get(&ready).send().status(), 200);
    watched.serve.process.terminate();
    eventually("readiness ends", || get(&ready).send().status() == 503);
    let said = String::from_utf8(get(&ready).send().body).unwrap();
    assert!(said.contains("ending"), "{said}");
    // A load balancer that has not looked yet still gets its answer.
    assert_eq!(watched.env.event("WRITE_KEY").send().status(), 401);
    assert_eq!(get(watched.env.get("JWKS_URL")).send().status(), 200);
    assert_eq!(watched.serve.process.finish().code, Some(0));
}
