//! `portcullis explain` says why a request is allowed or denied, and what it says is what the gateway does.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::support::process::{Finished, Process, portcullis};
use super::support::product::{Env, NEW_CONTROL_PLANE, World};
use super::support::scratch::Scratch;
use super::support::web::Request;

const SCOPE: &str = "tracking_api:write";

/// A gateway on a policy file, and an issuer whose keys are in a file.
const ON_FILE: &str = r#"version: 1
gateway:
  listeners: [{address: "127.0.0.1:0"}]
  apis:
    tracking: {hosts: ["*"], paths: ["/v1/*"], scope: "tracking_api:write", identify: [basic, body], upstream: events}
  upstreams:
    events: {servers: ["127.0.0.1:1"]}
policy: {source: file, file: policy.yaml}
issuers:
  - {issuer: "https://login.example.com", jwks_file: keys.json, algorithms: [ES256], audience: [events]}
"#;

const POLICY: &str = r#"apps:
  - {id: app_1, workspace: ws_1, scopes: ["tracking_api:write"]}
sources:
  - {id: src_1, workspace: ws_1, write_key: wk_enforced_1, app: app_1, enforcement: "on"}
  - {id: src_2, workspace: ws_1, write_key: wk_observed_1, app: app_1, enforcement: "observe"}
  - {id: src_3, workspace: ws_1, write_key: wk_open_1, enforcement: "off"}
"#;

/// The x and y of RFC 7517 appendix A.1.
const KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","kid":"1"}]}"#;

fn explain(config: &Path, args: &[&str]) -> Finished {
    let mut command = portcullis(["explain", "--config"]);
    Process::run(command.arg(config).args(args))
}

fn json(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {}", finished.stderr))
}

/// The result of the check with this name.
fn check<'j>(report: &'j Value, name: &str) -> &'j Value {
    let checks = report["checks"].as_array().unwrap().iter();
    checks.into_iter().find(|check| check["name"] == name).unwrap()
}

fn on_file() -> (Scratch, std::path::PathBuf) {
    let dir = Scratch::new();
    dir.write("policy.yaml", POLICY);
    dir.write("keys.json", KEYS);
    let config = dir.write("portcullis.yaml", ON_FILE);
    (dir, config)
}

#[test]
fn explain_reads_a_file_a_curl_line_and_flags_alike() {
    let (dir, config) = on_file();
    let body = r#"{"event": "Hello", "writeKey": "wk_enforced_1"}"#;
    let file = dir.write(
        "r.http",
        &format!("POST https://events.test/v1/track\nContent-Type: application/json\n\n{body}"),
    );
    let data = dir.write("body.json", body);
    let data = format!("@{}", data.display());
    let curl =
        format!("curl -X POST https://events.test/v1/track -H 'Content-Type: application/json' -d '{body}'");
    let url = "https://events.test/v1/track";
    for args in [
        &["--request", file.to_str().unwrap()][..],
        &["--curl", &curl],
        &["--url", url, "-X", "POST", "--data", &data],
    ] {
        let done = explain(&config, &[args, &["--output", "json"]].concat());
        assert_eq!(done.code, Some(3), "{args:?} {}", done.stderr);
        let report = json(&done);
        assert_eq!(report["decision"], "deny", "{report}");
        assert_eq!(report["reason"], "token_missing");
        assert_eq!(
            (&report["api"], &report["policy_version"]),
            (&"tracking".into(), &1.into())
        );
        assert_eq!(
            report["source"],
            serde_json::json!({"id": "src_1", "enforcement": "on"})
        );
        assert_eq!(report["app"], Value::Null);
        assert_eq!(check(&report, "source")["result"], "pass");
        assert_eq!(check(&report, "token")["result"], "fail");
        assert_eq!(check(&report, "scope")["result"], "skipped");
    }
    let text = explain(&config, &["--curl", &curl]);
    assert_eq!((text.code, text.stderr.as_str()), (Some(3), ""));
    assert!(text.stdout.starts_with("deny token_missing: "), "{}", text.stdout);
    assert!(
        text.stdout.contains("  do       send an access token"),
        "{}",
        text.stdout
    );
    assert!(text.stdout.contains("  FAIL     token"), "{}", text.stdout);
}

#[test]
fn explain_exit_code_is_the_decision() {
    let (_dir, config) = on_file();
    let url = "https://events.test/v1/track";
    let with = |key: &str| {
        explain(
            &config,
            &[
                "--url",
                url,
                "-H",
                "X: 1",
                "--data",
                &format!("{{\"writeKey\":\"{key}\"}}"),
            ],
        )
    };
    assert_eq!(with("wk_open_1").code, Some(0));
    let observed = with("wk_observed_1");
    assert_eq!(observed.code, Some(0), "{}", observed.stderr);
    assert!(
        observed.stdout.starts_with("would_deny token_missing"),
        "{}",
        observed.stdout
    );
    assert_eq!(with("wk_enforced_1").code, Some(3));
    let unknown = with("wk_nobody_1");
    assert_eq!(unknown.code, Some(3));
    assert!(
        unknown.stdout.starts_with("deny source_unknown"),
        "{}",
        unknown.stdout
    );
    let nowhere = explain(&config, &["--url", "https://events.test/other"]);
    assert_eq!(nowhere.code, Some(3));
    assert!(
        nowhere.stdout.contains("no API is configured"),
        "{}",
        nowhere.stdout
    );
}

#[test]
fn explain_refuses_what_it_cannot_read() {
    let (dir, config) = on_file();
    let url = ["--url", "https://events.test/v1/track"];
    for (args, code, words) in [
        (&[][..], 2, "--request"),
        (&["--curl", "curl"], 1, "no URL"),
        (
            &["--curl", "curl http://a.test/", "--url", "http://a.test/"],
            2,
            "cannot be used with",
        ),
        (&["--request", "nowhere.http"], 1, "nowhere.http cannot be read"),
        (
            &[url[0], url[1], "--token", "two words"],
            1,
            "--token is not one word",
        ),
        (&[url[0], url[1], "--at", "yesterday"], 2, "--at"),
        (&[url[0], "ftp://a.test/"], 1, "neither http:// nor https://"),
    ] {
        let done = explain(&config, args);
        assert_eq!(done.code, Some(code), "{args:?} {}", done.stderr);
        assert!(done.stderr.contains(words), "{args:?} {}", done.stderr);
        assert_eq!(done.stdout, "", "{args:?}");
    }
    let missing = explain(&dir.join("nowhere.yaml"), &url);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("file not found"), "{}", missing.stderr);
    let plane = dir.write("plane.yaml", &format!("version: 1\n{NEW_CONTROL_PLANE}"));
    let no_gateway = explain(&plane, &url);
    assert_eq!(no_gateway.code, Some(1));
    assert!(
        no_gateway.stderr.contains("no gateway section"),
        "{}",
        no_gateway.stderr
    );
}

#[test]
fn explain_says_when_a_key_set_cannot_be_fetched() {
    let (dir, _) = on_file();
    // The header and claims of a token of the issuer; no signature is looked at without its keys.
    let token = "eyJhbGciOiJFUzI1NiIsImtpZCI6IjEiLCJ0eXAiOiJhdCtqd3QifQ.eyJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUuY29tIn0.AAAA";
    let config = ON_FILE.replace("jwks_file: keys.json", "jwks_uri: \"http://127.0.0.1:1/keys\"");
    let config = dir.write("fetching.yaml", &config);
    let data = r#"{"writeKey":"wk_enforced_1"}"#;
    let done = explain(
        &config,
        &[
            "--url",
            "https://a.test/v1/track",
            "--data",
            data,
            "--token",
            token,
            "--output",
            "json",
        ],
    );
    let report = json(&done);
    assert_eq!(
        (done.code, &report["reason"]),
        (Some(3), &"keys_unavailable".into()),
        "{report}"
    );
    let note = report["notes"][0].as_str().unwrap();
    assert!(
        note.starts_with("keys of issuer `https://login.example.com` could not be fetched"),
        "{note}"
    );
    let token_check = check(&report, "token")["detail"].as_str().unwrap();
    assert!(
        token_check.contains("unverified: kid `1`, iss `https://login.example.com`"),
        "{token_check}"
    );
    // A request that does not need the keys causes no fetch.
    let open = explain(
        &config,
        &[
            "--url",
            "https://a.test/v1/track",
            "--data",
            r#"{"writeKey":"wk_open_1"}"#,
            "--token",
            token,
            "--output",
            "json",
        ],
    );
    assert_eq!(
        (open.code, &json(&open)["notes"]),
        (Some(0), &serde_json::json!([]))
    );
}

/// Sends an event and explains it. Expects the same of both, and answers the report.
fn same(world: &World, config: &Path, key: &str, token: &str, at: &[&str]) -> Value {
    let Env(values) = &world.env;
    let body = format!("{{\"event\":\"Hello\",\"writeKey\":\"{}\"}}", values[key]);
    let file = world.dir.write("token", token);
    let by_file = format!("@{}", file.display());
    let url = format!("{}/v1/track", values["GATEWAY_URL"]);
    let done = explain(
        config,
        &[
            &[
                "--url", &url, "--data", &body, "--token", &by_file, "--output", "json",
            ],
            at,
        ]
        .concat(),
    );
    for secret in world.env.secrets().iter().map(String::as_str).chain([token]) {
        assert!(
            !done.stdout.contains(secret) && !done.stderr.contains(secret),
            "a secret is shown"
        );
    }
    let report = json(&done);
    if at.is_empty() {
        let served = Request::to("POST", &url)
            .bearer(token)
            .json(&serde_json::from_str(&body).unwrap())
            .send();
        let denied = report["decision"] == "deny";
        assert_eq!(
            (served.status() >= 400, done.code),
            (denied, Some(if denied { 3 } else { 0 })),
            "{report}"
        );
        if denied {
            assert_eq!(served.json()["reason"], report["reason"]);
        }
    }
    report
}

#[test]
fn explain_agrees_with_a_running_server_on_its_store() {
    let world = World::start();
    let issuer = world.env.get("AUTH_SERVER").to_owned();
    // With the issuer in its config, which a port chosen at the start does not tell.
    let mut world = world.restart();
    world.env.0.insert("AUTH_SERVER".to_owned(), issuer);
    let config = world.dir.join("portcullis.yaml");
    let good = world.env.token("", SCOPE);
    let other = world.env.token("OTHER_", SCOPE);
    let allowed = same(&world, &config, "WRITE_KEY", &good, &[]);
    assert_eq!(allowed["decision"], "allow", "{allowed}");
    assert_eq!(allowed["app"]["id"], world.env.get("CLIENT_ID"));
    let denied = same(&world, &config, "WRITE_KEY", &other, &[]);
    assert_eq!(denied["reason"], "app_not_connected", "{denied}");
    let observed = same(&world, &config, "OBSERVED_WRITE_KEY", &format!("{good}x"), &[]);
    assert_eq!(observed["decision"], "would_deny", "{observed}");
    let late = same(
        &world,
        &config,
        "WRITE_KEY",
        &good,
        &["--at", "2100-01-01T00:00:00Z"],
    );
    assert_eq!(late["reason"], "token_expired", "{late}");
    world.env.revoke(&good);
    let revoked = same(&world, &config, "WRITE_KEY", &good, &[]);
    assert_eq!(revoked["reason"], "token_revoked", "{revoked}");
    let World { serve, .. } = world;
    serve.stop();
}

#[test]
fn explain_help_names_every_input_and_exit_code() {
    let mut command: Command = portcullis(["explain", "--help"]);
    let help = Process::run(&mut command).stdout;
    for word in [
        "--request",
        "--curl",
        "--url",
        "--token",
        "--at",
        "--output",
        "3 deny",
        "0 allow or would_deny",
    ] {
        assert!(help.contains(word), "{word}: {help}");
    }
}

#[test]
fn explain_looks_a_denial_up_in_a_running_gateway() {
    let dir = super::support::product::quickstart_data();
    let upstream = super::support::recorder::Recorder::start();
    let text = super::support::product::gateway(&upstream, &super::support::product::Wishes::default())
        + super::support::product::OBSERVABILITY
        + super::support::product::CONTROL_PLANE
        + "admin: {socket: admin.sock}\n";
    let config = dir.write("portcullis.yaml", &text);
    let serve = super::support::product::Serve::start(&config);
    let env = super::support::product::served_env(dir.path(), &serve);
    let token = env.token("OTHER_", SCOPE);
    let denied = env.event("WRITE_KEY").bearer(&token).send();
    assert_eq!(denied.status(), 403);
    let id = denied.json()["request_id"].as_str().unwrap().to_owned();
    let found = explain(&config, &["--request-id", &id, "--output", "json"]);
    assert_eq!(found.code, Some(3), "{}", found.stderr);
    let report = json(&found);
    assert_eq!(
        (&report["decision"], &report["reason"]),
        (&"deny".into(), &"app_not_connected".into()),
        "{report}"
    );
    assert_eq!(report["app"]["id"], env.get("OTHER_CLIENT_ID"));
    assert_eq!(report["source"]["enforcement"], "on");
    assert_eq!(
        (&report["request"]["id"], &report["request"]["path"]),
        (&id.into(), &"/v1/track".into())
    );
    assert_eq!(check(&report, "time")["result"], "pass");
    assert_eq!(check(&report, "connection")["result"], "fail");
    for secret in env.secrets().iter().map(String::as_str).chain([token.as_str()]) {
        assert!(!found.stdout.contains(secret), "a secret is shown");
    }
    // Before its decision a request has no checks, and a path of no API is no decision.
    let nowhere = Request::to("POST", &format!("{}/v1/../x", env.get("GATEWAY_URL"))).send();
    let id = nowhere.json()["request_id"].as_str().unwrap().to_owned();
    let text = explain(&config, &["--request-id", &id]);
    assert!(
        text.stdout.starts_with("deny path_invalid: "),
        "{} {}",
        text.stdout,
        text.stderr
    );
    let unknown = explain(&config, &["--request-id", "nothing"]);
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.stderr.contains("is not among the last 1000 denials"),
        "{}",
        unknown.stderr
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(dir.join("admin.sock")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    serve.stop();
    let gone = explain(&config, &["--request-id", "nothing"]);
    assert_eq!(gone.code, Some(75), "{}", gone.stderr);
    assert!(
        gone.stderr.contains("is `portcullis serve` running"),
        "{}",
        gone.stderr
    );
}
