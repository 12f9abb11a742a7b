//! deploy/: what runs beside the product knows its metrics, and each alert fires, is explained and leads to its page.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::support::process::{Process, portcullis};
use super::support::scratch::Scratch;
use crate::root;

/// Metrics of Prometheus and of the process, which the reference has besides our own.
fn known_metrics() -> BTreeSet<String> {
    let page = std::fs::read_to_string(root().join("docs/reference/metrics.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap().to_owned())
        .collect()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

/// The words of a text that look like the name of a metric.
fn metric_words(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c: char| !is_part(c));
    let is_metric = |word: &&str| word.starts_with("portcullis_") || word.starts_with("process_");
    words.filter(is_metric).collect()
}

#[test]
fn metrics_named_in_deploy_and_alert_pages_exist() {
    let known = known_metrics();
    let mut found = vec![
        root().join("docs/alerts.md"),
        root().join("docs/incident-gateway-denies-everything.md"),
    ];
    files(&root().join("deploy/prometheus"), &mut found);
    files(&root().join("deploy/grafana"), &mut found);
    let mut named = 0;
    for file in found {
        let text = std::fs::read_to_string(&file).unwrap();
        for word in metric_words(&text) {
            let series = ["_bucket", "_sum", "_count"];
            let family = series
                .iter()
                .find_map(|end| word.strip_suffix(end))
                .unwrap_or(word);
            assert!(
                known.contains(word) || known.contains(family),
                "{}: no metric is called {word}",
                file.display()
            );
            named += 1;
        }
    }
    assert!(named > 60, "{named}");
}

/// Prometheus' own checker.
fn promtool(words: &[&str]) {
    let program = root().join("target/test-env/prometheus/usr/bin/promtool");
    assert!(program.exists(), "promtool is missing; run `make setup` first");
    let mut command = Command::new(program);
    command.args(words).current_dir(root().join("deploy/prometheus"));
    let finished = Process::run(&mut command);
    let said = format!("{}{}", finished.stdout, finished.stderr);
    assert_eq!(finished.code, Some(0), "promtool {words:?}: {said}");
}

#[test]
fn each_alert_fires_on_its_fault() {
    promtool(&["check", "rules", "rules.yaml", "alerts.yaml"]);
    promtool(&["check", "config", "prometheus.yaml"]);
    promtool(&["test", "rules", "alerts_test.yaml"]);
    let tests: Value = yaml("deploy/prometheus/alerts_test.yaml");
    let tested: BTreeSet<&str> = tests["tests"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|test| test["alert_rule_test"][0]["alertname"].as_str())
        .collect();
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        assert!(
            tested.contains(name),
            "alerts_test.yaml has no fault that raises {name}"
        );
    }
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&std::fs::read_to_string(root().join(path)).unwrap()).unwrap()
}

fn alerts() -> Vec<Value> {
    yaml("deploy/prometheus/alerts.yaml")["groups"][0]["rules"]
        .as_array()
        .unwrap()
        .clone()
}

#[test]
fn each_alert_leads_to_its_page() {
    let page = std::fs::read_to_string(root().join("docs/alerts.md")).unwrap();
    let entries: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let alerts = alerts();
    let names: BTreeSet<&str> = alerts
        .iter()
        .map(|alert| alert["alert"].as_str().unwrap())
        .collect();
    assert_eq!(entries, names, "docs/alerts.md has one entry for each alert");
    for alert in &alerts {
        let name = alert["alert"].as_str().unwrap();
        let runbook = format!("docs/alerts.md#{}", name.to_lowercase());
        assert_eq!(alert["annotations"]["runbook"], runbook, "{name}");
    }
}

#[test]
fn configs_in_deploy_are_good() {
    let dir = Scratch::new();
    let pair = rcgen::generate_simple_self_signed(["control-plane".to_owned()]).unwrap();
    dir.write("edges.pem", &pair.cert.pem());
    dir.write("edges-key.pem", &pair.signing_key.serialize_pem());
    let compose = |name: &str| std::fs::read_to_string(root().join("deploy/compose").join(name)).unwrap();
    let helm = yaml("deploy/helm/values.yaml")["config"]
        .as_str()
        .unwrap()
        .to_owned();
    for (name, text) in [
        ("control-plane.yaml", compose("control-plane.yaml")),
        ("edge.yaml", compose("edge.yaml")),
        ("helm.yaml", helm),
    ] {
        let config = dir.write(name, &text.replace("/certs/", ""));
        let mut command = portcullis(["check"]);
        command.arg(config).envs([
            ("POSTGRES_PASSWORD", "secret-of-a-test"),
            (
                "PORTCULLIS_KEY_ENCRYPTION_KEY",
                "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            ),
            ("UPSTREAM", "192.0.2.1:80"),
            ("PORTCULLIS_JOIN_TOKEN", "pcj_token-of-a-test"),
        ]);
        let finished = Process::run(&mut command);
        assert_eq!(
            finished.code,
            Some(0),
            "{name}: {}{}",
            finished.stdout,
            finished.stderr
        );
    }
}
