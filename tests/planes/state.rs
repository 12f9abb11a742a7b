//! `portcullis export` and `apply` move what a workspace holds between files and stores, next to a running server.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::support::process::{Finished, Process, eventually, portcullis};
use super::support::product::{NEW_CONTROL_PLANE, World, key_pair};
use super::support::scratch::Scratch;

const SCOPE: &str = "tracking_api:write";
const PASSWORD: &str = "correct horse battery staple";

fn state(verb: &str, config: &Path, workspace: &str, args: &[&str]) -> Finished {
    let mut command = portcullis([verb]);
    command
        .arg("--config")
        .arg(config)
        .args(["--workspace", workspace])
        .args(args);
    Process::run(&mut command)
}

fn apply(config: &Path, workspace: &str, file: &Path, args: &[&str]) -> Finished {
    let file = ["--file", file.to_str().unwrap()];
    state("apply", config, workspace, &[&file, args].concat())
}

fn assert_ok(done: &Finished) {
    assert_eq!(done.code, Some(0), "{} {}", done.stdout, done.stderr);
}

/// A store with an owner and the workspace `Main`, and its config.
fn empty_store(dir: &Scratch) -> std::path::PathBuf {
    let config = dir.write(
        "new.yaml",
        &format!("version: 1\n{NEW_CONTROL_PLANE}").replace("portcullis.db", "new.db"),
    );
    let mut owner: Command = portcullis(["admin", "owner", "--email", "me@example.com", "--config"]);
    let mut owner = Process::start(owner.arg(&config));
    owner.say(PASSWORD);
    assert_ok(&owner.finish());
    config
}

#[test]
fn export_then_apply_changes_nothing_next_to_a_server() {
    let world = World::start();
    let config = world.dir.join("portcullis.yaml");
    let workspace = world.env.get("WORKSPACE_ID").to_owned();
    let exported = world.dir.join("state.yaml");
    assert_ok(&state(
        "export",
        &config,
        &workspace,
        &["--file", exported.to_str().unwrap()],
    ));
    let text = fs::read_to_string(&exported).unwrap();
    for secret in world.env.secrets() {
        assert!(!text.contains(&secret), "a secret is exported");
    }
    assert!(
        text.contains("-----BEGIN PUBLIC KEY-----") && text.contains(world.env.get("OWNER_EMAIL")),
        "{text}"
    );
    let before = world
        .env
        .change("GET", "/audit-events?limit=200", &serde_json::Value::Null);
    for args in [&[][..], &["--dry-run"]] {
        let again = apply(&config, &workspace, &exported, args);
        assert_ok(&again);
        assert_eq!(again.stdout, "Nothing to change.");
    }
    let after = world
        .env
        .change("GET", "/audit-events?limit=200", &serde_json::Value::Null);
    assert_eq!(
        before["items"].as_array().unwrap().len(),
        after["items"].as_array().unwrap().len()
    );
    // A change of the file is one of the running gateway, within seconds, and is in the trail with its author.
    let token = world.env.token("", SCOPE);
    assert_eq!(world.env.event("WRITE_KEY").bearer(&token).send().status(), 200);
    let source = world.env.change("GET", "/sources", &serde_json::Value::Null)["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|source| source["write_key"] == world.env.get("UNENFORCED_WRITE_KEY"))
        .unwrap()["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let entry = text
        .split("  - id: ")
        .find(|entry| entry.contains(&format!("name: \"{source}\"")))
        .unwrap();
    let connected = entry.replace(
        "enforcement: \"off\"",
        &format!("app: \"{}\"\n    enforcement: \"on\"", world.env.get("CLIENT_ID")),
    );
    let connected = match entry.contains("app:") {
        true => entry.replace("enforcement: \"off\"", "enforcement: \"on\""),
        false => connected,
    };
    let changed = world.dir.write("changed.yaml", &text.replace(entry, &connected));
    let dry = apply(&config, &workspace, &changed, &["--dry-run"]);
    assert!(
        dry.stdout
            .contains(&format!("would set enforcement of source `{source}` to on")),
        "{}",
        dry.stdout
    );
    assert_eq!(world.env.event("UNENFORCED_WRITE_KEY").send().status(), 200);
    let done = apply(&config, &workspace, &changed, &[]);
    assert_ok(&done);
    assert!(
        done.stdout
            .contains(&format!("done: set enforcement of source `{source}` to on")),
        "{}",
        done.stdout
    );
    eventually("the gateway enforces the source", || {
        world.env.event("UNENFORCED_WRITE_KEY").send().status() == 401
    });
    let events = world
        .env
        .change("GET", "/audit-events?limit=200", &serde_json::Value::Null);
    let events = events["items"].as_array().unwrap();
    assert!(
        events.iter().any(|event| event.to_string().contains("\"apply\"")),
        "no event has the author `apply`"
    );
    assert_eq!(
        apply(&config, &workspace, &changed, &[]).stdout,
        "Nothing to change."
    );
}

#[test]
fn apply_makes_another_store_hold_the_same() {
    let world = World::start();
    let config = world.dir.join("portcullis.yaml");
    let exported = world.dir.join("state.yaml");
    let workspace = world.env.get("WORKSPACE_ID").to_owned();
    assert_ok(&state(
        "export",
        &config,
        &workspace,
        &["--file", exported.to_str().unwrap()],
    ));
    let dir = Scratch::new();
    let other = empty_store(&dir);
    let made = apply(&other, "Main", &exported, &[]);
    assert_ok(&made);
    assert!(
        made.stdout.contains("done: create app `") && made.stdout.contains("done: create source `"),
        "{}",
        made.stdout
    );
    // The owner that the store had stays, and is named.
    assert!(
        made.stdout.contains("left alone: member `me@example.com`"),
        "{}",
        made.stdout
    );
    let again = apply(&other, "Main", &exported, &[]);
    assert!(again.stdout.ends_with("Nothing to change."), "{}", again.stdout);
    // Apart from ids, both stores hold the same.
    let plain = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.contains("- id: ") && !line.contains("  app: "));
        lines
            .filter(|line| !line.contains("me@example.com"))
            .map(str::to_owned)
            .collect()
    };
    let held = state("export", &other, "Main", &[]).stdout;
    let (mut one, mut two) = (
        plain(&held),
        plain(fs::read_to_string(&exported).unwrap().trim_end()),
    );
    one.sort();
    one.dedup();
    two.sort();
    two.dedup();
    assert_eq!(one, two);
}

#[test]
fn apply_checks_the_whole_file_before_the_first_change() {
    let dir = Scratch::new();
    let config = empty_store(&dir);
    let (_, public) = key_pair(&dir);
    let pem = public
        .lines()
        .map(|line| format!("          {line}\n"))
        .collect::<String>();
    let app = format!(
        "apps:\n  - name: Orders\n    scopes: [\"{SCOPE}\"]\n    keys:\n      - name: k\n        pem: |\n{pem}"
    );
    let before = state("export", &config, "Main", &[]).stdout;
    for (rest, words) in [
        (
            "sources:\n  - {name: S, kind: nothing}\n",
            "unknown kind; choose one of http_api",
        ),
        (
            "sources:\n  - {name: S, kind: http_api, enforcement: \"on\"}\n",
            "enforcement needs an app",
        ),
        (
            "sources:\n  - {name: S, kind: http_api, app: Nobody}\n",
            "app `Nobody` not found",
        ),
        (
            "sources:\n  - {name: S, kind: source_function, app: Orders}\n",
            "lacks the scope `functions:write`",
        ),
        (
            "sources:\n  - {name: S, kind: http_api}\n  - {name: S, kind: http_api}\n",
            "the source `S` is repeated",
        ),
        (
            "sources:\n  - {name: S, kind: http_api, write_key: \"${NOT_THERE}\"}\n",
            "no variable `NOT_THERE`",
        ),
        ("sources:\n  - {name: S, knd: http_api}\n", "did you mean `kind`?"),
        (
            "members:\n  - {email: a@example.com, roles: [{role: king}]}\n",
            "a role is one of workspace_owner",
        ),
        (
            "members:\n  - {email: a@example.com, roles: [{role: source_admin, resources: [S]}]}\n",
            "source `S` not found",
        ),
    ] {
        let file = dir.write("bad.yaml", &format!("{app}{rest}"));
        let done = apply(&config, "Main", &file, &[]);
        assert_eq!(done.code, Some(1), "{words} {}", done.stdout);
        assert!(done.stderr.contains(words), "{words}: {}", done.stderr);
        assert_eq!(state("export", &config, "Main", &[]).stdout, before, "{words}");
    }
    let good = dir.write("good.yaml", &format!(
        "{app}sources:\n  - {{name: S, kind: http_api, app: Orders, enforcement: observe, write_key: wk_imported_1}}\n\
         members:\n  - {{email: a@example.com, roles: [{{role: source_admin, resources: [S]}}]}}\n"
    ));
    let done = apply(&config, "Main", &good, &[]);
    assert_ok(&done);
    assert!(!done.stdout.contains("wk_imported_1"), "{}", done.stdout);
    assert!(
        apply(&config, "Main", &good, &[])
            .stdout
            .ends_with("Nothing to change.")
    );
    let unknown = state("export", &config, "Other", &[]);
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.stderr.contains("workspace `Other` not found"),
        "{}",
        unknown.stderr
    );
}
