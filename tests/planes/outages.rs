//! PostgreSQL stopped as a crash would, and started again, while changes are made: nothing that was acknowledged is
//! lost, nothing is half done, and everything recovers. `PORTCULLIS_TEST_STOPS` says how often,
//! `PORTCULLIS_TEST_SEED` at which moments.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::kills::{check, number};
use super::support::load::series;
use super::support::postgres::Cluster;
use super::support::process::{Process, eventually, portcullis};
use super::support::product::{Env, OBSERVABILITY, Serve, Wishes, gateway, key_pair};
use super::support::recorder::Recorder;
use super::support::scratch::Scratch;
use super::support::secrets;
use super::support::web::{Answer, Request, get};

const PASSWORD: &str = "an owner's long password";

const SCOPE: &str = "tracking_api:write";

/// What a person does on a new server until an app's events are enforced: sign in, and make what it takes.
fn set_up(serve: &Serve, dir: &Scratch) -> Env {
    let api = format!("{}/api/v1", serve.control.as_deref().unwrap());
    let email = "me@example.com";
    let credentials = json!({"email": email, "password": PASSWORD});
    let session = Request::to("POST", &format!("{api}/session"))
        .json(&credentials)
        .send();
    assert_eq!(session.status(), 201, "{}", session.json()["detail"]);
    let csrf = session.json()["csrf_token"].as_str().unwrap().to_owned();
    let cookies: Vec<&str> = session
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))
        .map(|(_, value)| value.split(';').next().unwrap())
        .collect();
    let cookies = cookies.join("; ");
    secrets::note([csrf.as_str(), PASSWORD]);
    secrets::note(
        cookies
            .split("; ")
            .filter_map(|pair| pair.split_once('='))
            .map(|(_, value)| value),
    );
    let listed = get(&format!("{api}/workspaces"))
        .header("Cookie", &cookies)
        .send()
        .json();
    let workspace = listed["items"][0]["id"].as_str().unwrap().to_owned();
    let made = Request::to("POST", &format!("{api}/workspaces/{workspace}/api-tokens"))
        .header("Cookie", &cookies)
        .header("X-CSRF-Token", &csrf)
        .json(&json!({"name": "tests"}))
        .send();
    assert_eq!(made.status(), 201, "{}", made.json()["detail"]);
    let token = made.json()["token"].as_str().unwrap().to_owned();
    secrets::note([token.as_str()]);
    let control = serve.control.as_deref().unwrap();
    let mut env = Env(BTreeMap::from(
        [
            ("API_URL", api.as_str()),
            ("WORKSPACE_ID", &workspace),
            ("OWNER_API_TOKEN", &token),
            ("GATEWAY_URL", serve.gateway.as_deref().unwrap()),
            ("AUTH_SERVER", control),
            ("TOKEN_URL", &format!("{control}/token")),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    ));
    let (file, public) = key_pair(dir);
    let app = env.change(
        "POST",
        "/apps",
        &json!({"name": "sender", "scopes": [SCOPE], "token_lifetime": "1d",
            "public_key": {"name": "first", "pem": public}}),
    );
    let source = env.change("POST", "/sources", &json!({"name": "Website", "kind": "python"}));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for (name, value) in [
        ("CLIENT_ID", text(&app["id"])),
        ("KEY_ID", text(&app["keys"][0]["id"])),
        ("PRIVATE_KEY_FILE", file),
        ("WRITE_KEY", text(&source["write_key"])),
    ] {
        env.0.insert(name.to_owned(), value);
    }
    secrets::note([env.get("WRITE_KEY")]);
    let path = format!("/sources/{}", text(&source["id"]));
    env.change(
        "PUT",
        &format!("{path}/app"),
        &json!({"app_id": env.get("CLIENT_ID")}),
    );
    env.change("PUT", &format!("{path}/enforcement"), &json!({"mode": "on"}));
    env
}

/// A refusal for the store's sake: a problem document that says so.
fn assert_unavailable(answer: &Answer) {
    let problem = answer.json();
    let kind = problem["type"].as_str().unwrap_or_default();
    let kind = kind.rsplit(':').next().unwrap();
    let expected = ["store-unavailable", "store-unconfirmed", "not-yet-in-force"];
    assert!(
        answer.status() == 503
            && answer.header("content-type") == Some("application/problem+json")
            && expected.contains(&kind),
        "{} {problem}",
        answer.status()
    );
}

/// What the writers did.
#[derive(Default)]
struct Written {
    attempts: AtomicU64,
    refusals: AtomicU64,
    /// Id and name of what was acknowledged.
    kept: Mutex<Vec<(String, String)>>,
}

/// Makes sources until told to stop.
fn write(env: &Env, stop: &AtomicBool, written: &Written) {
    while !stop.load(Ordering::Relaxed) {
        let name = format!("s{}", written.attempts.fetch_add(1, Ordering::Relaxed));
        let answer = env.manage("POST", "/sources", &json!({"name": name, "kind": "python"}));
        if answer.status() == 201 {
            let source = answer.json();
            let id = source["id"].as_str().unwrap().to_owned();
            secrets::note([source["write_key"].as_str().unwrap()]);
            written.kept.lock().unwrap().push((id, name));
        } else {
            assert_unavailable(&answer);
            written.refusals.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn database_stopped_under_load_loses_nothing_that_was_acknowledged() {
    let stops = number("PORTCULLIS_TEST_STOPS", 3);
    let mut random = number("PORTCULLIS_TEST_SEED", u64::from(std::process::id()));
    println!("{stops} stops, seed {random}");
    let mut cluster = Cluster::durable();
    let url = cluster.database_url();
    let (dir, upstream) = (Scratch::new(), Recorder::start());
    let control = format!("control_plane:\n  listen: \"127.0.0.1:0\"\n  store: \"{url}\"\n");
    let text = gateway(&upstream, &Wishes::default()) + OBSERVABILITY + &control;
    let config = dir.write("portcullis.yaml", &text);
    let password = dir.write("password", PASSWORD);
    let admin = |words: &[&str]| {
        let done = Process::run(portcullis(["admin"]).args(words).arg("--config").arg(&config));
        assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
        done.stdout
    };
    let password = password.display().to_string();
    admin(&["owner", "--email", "me@example.com", "--password-file", &password]);
    let serve = Serve::start(&config);
    let env = set_up(&serve, &dir);
    let token = env.token("", SCOPE);
    let revoked = env.token("", SCOPE);
    env.revoke(&revoked);
    let decides = |what: &str| {
        let send = |token: &str| env.event("WRITE_KEY").bearer(token).send().verdict();
        assert_eq!(send(&token), (200, String::new()), "{what}");
        assert_eq!(send(&revoked), (401, "token_revoked".to_owned()), "{what}");
        assert_eq!(
            env.event("WRITE_KEY").send().verdict(),
            (401, "token_missing".to_owned()),
            "{what}"
        );
    };
    let (stop, written) = (AtomicBool::new(false), Written::default());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| write(&env, &stop, &written));
        }
        // Also where the story fails: the writers would go on for ever.
        let _stopped = Stop(&stop);
        let acknowledged = || written.kept.lock().unwrap().len();
        for round in 0..stops {
            let so_far = acknowledged();
            eventually("changes are made", || acknowledged() >= so_far + 20);
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(Duration::from_micros((random >> 33) % 200_000));
            cluster.stop(false);
            decides("while the database is down");
            if round == 0 {
                assert_unavailable(&env.manage("GET", "/sources", &Value::Null));
                let refused = env.try_token("", SCOPE);
                assert!(
                    refused.stderr.contains("temporarily_unavailable"),
                    "{}",
                    refused.stderr
                );
                decides("still");
            }
            cluster.start_again();
        }
        let so_far = acknowledged();
        eventually("changes are made again", || acknowledged() >= so_far + 20);
    });
    let kept = written.kept.into_inner().unwrap();
    println!(
        "{} changes acknowledged, {} refused, {} attempted",
        kept.len(),
        written.refusals.load(Ordering::Relaxed),
        written.attempts.load(Ordering::Relaxed)
    );
    assert!(
        written.refusals.load(Ordering::Relaxed) > 0,
        "no change met an outage"
    );
    // What is acknowledged from here on is in force, as ever.
    decides("afterwards");
    env.revoke(&token);
    let verdict = env.event("WRITE_KEY").bearer(&token).send().verdict();
    assert_eq!(verdict, (401, "token_revoked".to_owned()));
    let new = env.token("", SCOPE);
    assert_eq!(
        env.event("WRITE_KEY").bearer(&new).send().verdict(),
        (200, String::new())
    );
    let failures = serve.metrics();
    let counted = series(&failures, "portcullis_store_failures_total");
    assert!(counted["kind=\"unavailable\""] > 0.0, "{failures}");
    serve.stop();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(check(&url, &kept));
    assert!(admin(&["audit", "verify"]).contains("The trail is whole"));
}

#[test]
fn database_outage_is_two_log_lines() {
    let mut cluster = Cluster::durable();
    let url = cluster.database_url();
    let dir = Scratch::new();
    let control = format!("control_plane:\n  listen: \"127.0.0.1:0\"\n  store: \"{url}\"\n");
    let text = gateway(&Recorder::start(), &Wishes::default()) + OBSERVABILITY + &control;
    let serve = Serve::start(&dir.write("portcullis.yaml", &text));
    let said = |message: &str| {
        let lines = serve.process.stderr.so_far();
        let records = lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let is_it = |record: &Value| {
            record["message"]
                .as_str()
                .is_some_and(|said| said.starts_with(message))
        };
        records.filter(is_it).collect::<Vec<_>>()
    };
    // The last line of a start on an empty store.
    eventually("it has started", || !said("nobody can sign in yet").is_empty());
    let before = serve.process.stderr.so_far().len();
    cluster.stop(false);
    eventually("the outage is logged", || !said("store unreachable").is_empty());
    let api = format!("{}/api/v1/session", serve.control.as_deref().unwrap());
    let credentials = json!({"email": "me@example.com", "password": PASSWORD});
    let refused = Request::to("POST", &api).json(&credentials).send();
    assert_eq!(refused.status(), 503);
    cluster.start_again();
    eventually("the end of the outage is logged", || {
        !said("store is back").is_empty()
    });
    let lines = serve.process.stderr.so_far();
    let records: Vec<Value> = lines[before..]
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert_eq!(records.len(), 2, "{records:#?}");
    assert!(
        records[0]["store"].as_str().unwrap().starts_with("postgres://"),
        "{records:#?}"
    );
    assert!(records[1]["after_s"].is_u64(), "{records:#?}");
    serve.stop();
}

/// Says stop when it goes away.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
