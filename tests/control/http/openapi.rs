//! The OpenAPI document: it describes every route, and requests made from it find no contradiction.

use std::path::Path;
use std::process::{Command, Stdio};

use portcullis::config::{ControlLimits, Rate};
use serde_json::Value;

use crate::support::{TempDir, TestControl, on_postgres};

/// Examples for each operation. `SCHEMATHESIS_EXAMPLES` asks for more.
const EXAMPLES: &str = "5";

async fn document(server: &TestControl) -> Value {
    let answer = server.send("GET", "/api/v1/openapi.json", &[], b"").await;
    assert_eq!(answer.status, 200);
    answer.json()
}

/// Every `description` and `summary` below a value.
fn descriptions<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value.as_str() {
                    Some(text) if ["description", "summary"].contains(&name.as_str()) => found.push(text),
                    _ => descriptions(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| descriptions(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn descriptions_have_no_remarks_about_the_code() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let document = document(&server).await;
    let mut found = Vec::new();
    descriptions(&document, &mut found);
    assert!(found.len() > 100, "{}", found.len());
    for text in found {
        for remark in ["`Debug`", "[`", "::", "API's form", "struct", "INVARIANT"] {
            assert!(!text.contains(remark), "{text}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn document_names_every_operation_once() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let document = document(&server).await;
    assert_eq!(document["openapi"], "3.1.0");
    let mut names = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(!name.is_empty(), "{method} {path} has no name");
            assert!(
                !operation["summary"].as_str().unwrap().is_empty(),
                "{method} {path} says nothing"
            );
            names.push(name.to_owned());
        }
    }
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "two operations have one name");
    // What the contract promises is there.
    for promised in [
        "/workspaces",
        "/workspaces/{ws}",
        "/workspaces/{ws}/apps",
        "/workspaces/{ws}/apps/{id}",
        "/workspaces/{ws}/apps/{id}/keys",
        "/workspaces/{ws}/apps/{id}/keys/{kid}",
        "/workspaces/{ws}/apps/{id}/tokens/revoke",
        "/workspaces/{ws}/sources",
        "/workspaces/{ws}/sources/{id}",
        "/workspaces/{ws}/sources/{id}/app",
        "/workspaces/{ws}/sources/{id}/enforcement",
        "/workspaces/{ws}/members",
        "/workspaces/{ws}/members/{id}",
        "/workspaces/{ws}/api-tokens",
        "/workspaces/{ws}/api-tokens/{id}",
        "/workspaces/{ws}/audit-events",
    ] {
        assert!(
            document["paths"][format!("/api/v1{promised}")].is_object(),
            "{promised} is missing"
        );
    }
    server.stop().await;
}

#[expect(
    clippy::disallowed_methods,
    reason = "the environment may ask for more examples"
)]
fn asked(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Schemathesis makes requests from the document, good and bad ones, and compares each answer with it.
#[tokio::test]
async fn schemathesis_finds_no_contradiction() {
    if on_postgres() {
        return; // The document is the same on both databases, and the run is long.
    }
    let dir = TempDir::new();
    let plenty = Rate {
        per_second: 1_000_000,
        burst: 1_000_000,
    };
    let server = TestControl::start_with(&dir, |settings| {
        settings.limits = ControlLimits {
            api_account: plenty,
            api_address: plenty,
            changes_manager: plenty,
            ..ControlLimits::default()
        };
    })
    .await;
    let tenant = server.workspace().await;
    tenant.app().await;
    tenant.source("python").await;
    // The token goes through a file: nobody reads it off a command line.
    let config = dir.path().join("schemathesis.toml");
    let text = format!(
        "[headers]\nAuthorization = \"Bearer {}\"\n[parameters]\nws = \"{}\"\n",
        tenant.api_token,
        tenant.id.as_str()
    );
    std::fs::write(&config, text).unwrap();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-env/venv/bin/st");
    let seed = asked("SEED").and_then(|seed| seed.parse().ok());
    let seed: u32 = seed.unwrap_or_else(std::process::id);
    let examples = asked("SCHEMATHESIS_EXAMPLES").unwrap_or_else(|| EXAMPLES.to_owned());
    let mut command = Command::new(&program);
    command
        .arg("--config-file")
        .arg(&config)
        .args([
            "run",
            "--phases",
            "coverage,fuzzing",
            "--continue-on-failure",
            "--no-color",
        ])
        .args([
            "--exclude-checks",
            "positive_data_acceptance,unsupported_method,missing_required_header",
        ])
        .args([
            "--max-examples",
            &examples,
            "--seed",
            &seed.to_string(),
            "--generation-database",
            "none",
        ])
        .arg(format!("http://{}/api/v1/openapi.json", server.address))
        .current_dir(dir.path())
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}; run `make setup`", program.display()));
    let said = String::from_utf8_lossy(&output.stdout).replace(&tenant.api_token, "(token)");
    assert!(output.status.success(), "seed {seed}\n{said}");
    server.stop().await;
}
