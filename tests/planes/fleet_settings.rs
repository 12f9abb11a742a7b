//! Settings that all control planes on one store share.

use serde_json::Value;

use super::edge_link::OwnEdge;
use super::edges::{Fleet, eventually};
use super::support::process::{Finished, Process, portcullis};
use super::support::product::Serve;

fn fleet_command(fleet: &Fleet, args: &[&str]) -> Finished {
    let mut command = portcullis(["admin", "fleet"]);
    command
        .args(args)
        .arg("--config")
        .arg(fleet.dir.join("control.yaml"));
    Process::run(&mut command)
}

#[test]
fn fleet_max_age_is_stored_changed_and_reaches_edges() {
    let fleet = Fleet::start();
    let edge = OwnEdge::join(&fleet, "own-1");
    // The config's value was stored at the first start.
    let shown = fleet_command(&fleet, &["show"]);
    assert_eq!(
        shown.stdout, "max_age   4s\naudience  portcullis  (default)",
        "{}",
        shown.stderr
    );
    assert_eq!(edge.beat(&Value::Null)["max_age_s"], 4);
    let set = fleet_command(&fleet, &["set", "--max-age", "6s"]);
    assert_eq!(
        (set.code, set.stdout.lines().next()),
        (Some(0), Some("max_age   6s")),
        "{}",
        set.stderr
    );
    // The running control plane reads it within seconds.
    eventually(&Value::from(6), || edge.beat(&Value::Null)["max_age_s"].clone());
    assert_eq!(fleet_command(&fleet, &["set", "--max-age", "1s"]).code, Some(1));
    assert_eq!(fleet_command(&fleet, &["set"]).code, Some(2));
    let Fleet { control, dir, .. } = fleet;
    control.stop();
    // A config that says otherwise is refused, and one that says nothing takes what is stored.
    let config = dir.join("control.yaml");
    let refused = Process::run(portcullis(["serve", "--config"]).arg(&config));
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("admin fleet set"), "{}", refused.stderr);
    let text = std::fs::read_to_string(&config)
        .unwrap()
        .replace("policy: {max_age: 4s}", "policy: {}");
    Serve::start(&dir.write("control.yaml", &text)).stop();
}
