//! OAuth clients and token verifiers of other makers, unmodified and with their defaults, against both planes.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::support::process::Process;
use super::support::product::{
    CONTROL_PLANE, OBSERVABILITY, Serve, Wishes, gateway, project_file, quickstart_data, served_env,
};
use super::support::recorder::Recorder;

/// `aud` of tokens without `resource`.
const AUDIENCE: &str = "portcullis";

/// The gateway's public URL.
const RESOURCE: &str = "https://events.example.test";

/// Runs a script with the environment of both planes, and checks that every library in it succeeded.
fn assert_all_succeed(mut command: Command, clients: &[&str], verifiers: &[&str]) {
    let dir = quickstart_data();
    let upstream = Recorder::start();
    let public_url = format!("gateway:\n  public_url: \"{RESOURCE}\"\n");
    let planes = gateway(&upstream, &Wishes::default()).replacen("gateway:\n", &public_url, 1);
    let config = dir.write("portcullis.yaml", &(planes + OBSERVABILITY + CONTROL_PLANE));
    let serve = Serve::start(&config);
    let env = served_env(dir.path(), &serve);
    for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
        command.env_remove(proxy);
    }
    for name in ["CLIENT_ID", "KEY_ID", "PRIVATE_KEY_FILE", "SCOPE", "AUTH_SERVER"] {
        command.env(name, env.get(name));
    }
    for name in ["GATEWAY_URL", "WRITE_KEY"] {
        command.env(name, env.get(name));
    }
    command.env("AUDIENCE", AUDIENCE).env("RESOURCE", RESOURCE);
    let finished = Process::run(&mut command);
    let lines: Vec<Value> = finished
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let failed: Vec<&Value> = lines.iter().filter(|line| line["ok"] != true).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let names =
        |kind: &str| -> BTreeSet<&str> { lines.iter().filter_map(|line| line[kind].as_str()).collect() };
    assert_eq!(names("client"), clients.iter().copied().collect());
    assert_eq!(names("verifier"), verifiers.iter().copied().collect());
    for line in &lines {
        if line.get("client").is_some() {
            let kind = line["token_type"].as_str().unwrap();
            assert!(kind.eq_ignore_ascii_case("bearer"), "{line}");
            assert_eq!(line["scope"], env.get("SCOPE"));
            assert_eq!(line["expires_in"], 86_400);
            let with_resource = line["client"].as_str().unwrap().ends_with("resource");
            assert_eq!(line["aud"], if with_resource { RESOURCE } else { AUDIENCE });
            // The gateway accepts both.
            assert_eq!(line["event"], 200, "{line}");
        } else {
            assert_eq!(line["sub"], env.get("CLIENT_ID"));
        }
    }
    serve.stop();
}

#[test]
fn node_libraries_get_and_verify_tokens() {
    let mut command = Command::new("node");
    command.arg(project_file("tests/sdk/clients/clients.mjs"));
    assert_all_succeed(
        command,
        &[
            "oauth4webapi",
            "oauth4webapi with kid",
            "oauth4webapi by OpenID discovery",
            "oauth4webapi with resource",
            "openid-client",
            "openid-client by OpenID discovery",
            "jose",
            "jsonwebtoken",
        ],
        &[
            "jose",
            "oauth4webapi",
            "jwks-rsa and jsonwebtoken",
            "express-oauth2-jwt-bearer",
        ],
    );
}

#[test]
fn python_libraries_get_and_verify_tokens() {
    let mut command = Command::new(project_file("target/test-env/venv/bin/python"));
    command.arg(project_file("tests/sdk/python/clients.py"));
    assert_all_succeed(
        command,
        &[
            "authlib",
            "authlib with kid",
            "requests-oauthlib",
            "PyJWT",
            "joserfc",
            "MSAL",
            "MSAL with a certificate's thumbprint",
        ],
        &["PyJWT", "authlib", "joserfc"],
    );
}
