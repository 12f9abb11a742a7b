//! Start, change, stop and start again: what holds across both planes.

use std::time::Duration;

use serde_json::{Value, json};

use super::support::process::eventually;
use super::support::product::{
    CONTROL_PLANE, Env, OBSERVABILITY, Serve, Wishes, World, gateway, quickstart_data, served_env,
};
use super::support::recorder::Recorder;
use super::support::web::{Request, get, post};

#[test]
fn request_with_a_body_is_answered_after_term() {
    check_drain(|env, token| env.event("WRITE_KEY").bearer(token));
}

#[test]
fn request_without_a_body_is_answered_after_term() {
    check_drain(|env, _| get(&format!("{}/things", env.get("GATEWAY_URL"))));
}

/// A request that waits for its upstream when the product is asked to end is still answered.
fn check_drain(request: impl Fn(&Env, &str) -> Request) {
    let World {
        serve,
        upstream,
        env,
        dir: _dir,
    } = World::start();
    let token = env.token("", "tracking_api:write");
    upstream.hold();
    let pending = request(&env, &token).begin();
    upstream.wait_for(1);
    serve.process.terminate();
    // Once the listener is closed, the product is stopping.
    let address = serve.gateway.clone().unwrap();
    let address = address.trim_start_matches("http://").to_owned();
    eventually("the listener is closed", || {
        std::net::TcpStream::connect(&address).is_err()
    });
    // Longer than anything that ends at once would take.
    assert!(
        !pending.ends_within(Duration::from_secs(2)),
        "the request was cut off"
    );
    upstream.release();
    assert_eq!(pending.answer().map(|answer| answer.status()), Some(200));
    let finished = serve.process.finish();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

#[test]
fn restart_keeps_tokens_and_revocations() {
    let world = World::start();
    let kept = world.env.token("", "tracking_api:write");
    let revoked = world.env.token("", "tracking_api:write");
    world.env.revoke(&revoked);
    let key_set = get(world.env.get("JWKS_URL")).send().json();
    let world = World::restart(world);
    let send = |token: &str| world.env.event("WRITE_KEY").bearer(token).send().verdict();
    assert_eq!(send(&kept), (200, String::new()));
    assert_eq!(send(&revoked), (401, "token_revoked".to_owned()));
    assert_eq!(get(world.env.get("JWKS_URL")).send().json(), key_set);
    world.serve.stop();
}

#[test]
fn change_is_in_force_when_its_call_returns() {
    let world = World::start();
    let env = &world.env;
    let path = format!("/sources/{}/enforcement", env.source("Website"));
    for round in 0..50 {
        let (mode, status) = [("off", 200), ("on", 401)][round % 2];
        env.change("PUT", &path, &json!({"mode": mode}));
        assert_eq!(env.event("WRITE_KEY").send().status(), status, "round {round}");
    }
    world.serve.stop();
}

#[test]
fn deleted_key_ends_its_tokens_at_once() {
    let world = World::start();
    let env = &world.env;
    let token = env.token("", "tracking_api:write");
    let send = || env.event("WRITE_KEY").bearer(&token).send().verdict();
    assert_eq!(send(), (200, String::new()));
    let path = format!(
        "/apps/{}/keys/{}?last_key=true",
        env.get("CLIENT_ID"),
        env.get("KEY_ID")
    );
    env.change("DELETE", &path, &Value::Null);
    assert_eq!(send(), (401, "token_revoked".to_owned()));
    let refused = env.try_token("", "tracking_api:write");
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("invalid_client"), "{}", refused.stderr);
    world.serve.stop();
}

#[test]
fn connection_and_its_end_are_in_force_at_once() {
    let world = World::start();
    let env = &world.env;
    let source = env.source("Website");
    let theirs = env.token("OTHER_", "tracking_api:write");
    let send = || env.event("WRITE_KEY").bearer(&theirs).send().verdict();
    let denied = (403, "app_not_connected".to_owned());
    assert_eq!(send(), denied);
    env.change(
        "PUT",
        &format!("/sources/{source}/enforcement"),
        &json!({"mode": "off"}),
    );
    env.change(
        "PUT",
        &format!("/sources/{source}/app"),
        &json!({"app_id": env.get("OTHER_CLIENT_ID")}),
    );
    env.change(
        "PUT",
        &format!("/sources/{source}/enforcement"),
        &json!({"mode": "on"}),
    );
    assert_eq!(send(), (200, String::new()));
    env.change(
        "DELETE",
        &format!("/sources/{source}/app?force=true"),
        &Value::Null,
    );
    assert_ne!(send().0, 200);
    world.serve.stop();
}

#[test]
fn source_that_was_made_just_now_is_known() {
    let world = World::start();
    let env = &world.env;
    let made = env.change("POST", "/sources", &json!({"name": "New", "kind": "nodejs"}));
    let key = made["write_key"].as_str().unwrap();
    super::support::secrets::note([key]);
    let send = || {
        post(&format!("{}/v1/track", env.get("GATEWAY_URL")))
            .json(&json!({"event": "Hello", "writeKey": key}))
            .send()
            .verdict()
    };
    assert_eq!(send(), (200, String::new()));
    let source = made["id"].as_str().unwrap();
    env.change("DELETE", &format!("/sources/{source}"), &Value::Null);
    assert_eq!(send(), (401, "source_unknown".to_owned()));
    world.serve.stop();
}

#[test]
fn gateway_alone_trusts_an_issuer_by_its_key_file() {
    let data = quickstart_data();
    let control_config = data.write(
        "control.yaml",
        &format!("version: 1\n{CONTROL_PLANE}{OBSERVABILITY}"),
    );
    let control = Serve::start(&control_config);
    assert!(control.gateway.is_none());
    let issuer = control.control.clone().unwrap();
    let env = served_env(data.path(), &control);
    let token = env.token("", "tracking_api:write");
    data.write("jwks.json", &get(env.get("JWKS_URL")).send().json().to_string());
    assert_eq!(
        get(&format!("{}/readyz", control.observability.as_deref().unwrap()))
            .send()
            .status(),
        200
    );
    // From here on the gateway has nobody to ask.
    control.stop();

    let upstream = Recorder::start();
    let policy = |enforcement: &str| {
        format!(
            r#"apps:
  - {{id: "{}", workspace: "{}", scopes: ["tracking_api:write"], keys: ["{}"]}}
sources:
  - {{id: src_1, workspace: "{}", write_key: "{}", app: "{}", enforcement: "{enforcement}"}}
"#,
            env.get("CLIENT_ID"),
            env.get("WORKSPACE_ID"),
            env.get("KEY_ID"),
            env.get("WORKSPACE_ID"),
            env.get("WRITE_KEY"),
            env.get("CLIENT_ID"),
        )
    };
    data.write("policy.yaml", &policy("on"));
    let config = format!(
        r#"{}{OBSERVABILITY}policy: {{source: file, file: policy.yaml}}
issuers:
  - {{issuer: "{issuer}", jwks_file: jwks.json, audience: [portcullis]}}
"#,
        gateway(&upstream, &Wishes::default())
    );
    let serve = Serve::start(&data.write("gateway.yaml", &config));
    assert!(serve.control.is_none());
    let env = served_env(data.path(), &serve);
    assert_eq!(
        get(&format!("{}/readyz", serve.observability.as_deref().unwrap()))
            .send()
            .status(),
        200
    );
    assert_eq!(
        env.event("WRITE_KEY").bearer(&token).send().verdict(),
        (200, String::new())
    );
    assert_eq!(
        env.event("WRITE_KEY").send().verdict(),
        (401, "token_missing".to_owned())
    );
    assert_eq!(
        env.event("OTHER_WRITE_KEY").bearer(&token).send().verdict().1,
        "source_unknown"
    );
    data.write("policy.yaml", &policy("off"));
    eventually("the changed policy file is in force", || {
        env.event("WRITE_KEY").send().status() == 200
    });
    // A file with a mistake, or an empty one, changes nothing.
    for bad in ["sources: nonsense\n", ""] {
        data.write("policy.yaml", bad);
        serve.process.stderr.wait_for("the file is refused", |lines| {
            let refused = |line: &&String| line.contains("policy file refused");
            let empty = |line: &&String| line.contains("is empty") == bad.is_empty();
            lines
                .iter()
                .filter(refused)
                .any(|line| empty(&line))
                .then_some(())
        });
        assert_eq!(env.event("WRITE_KEY").send().verdict(), (200, String::new()));
    }
    serve.stop();
}
