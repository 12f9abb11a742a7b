//! Quickstart does what it prints, and its sample data shows every kind of answer.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;

use super::support::process::{Process, eventually, portcullis};
use super::support::product::{Env, Quickstart, Serve, quickstart_data, served_env};
use super::support::scratch::Scratch;
use super::support::secrets;
use super::support::web::{Request, get, post};

/// The keys of the env file that clients and acceptance tests rely on.
const ENV_KEYS: [&str; 28] = [
    "GATEWAY_URL",
    "FUNCTIONS_URL",
    "PUBLIC_API_URL",
    "TOKEN_URL",
    "AUTH_SERVER",
    "JWKS_URL",
    "METRICS_URL",
    "CONSOLE_URL",
    "API_URL",
    "ISSUER",
    "CLIENT_ID",
    "KEY_ID",
    "PRIVATE_KEY_FILE",
    "SCOPE",
    "WRITE_KEY",
    "OTHER_WRITE_KEY",
    "OTHER_CLIENT_ID",
    "OTHER_KEY_ID",
    "OTHER_PRIVATE_KEY_FILE",
    "UNENFORCED_WRITE_KEY",
    "OBSERVED_WRITE_KEY",
    "FUNCTION_KEY",
    "WORKSPACE_ID",
    "OWNER_EMAIL",
    "OWNER_PASSWORD",
    "OWNER_API_TOKEN",
    "UPSTREAM_LOG",
    "ISSUER_PRIVATE_KEY_FILE",
];

fn upstream_log(env: &Env) -> Vec<Value> {
    let text = fs::read_to_string(env.get("UPSTREAM_LOG")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The value that a logged request had for a header.
fn logged_header<'l>(line: &'l Value, name: &str) -> Option<&'l str> {
    let pairs = line["headers"].as_array().unwrap();
    pairs
        .iter()
        .find(|pair| pair[0] == name)
        .and_then(|pair| pair[1].as_str())
}

/// The number that a metric has with these labels; none is zero.
fn metric(env: &Env, name: &str, labels: &[&str]) -> f64 {
    let text = String::from_utf8(get(env.get("METRICS_URL")).send().body).unwrap();
    let wanted = |line: &&str| line.starts_with(name) && labels.iter().all(|label| line.contains(label));
    text.lines()
        .filter(wanted)
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

#[test]
fn printed_lines_pasted_into_a_shell_do_what_they_say() {
    let dir = Scratch::new();
    // A folder that has to be quoted, and a shell that stands elsewhere.
    let data = dir.join("quick start");
    let quickstart = Quickstart::start(&data);
    let pasted = quickstart
        .process
        .stdout
        .wait_for("the last printed line", |lines| {
            let from = lines.iter().position(|line| line.starts_with("# 1."))?;
            let last = lines.iter().position(|line| line.starts_with("# 5."))?;
            lines[last..]
                .iter()
                .any(|line| line.starts_with("printf"))
                .then(|| lines[from..].join("\n"))
        });
    let mut bash = Command::new("bash");
    bash.args(["-eu", "-o", "pipefail", "-c", &pasted])
        .current_dir("/");
    let shown = Process::run(&mut bash);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    let statuses: Vec<&str> = shown
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("HTTP/1.1 "))
        .collect();
    let [allowed, missing, revoked, denied] = statuses[..] else {
        panic!("four answers are expected: {statuses:?}")
    };
    assert!(
        allowed.starts_with("200") && missing.starts_with("401"),
        "{statuses:?}"
    );
    assert!(
        revoked.starts_with("200") && denied.starts_with("401"),
        "{statuses:?}"
    );
    let answers: Vec<Value> = shown
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let reasons: Vec<&Value> = answers.iter().map(|answer| &answer["reason"]).collect();
    assert_eq!(
        reasons,
        [
            &Value::Null,
            &"token_missing".into(),
            &Value::Null,
            &"token_revoked".into()
        ]
    );
    let last: Vec<&str> = shown.stdout.lines().rev().take(3).collect();
    let console = ["OWNER_PASSWORD", "OWNER_EMAIL", "CONSOLE_URL"].map(|name| quickstart.env.get(name));
    assert!(
        last == console,
        "where the console is and whom to sign in as is not what comes last"
    );
    for file in ["token.header", "owner.header"] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
    secrets::note([fs::read_to_string(data.join("token.header")).unwrap().trim()]);
    let told = quickstart.stop().stderr;
    assert!(!told.contains("nobody can sign in"), "{told}");
}

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn env_file_has_every_key_and_all_files_are_private() {
    let data = quickstart_data();
    let quickstart = Quickstart::start(data.path());
    for key in ENV_KEYS {
        assert!(!quickstart.env.get(key).is_empty(), "{key}");
    }
    quickstart.env.event("UNENFORCED_WRITE_KEY").send();
    for entry in fs::read_dir(data.path()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    quickstart.stop();
}

#[test]
fn second_run_starts_from_what_is_there() {
    let dir = Scratch::new();
    let first = Quickstart::start(dir.path());
    let token = first.env.token("", "tracking_api:write");
    assert_eq!(first.env.event("WRITE_KEY").bearer(&token).send().status(), 200);
    let revoked = first.env.token("", "tracking_api:write");
    first.env.revoke(&revoked);
    let before = first.env.clone();
    let address = |name: &str| {
        before
            .get(name)
            .trim_start_matches("http://")
            .split('/')
            .next()
            .unwrap()
    };
    let [gateway, control, observability] = ["GATEWAY_URL", "API_URL", "METRICS_URL"].map(address);
    first.stop();

    let second = Quickstart::start_with(
        dir.path(),
        &[gateway, control, observability, "127.0.0.1:0"],
        &[],
        &[],
    );
    assert_eq!(second.env.0, before.0);
    let send = |token: &str| second.env.event("WRITE_KEY").bearer(token).send().verdict();
    assert_eq!(send(&token), (200, String::new()));
    assert_eq!(send(&revoked), (401, "token_revoked".to_owned()));
    assert_eq!(upstream_log(&second.env).len(), 2);
    second.stop();
}

#[test]
fn data_can_be_moved_to_other_ports() {
    let data = quickstart_data();
    let quickstart = Quickstart::start(data.path());
    let token = quickstart.env.token("", "tracking_api:write");
    assert_eq!(
        quickstart.env.event("WRITE_KEY").bearer(&token).send().status(),
        200
    );
    quickstart.stop();
}

#[test]
fn upstream_log_has_one_line_for_each_request() {
    let data = quickstart_data();
    let quickstart = Quickstart::start(data.path());
    let env = &quickstart.env;
    let token = env.token("", "tracking_api:write");
    let spoofed = env
        .event("WRITE_KEY")
        .bearer(&token)
        .header("X-Portcullis-App-Id", "someone");
    assert_eq!(spoofed.send().status(), 200);
    assert_eq!(env.event("WRITE_KEY").send().status(), 401);
    let lines = upstream_log(env);
    assert_eq!(lines.len(), 1, "a denied request must not arrive");
    let line = &lines[0];
    assert_eq!(
        (line["method"].as_str(), line["path"].as_str()),
        (Some("POST"), Some("/v1/track"))
    );
    assert_eq!(line["complete"], true);
    assert_eq!(line["body_sha256"].as_str().unwrap().len(), 64);
    assert!(line["body_len"].as_u64().unwrap() > 40);
    assert_eq!(
        logged_header(line, "x-portcullis-app-id"),
        Some(env.get("CLIENT_ID"))
    );
    assert_eq!(
        logged_header(line, "x-portcullis-workspace-id"),
        Some(env.get("WORKSPACE_ID"))
    );
    assert_eq!(logged_header(line, "x-portcullis-decision"), Some("enforced"));
    assert_eq!(
        logged_header(line, "x-portcullis-scope"),
        Some("tracking_api:write")
    );
    assert_eq!(logged_header(line, "authorization"), None, "the token stays here");
    quickstart.stop();
}

#[test]
fn sources_that_are_not_enforced_take_events_without_a_token() {
    let data = quickstart_data();
    let quickstart = Quickstart::start(data.path());
    let env = &quickstart.env;
    let counted = |labels: &[&str]| metric(env, "portcullis_requests_total", labels);
    assert_eq!(env.event("UNENFORCED_WRITE_KEY").send().status(), 200);
    // A request is counted once its answer has been sent.
    eventually("it is counted", || counted(&["decision=\"allow\""]) == 1.0);
    assert_eq!(env.event("OBSERVED_WRITE_KEY").send().status(), 200);
    let would = [
        "api=\"tracking\"",
        "decision=\"would_deny\"",
        "reason=\"token_missing\"",
    ];
    eventually("it is counted", || counted(&would) == 1.0);
    let token = env.token("", "tracking_api:write");
    assert_eq!(
        env.event("OBSERVED_WRITE_KEY").bearer(&token).send().status(),
        200
    );
    eventually("it is counted", || counted(&["decision=\"allow\""]) == 2.0);
    assert_eq!(counted(&["decision=\"would_deny\""]), 1.0);
    let decisions: Vec<_> = upstream_log(env)
        .iter()
        .map(|line| logged_header(line, "x-portcullis-decision").unwrap().to_owned())
        .collect();
    assert_eq!(decisions, ["unenforced", "observed", "observed"]);
    quickstart.stop();
}

#[test]
fn app_that_is_not_connected_is_denied() {
    let data = quickstart_data();
    let quickstart = Quickstart::start(data.path());
    let env = &quickstart.env;
    let theirs = env.token("OTHER_", "tracking_api:write");
    let denied = (403, "app_not_connected".to_owned());
    assert_eq!(env.event("WRITE_KEY").bearer(&theirs).send().verdict(), denied);
    let ours = env.token("", "tracking_api:write");
    assert_eq!(
        env.event("OTHER_WRITE_KEY").bearer(&ours).send().verdict(),
        denied
    );
    assert_eq!(env.event("OTHER_WRITE_KEY").bearer(&theirs).send().status(), 200);
    quickstart.stop();
}

#[test]
fn function_key_is_read_from_query_and_header() {
    let data = quickstart_data();
    let quickstart = Quickstart::start(data.path());
    let env = &quickstart.env;
    let url = env.get("FUNCTIONS_URL");
    // The key's own base64 may hold what a query has to encode.
    let encoded = env.get("FUNCTION_KEY").replace('+', "%2B").replace('=', "%3D");
    let by_query = || post(&format!("{url}/?b={encoded}")).body("application/json", b"{}");
    let by_header = || {
        post(&format!("{url}/"))
            .header("X-Segment-Source-Function-Token", env.get("FUNCTION_KEY"))
            .body("application/x-www-form-urlencoded", b"a=1")
    };
    let token = env.token("", "functions:write");
    let narrow = env.token("", "tracking_api:write");
    let both: [&dyn Fn() -> Request; 2] = [&by_query, &by_header];
    for request in both {
        assert_eq!(request().send().verdict(), (401, "token_missing".to_owned()));
        assert_eq!(request().bearer(&token).send().status(), 200);
        assert_eq!(
            request().bearer(&narrow).send().verdict(),
            (403, "scope_insufficient".to_owned())
        );
    }
    let other = by_query().header("X-Segment-Source-Function-Token", env.get("WRITE_KEY"));
    assert_eq!(
        other.bearer(&token).send().verdict(),
        (400, "source_ambiguous".to_owned())
    );
    quickstart.stop();
}

#[test]
fn public_api_judges_our_tokens_and_forwards_its_own() {
    let data = quickstart_data();
    let quickstart = Quickstart::start(data.path());
    let env = &quickstart.env;
    let sources = || get(&format!("{}/sources", env.get("PUBLIC_API_URL")));
    assert_eq!(sources().send().status(), 200);
    let its_own = format!("sgp_{}", "a".repeat(64));
    assert_eq!(sources().bearer(&its_own).send().status(), 200);
    let ours = env.token("", "public_api:read_write");
    assert_eq!(sources().bearer(&ours).send().status(), 200);
    let narrow = sources().bearer(&env.token("", "tracking_api:write")).send();
    assert_eq!(narrow.status(), 403);
    assert_eq!(narrow.json()["errors"][0]["type"], "scope_insufficient");
    let lines = upstream_log(env);
    let seen: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                logged_header(line, "x-portcullis-decision"),
                logged_header(line, "authorization"),
            )
        })
        .collect();
    let bearer = format!("Bearer {its_own}");
    assert_eq!(
        seen,
        [
            (Some("unenforced"), None),
            (Some("unenforced"), Some(bearer.as_str())),
            (Some("enforced"), None)
        ]
    );
    quickstart.stop();
}

#[test]
fn quickstart_leaves_a_config_that_check_and_serve_take() {
    let data = quickstart_data();
    let config = data.join("portcullis.yaml");
    let checked = Process::run(portcullis(["check"]).arg(&config));
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""));
    // Its ports may be in use by another test now.
    let text = fs::read_to_string(&config).unwrap();
    let free = text.lines().map(|line| match line.split_once("\"127.0.0.1:") {
        Some((before, after)) if line.contains("address:") || line.contains("listen:") => {
            let (_, rest) = after.split_once('"').unwrap();
            format!("{before}\"127.0.0.1:0\"{rest}\n")
        }
        _ => format!("{line}\n"),
    });
    let free: String = free.collect();
    let serve = Serve::start(&data.write("copy.yaml", &free));
    let env = served_env(data.path(), &serve);
    assert_eq!(env.event("WRITE_KEY").send().status(), 401);
    let token = env.token("", "tracking_api:write");
    assert_eq!(
        env.event("WRITE_KEY").bearer(&token).send().status(),
        502,
        "its upstream has ended"
    );
    serve.stop();
}

#[test]
fn quickstart_starts_edges_and_names_their_urls() {
    let dir = Scratch::new();
    for start in 1..=2 {
        let quickstart = Quickstart::start_with(dir.path(), &["127.0.0.1:0"; 4], &["--edges", "2"], &[]);
        let env = &quickstart.env;
        let edges: Vec<&str> = env.get("EDGE_URLS").split(',').collect();
        assert_eq!(edges.len(), 2, "{edges:?}");
        let token = env.token("", "tracking_api:write");
        let verdict = |edge: &str| {
            let event =
                serde_json::json!({"event": "Hello", "userId": "u1", "writeKey": env.get("WRITE_KEY")});
            let answer = post(&format!("{edge}/v1/track"))
                .bearer(&token)
                .json(&event)
                .send();
            answer.verdict()
        };
        for edge in &edges {
            assert_eq!(verdict(edge), (200, String::new()), "start {start}");
        }
        assert_eq!(upstream_log(env).len(), 2 * start);
        let path = format!(
            "/apps/{}/tokens/revoke?wait=edges&timeout=10s",
            env.get("CLIENT_ID")
        );
        let answer = env.change("POST", &path, &serde_json::json!({"token": token}));
        // The gateway in the quickstart itself counts, too.
        assert_eq!(answer["edges"]["in_force"], 3, "{answer}");
        assert_eq!(answer["edges"]["complete"], true, "{answer}");
        for edge in &edges {
            assert_eq!(verdict(edge), (401, "token_revoked".to_owned()), "start {start}");
        }
        let [first, second] = ["edge-1", "edge-2"].map(|name| {
            let pid = fs::read_to_string(dir.join(&format!("{name}.pid"))).unwrap();
            std::path::Path::new("/proc").join(pid.trim())
        });
        assert!(first.exists() && second.exists());
        assert_eq!(quickstart.process.stop().code, Some(0));
        assert!(!first.exists() && !second.exists());
    }
    // Without the flag there are none, and none are named.
    let quickstart = Quickstart::start(dir.path());
    assert!(!quickstart.env.0.contains_key("EDGE_URLS"));
    quickstart.process.stop();
}
