//! Clients of the family as they are released, unmodified, in front of the gateway. `tests/sdk/family` drives them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use portcullis::config::{ApiPath, Cors, Origins, PathPattern};
use serde_json::Value;

use crate::forge::write_key;
use crate::gateway::{ENFORCED, PUBLIC_SCOPE, Setup, TestGateway, UNENFORCED, token, token_for};
use crate::upstream::{Reply, StubUpstream};
use crate::wait::within;

const CHROMIUM: &str = "/usr/bin/chromium";

/// The file of a client's package, which must be installed.
fn driver(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk/family");
    assert!(
        folder.join("node_modules").exists(),
        "the clients are missing; `make setup` installs them, and `make test` runs it first"
    );
    folder.join(name)
}

/// Runs a client to its end. Answers what it printed.
async fn run(name: &str, gateway: &TestGateway, variables: &[(&str, String)]) -> Value {
    let mut command = Command::new("node");
    command.arg(driver(name));
    run_command(command, gateway, variables).await
}

/// The same for a Python SDK, from the folder of its own.
async fn run_python(library: &str, gateway: &TestGateway, variables: &[(&str, String)]) -> Value {
    let environment = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-env");
    let packages = environment.join("family").join(library);
    assert!(
        packages.join("pins.txt").exists(),
        "{} is missing; `make setup` installs it, and `make test` runs it first",
        packages.display()
    );
    let mut command = Command::new(environment.join("venv/bin/python"));
    command
        .arg(driver("python/send.py"))
        .env("PYTHONPATH", packages)
        .env("LIBRARY", library);
    run_command(command, gateway, variables).await
}

async fn run_command(mut command: Command, gateway: &TestGateway, variables: &[(&str, String)]) -> Value {
    command
        .env("GATEWAY_URL", format!("http://{}", gateway.address()))
        .env("CHROMIUM", CHROMIUM)
        .envs(variables.iter().map(|(name, value)| (*name, value)))
        .stdin(Stdio::null());
    for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
        command.env_remove(proxy);
    }
    // Each driver ends itself after a minute.
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let line = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(line.trim()).unwrap_or_else(|error| panic!("{error}: {line} {errors}"))
}

/// A gateway that is reached by its address.
async fn gateway_with(upstream: &StubUpstream, change: impl FnOnce(&mut Setup)) -> TestGateway {
    let mut setup = Setup::new(upstream);
    for api in &mut setup.config.apis {
        api.hosts = vec!["127.0.0.1".to_owned()];
    }
    setup.config.apis[2].hosts = vec!["public.test".to_owned()];
    change(&mut setup);
    setup.start().await
}

fn events(n: usize, count: usize) -> [(&'static str, String); 2] {
    [("WRITE_KEY", write_key(n)), ("EVENTS", count.to_string())]
}

/// It compresses, and axios labels the bytes as a form.
#[tokio::test]
async fn rudderstack_node_delivers_with_its_defaults() {
    let upstream = StubUpstream::start();
    let gateway = gateway_with(&upstream, |_| {}).await;
    let outcome = run("rudderstack.mjs", &gateway, &events(UNENFORCED, 50)).await;
    assert_eq!(outcome["delivered"], 50, "{outcome}");
    assert_eq!(outcome["errors"], serde_json::json!([]));
    for received in upstream.received() {
        assert_eq!(received.target, "/v1/batch");
        assert_eq!(received.one("Content-Encoding"), "gzip");
        let kind = received.one("Content-Type");
        assert!(kind.starts_with("application/x-www-form-urlencoded"), "{kind}");
    }
}

#[tokio::test]
async fn rudderstack_node_is_refused_for_an_enforced_source() {
    let upstream = StubUpstream::start();
    let gateway = gateway_with(&upstream, |_| {}).await;
    let outcome = run("rudderstack.mjs", &gateway, &events(ENFORCED, 5)).await;
    assert_eq!(outcome["errors"][0], 401, "{outcome}");
    upstream.assert_untouched();
}

/// The environment of an SDK that sends events of a source.
fn sending(library: &str, n: usize) -> [(&'static str, String); 3] {
    [
        ("WRITE_KEY", write_key(n)),
        ("EVENTS", "5".to_owned()),
        ("LIBRARY", library.to_owned()),
    ]
}

const NODE_SDKS: [&str; 6] = [
    "analytics-node-6",
    "analytics-node-3",
    "segment-node-2",
    "segment-node-1",
    "customerio-node",
    "expo-rudder-node",
];

#[tokio::test]
async fn node_sdks_deliver_with_their_defaults() {
    for library in NODE_SDKS {
        let upstream = StubUpstream::start();
        let gateway = gateway_with(&upstream, |_| {}).await;
        let outcome = run("node.mjs", &gateway, &sending(library, UNENFORCED)).await;
        assert_eq!(
            outcome,
            serde_json::json!({"delivered": 5, "errors": []}),
            "{library}"
        );
        assert!(!upstream.received().is_empty(), "{library}");
    }
}

/// None of them can send a token of this gateway, so an enforced source takes nothing of theirs.
#[tokio::test]
async fn node_sdks_without_a_token_are_refused_where_enforced() {
    for library in NODE_SDKS {
        let upstream = StubUpstream::start();
        let gateway = gateway_with(&upstream, |_| {}).await;
        let outcome = run("node.mjs", &gateway, &sending(library, ENFORCED)).await;
        assert_eq!(outcome["delivered"], 0, "{library}: {outcome}");
        assert!(!outcome["errors"].as_array().unwrap().is_empty(), "{library}");
        upstream.assert_untouched();
    }
}

#[tokio::test]
async fn python_sdks_deliver_with_their_defaults() {
    for library in [
        "analytics-python",
        "customerio-cdp-analytics",
        "rudder-sdk-python",
        "june-analytics-python",
    ] {
        let upstream = StubUpstream::start();
        // The path that june-analytics-python uses is one of the commented APIs of the example config.
        let gateway = gateway_with(&upstream, |setup| {
            let path = PathPattern::Prefix("/sdk/".to_owned());
            setup.config.apis[0].paths.push(path.into());
        })
        .await;
        let outcome = run_python(library, &gateway, &events(UNENFORCED, 5)).await;
        assert_eq!(
            outcome,
            serde_json::json!({"delivered": 5, "errors": []}),
            "{library}"
        );
        assert!(!upstream.received().is_empty(), "{library}");
    }
}

/// `getWorkspace()` is `GET /`, and its SDK reads `errors` alone.
#[tokio::test]
async fn public_api_sdk_reads_its_workspace_and_errors() {
    let body = r#"{"data":{"workspace":{"id":"1","name":"Acme","slug":"acme"}}}"#;
    let upstream = StubUpstream::answering(move |_| {
        Reply::text(&format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    });
    let gateway = gateway_with(&upstream, |setup| {
        setup.config.apis[2].hosts = vec!["127.0.0.1".to_owned()];
        setup.config.apis[1].paths = vec![ApiPath {
            pattern: PathPattern::Exact("/".to_owned()),
            methods: vec!["POST".to_owned()],
        }];
    })
    .await;
    let with = |token: String| [("TOKEN", token)];
    let read = run(
        "public-api.mjs",
        &gateway,
        &with(token_for(ENFORCED, PUBLIC_SCOPE)),
    )
    .await;
    assert_eq!(read["status"], 200, "{read}");
    assert_eq!(read["name"], "Acme");
    assert_eq!(upstream.only().target, "/");
    let refused = run("public-api.mjs", &gateway, &with(token(ENFORCED))).await;
    assert_eq!(refused["status"], 403, "{refused}");
    assert_eq!(refused["errors"][0]["type"], "scope_insufficient");
}

fn browsers(origins: Origins) -> Option<Cors> {
    Some(Cors {
        origins,
        credentials: false,
        max_age: Duration::from_secs(600),
    })
}

/// On a page of another origin, in Chromium.
#[tokio::test]
async fn browser_sdk_delivers_from_another_origin_once() {
    let upstream = StubUpstream::start();
    let gateway = gateway_with(&upstream, |setup| {
        setup.config.apis[0].cors = browsers(Origins::Any);
    })
    .await;
    let outcome = run("browser.mjs", &gateway, &events(UNENFORCED, 5)).await;
    assert_eq!(outcome["failed"], serde_json::json!([]), "{outcome}");
    // Each event once: a page that may not read the answers sends again.
    within("the events arrived", async {
        while upstream.received().len() < 5 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(upstream.received().len(), 5);
    let readable = &outcome["readable"];
    assert_eq!(readable["status"], 400, "{outcome}");
    assert_eq!(readable["reason"], "source_ambiguous");
    assert!(
        readable["id"].as_str().is_some_and(|id| !id.is_empty()),
        "{outcome}"
    );
}

#[tokio::test]
async fn browser_of_an_origin_that_is_not_listed_sends_nothing() {
    let upstream = StubUpstream::start();
    let gateway = gateway_with(&upstream, |setup| {
        setup.config.apis[0].cors = browsers(Origins::Listed(vec!["https://www.example.com".to_owned()]));
    })
    .await;
    let outcome = run("browser.mjs", &gateway, &events(UNENFORCED, 1)).await;
    assert_eq!(outcome["answered"], serde_json::json!([]), "{outcome}");
    assert!(
        outcome["readable"]
            .as_str()
            .is_some_and(|error| error.contains("Failed to fetch"))
    );
    upstream.assert_untouched();
}
