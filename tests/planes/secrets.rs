//! No secret is ever in an output, however much is logged.

use serde_json::json;

use super::support::process::Process;
use super::support::product::{Quickstart, quickstart_data};
use super::support::secrets::note;
use super::support::web::{get, post};

/// A copy of a token whose signature is of another message.
fn tampered(token: &str) -> String {
    let (input, signature) = token.rsplit_once('.').unwrap();
    let reversed: String = signature.chars().rev().collect();
    format!("{input}.{reversed}")
}

#[test]
fn logs_and_metrics_hold_no_secret() {
    let data = quickstart_data();
    let ports = ["127.0.0.1:0"; 4];
    let trace = [("PORTCULLIS_LOG", "trace")];
    let quickstart = Quickstart::start_with(data.path(), &ports, &["--access-log"], &trace);
    let env = &quickstart.env;
    let token = env.token("", "tracking_api:write");
    let mut command = super::support::process::portcullis(["token", "--assertion-only", "--env"]);
    let assertion = Process::run(command.arg(data.join("env"))).stdout;
    let password = "a password that somebody pasted";
    let opaque = format!("sgp_{}", "secret".repeat(10));
    let strange_key = "wk_that_nobody_has_registered";
    note([assertion.as_str(), password, opaque.as_str(), strange_key]);

    let statuses = [
        env.event("WRITE_KEY").bearer(&token).send().status(),
        env.event("WRITE_KEY").send().status(),
        env.event("WRITE_KEY").bearer(&tampered(&token)).send().status(),
        env.event("WRITE_KEY").bearer(&opaque).send().status(),
        env.event("WRITE_KEY")
            .header("Authorization", &format!("Bearer {token}, Bearer {token}"))
            .send()
            .status(),
        env.event("OTHER_WRITE_KEY").bearer(&token).send().status(),
        env.event("OBSERVED_WRITE_KEY").bearer(&opaque).send().status(),
        env.event("UNENFORCED_WRITE_KEY").send().status(),
    ];
    assert_eq!(statuses, [200, 401, 401, 401, 400, 403, 200, 200]);
    let gateway = env.get("GATEWAY_URL");
    let unknown = json!({"event": "Hello", "writeKey": strange_key});
    assert_eq!(
        post(&format!("{gateway}/v1/track"))
            .json(&unknown)
            .send()
            .status(),
        401
    );
    // What clients put in the wrong place: the token in the query, the write key in a broken body.
    post(&format!("{gateway}/v1/track?access_token={token}"))
        .json(&unknown)
        .send();
    let broken = format!(
        "{{\"writeKey\":\"{}\", \"writeKey\":\"{strange_key}\"",
        env.get("WRITE_KEY")
    );
    post(&format!("{gateway}/v1/track"))
        .body("application/json", broken.as_bytes())
        .send();
    post(&format!("{gateway}/?b={}", env.get("FUNCTION_KEY")))
        .body("application/json", b"{}")
        .send();
    get(&format!("{gateway}/things")).bearer(&opaque).send();
    get(&format!("{gateway}/{token}\u{7f}")).send();
    // And at the control plane.
    let ask = |assertion: &str| {
        let form = format!(
            "grant_type=client_credentials&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer&client_assertion={assertion}"
        );
        post(env.get("TOKEN_URL"))
            .body("application/x-www-form-urlencoded", form.as_bytes())
            .send()
    };
    let issued = ask(&assertion);
    assert_eq!(issued.status(), 200);
    let second = issued.json()["access_token"].as_str().unwrap().to_owned();
    note([second.as_str()]);
    assert_ne!(ask(&assertion).status(), 200, "an assertion works once");
    assert_ne!(ask(&tampered(&assertion)).status(), 200);
    assert_ne!(ask(&token).status(), 200);
    env.revoke(&token);
    assert_eq!(env.event("WRITE_KEY").bearer(&token).send().status(), 401);
    let private_key = std::fs::read_to_string(env.get("PRIVATE_KEY_FILE")).unwrap();
    let pasted = json!({"name": "New", "scopes": ["tracking_api:write"], "public_key": {"name": "k", "pem": private_key}});
    assert_eq!(env.manage("POST", "/apps", &pasted).status(), 422);
    env.manage(
        "POST",
        "/sources",
        &json!({"name": "New", "kind": "nodejs", "password": password}),
    );
    post(&format!("{}/workspaces", env.get("API_URL")))
        .bearer(password)
        .json(&json!({"name": "x"}))
        .send();

    let metrics = String::from_utf8(get(env.get("METRICS_URL")).send().body).unwrap();
    let mut secret = env.secrets();
    secret.extend([
        token,
        second,
        assertion,
        password.to_owned(),
        opaque,
        strange_key.to_owned(),
    ]);
    let finished = quickstart.stop();
    assert!(finished.stdout.contains("\"request_id\""), "the access log is on");
    assert!(
        finished.stderr.contains("\"level\":\"DEBUG\""),
        "everything is logged"
    );
    for (output, text) in [
        ("stdout", &finished.stdout),
        ("stderr", &finished.stderr),
        ("metrics", &metrics),
    ] {
        for value in &secret {
            // A token is as good without its signature's last byte, and a JSON log escapes nothing that is in one.
            let part = value.rsplit('.').next().unwrap();
            let found = text.lines().find(|line| line.contains(part));
            let place = found.map(|line| line.replace(part, "<secret>"));
            assert_eq!(place, None, "a secret is in {output}");
        }
    }
}
