//! A store with a million sources, 100,000 apps and a million revocations: how long each list and each change takes,
//! and how soon after its start the gateway decides.
//!
//! In a dist build, on a quiet machine:
//! `cargo test --profile dist --test planes -- --ignored --nocapture --test-threads 1 many::`.
//! `PORTCULLIS_TEST_MANY` says how many sources there are, `PORTCULLIS_TEST_SAMPLES` how often each thing is done.
#![expect(clippy::disallowed_methods, reason = "what is measured is real time")]

mod changes;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::changes::{changes_of_apps, changes_of_members, changes_of_sources, changes_of_tokens};
use super::many_store::{Filling, PASSWORD, app_id, event_id, member_id, source_id};
use super::support::postgres::Cluster;
use super::support::process::Process;
use super::support::product::{Env, OBSERVABILITY, Serve, Wishes, gateway};
use super::support::recorder::Recorder;
use super::support::scratch::Scratch;
use super::support::test_key::TestKey;
use super::support::web::{Answer, Request, post};

/// What each page and each change may take.
const BOUND: Duration = Duration::from_millis(50);

/// What the start may take until the first request is decided.
const START_BOUND: Duration = Duration::from_secs(10);

/// The issuer of tokens, the same on every port.
const ISSUER: &str = "https://control.test";

fn number(variable: &str, default: u64) -> u64 {
    let chosen = std::env::var(variable);
    chosen.map_or(default, |text| text.parse().unwrap())
}

/// Of how many times in a hundred the bound is asked.
const SHARE: usize = 99;

/// The time that so many in a hundred of the sorted ones do not exceed.
fn share_of(times: &[Duration], share: usize) -> Duration {
    times[(times.len() - 1) * share / 100]
}

fn is_over(times: &[Duration]) -> bool {
    share_of(times, SHARE) > BOUND
}

/// The product on a filled store.
struct World {
    serve: Serve,
    env: Env,
    owner: String,
    /// Of a session of the owner, for what no API token may do.
    cookie: String,
    samples: u64,
    rows: Filling,
    figures: Vec<(String, Vec<Duration>)>,
    /// What was not done, or not right.
    faults: Vec<String>,
}

impl World {
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.env.get("API_URL"))
    }

    fn workspace_url(&self, path: &str) -> String {
        self.url(&format!("/workspaces/{}{path}", self.env.get("WORKSPACE_ID")))
    }

    /// Does one thing many times and keeps how long each took. Answers what the last one answered.
    fn measure(&mut self, what: &str, mut request: impl FnMut(&Self, u64) -> Request) -> Value {
        let mut times = Vec::new();
        let mut last = Value::Null;
        for at in 0..self.samples {
            let (answer, time) = loop {
                let request = request(self, at);
                let began = Instant::now();
                let answer = request.send();
                let time = began.elapsed();
                // What has a limit for each second is asked again until it is answered.
                if answer.status() != 429 {
                    break (answer, time);
                }
            };
            times.push(time);
            last = answer.json();
            if !(200..300).contains(&answer.status()) {
                self.faults
                    .push(format!("{what}: {} {}", answer.status(), last["detail"]));
            }
        }
        times.sort();
        let at = |share| share_of(&times, share).as_secs_f64() * 1e3;
        let over = if is_over(&times) { "  OVER" } else { "" };
        println!(
            "  {what:<44} p50 {:>7.1}  p99 {:>7.1}  max {:>7.1} ms{over}",
            at(50),
            at(SHARE),
            at(100)
        );
        self.figures.push((what.to_owned(), times));
        last
    }

    /// Reads a list below the workspace, with `token`.
    fn list_as(&mut self, token: &str, what: &str, path: &str, items: Option<usize>) {
        let token = token.to_owned();
        let got = self.measure(what, |world, _| {
            Request::to("GET", &world.workspace_url(path)).bearer(&token)
        });
        let held = got["items"].as_array().map(Vec::len);
        if items.is_some() && held != items {
            self.faults.push(format!("{what}: {held:?} items"));
        }
    }

    fn list(&mut self, what: &str, path: &str, items: Option<usize>) {
        let owner = self.owner.clone();
        self.list_as(&owner, what, path, items);
    }

    /// Changes something below the workspace.
    fn change(&mut self, what: &str, method: &'static str, mut of: impl FnMut(u64) -> (String, Value)) {
        self.measure(what, |world, at| {
            let (path, body) = of(at);
            let request = Request::to(method, &world.workspace_url(&path)).bearer(&world.owner);
            if body.is_null() {
                request
            } else {
                request.json(&body)
            }
        });
    }

    fn make(&self, path: &str, body: &Value) -> Value {
        self.env.change("POST", path, body)
    }

    /// A request as the console makes it.
    fn in_session(&self, method: &'static str, url: &str) -> Request {
        Request::to(method, url)
            .header("Cookie", &self.cookie)
            .header("Sec-Fetch-Site", "same-origin")
    }
}

/// Signs the owner in. Answers the cookie of the session.
fn sign_in(env: &Env) -> String {
    let signed_in = post(&format!("{}/session", env.get("API_URL")))
        .json(&json!({"email": "owner@many.example", "password": PASSWORD}))
        .send();
    assert_eq!(signed_in.status(), 201, "{}", signed_in.json());
    let cookie = signed_in.header("set-cookie").unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

fn lists(world: &mut World) {
    let rows = world.rows;
    let (source, app) = (source_id(rows.sources / 2), app_id(rows.apps / 2));
    let (member, event) = (member_id(rows.members / 2), event_id(rows.events / 2));
    world.measure("GET workspaces?limit=200", |world, _| {
        world.in_session("GET", &world.url("/workspaces?limit=200"))
    });
    world.list("GET sources", "/sources", Some(50));
    world.list("GET sources?limit=200", "/sources?limit=200", Some(200));
    let deep = format!("/sources?limit=200&after={source}");
    world.list("GET sources, deep", &deep, Some(200));
    for (who, token) in [("function admin", 1), ("admin of 20", 0)] {
        let token = Filling::token_of_member(token);
        let what = format!("GET sources, {who}");
        world.list_as(&token, &what, "/sources?limit=200", None);
        let what = format!("GET apps, {who}");
        world.list_as(&token, &what, "/apps?limit=200", Some(200));
    }
    world.list("GET one source", &format!("/sources/{source}"), None);
    world.list("GET traffic", &format!("/sources/{source}/traffic"), None);
    world.list("GET apps", "/apps", Some(50));
    world.list("GET apps?limit=200", "/apps?limit=200", Some(200));
    let deep = format!("/apps?limit=200&after={app}");
    world.list("GET apps, deep", &deep, Some(200));
    world.list("GET one app", &format!("/apps/{app}"), None);
    world.list("GET keys", &format!("/apps/{app}/keys"), Some(1));
    world.list("GET members?limit=200", "/members?limit=200", Some(200));
    let deep = format!("/members?limit=200&after={member}");
    world.list("GET members, deep", &deep, Some(200));
    world.list("GET api-tokens", "/api-tokens?limit=200", None);
    world.list("GET leaked-tokens", "/leaked-tokens?limit=200", None);
    for (what, query, items) in [
        ("", String::new(), Some(200)),
        (", deep", format!("&after={event}"), Some(200)),
        (", by action", "&action=source.created".to_owned(), Some(200)),
        (", by rare action", "&action=workspace.renamed".to_owned(), None),
        (", by actor", format!("&actor={member}"), None),
        (", by address", "&actor=member-7@many.example".to_owned(), None),
        (
            ", by unknown address",
            "&actor=nobody@many.example".to_owned(),
            Some(0),
        ),
        (", by type", "&resource_type=source".to_owned(), Some(200)),
        (", by rare type", "&resource_type=workspace".to_owned(), None),
        (", by resource", format!("&resource_id={source}"), None),
        (", by time", "&until=2026-01-01T00:00:00Z".to_owned(), None),
    ] {
        let path = format!("/audit-events?limit=200{query}");
        world.list(&format!("GET audit-events{what}"), &path, items);
    }
}

/// The console's lists, which can be searched.
fn console(world: &mut World) {
    let control = world.serve.control.clone().unwrap();
    let cookie = sign_in(&world.env);
    let at = format!("{control}/console/w/{}", world.env.get("WORKSPACE_ID"));
    for (what, path) in [
        ("overview", ""),
        ("sources", "/sources"),
        ("sources, many found", "/sources?q=number"),
        ("sources, one found", "/sources?q=number+77"),
        ("sources, none found", "/sources?q=nothing+at+all"),
        ("sources, rare mode", "/sources?mode=off"),
        ("sources, rare kind", "/sources?kind=source_function"),
        ("apps", "/apps"),
        ("apps, none found", "/apps?q=nothing+at+all"),
    ] {
        world.measure(&format!("console {what}"), |_, _| {
            Request::to("GET", &format!("{at}{path}")).header("Cookie", &cookie)
        });
    }
}

/// Memory of a process in MiB: now, and at most until now.
fn memory(process: &Process) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let number = line.split_whitespace().nth(1).unwrap();
        number.parse::<u64>().unwrap() / 1024
    };
    (of("VmRSS:"), of("VmHWM:"))
}

/// An enforced request with a good token.
fn event(env: &Env, token: &str) -> Answer {
    let body = json!({"event": "Hello", "userId": "u1", "writeKey": env.get("WRITE_KEY")});
    post(&format!("{}/v1/track", env.get("GATEWAY_URL")))
        .bearer(token)
        .json(&body)
        .send()
}

/// The variables for the clients of this run.
fn env_of(serve: &Serve, known: &[(&str, String)]) -> Env {
    let control = serve.control.as_deref().unwrap();
    let mut env = Env([].into());
    let mut set = |name: &str, value: String| env.0.insert(name.to_owned(), value);
    for (name, value) in known {
        set(name, value.clone());
    }
    set("GATEWAY_URL", serve.gateway.clone().unwrap());
    set("TOKEN_URL", format!("{control}/token"));
    set("API_URL", format!("{control}/api/v1"));
    set("AUTH_SERVER", ISSUER.to_owned());
    env
}

fn config(dir: &Scratch, upstream: &Recorder, store: &str) -> PathBuf {
    let mut text = gateway(upstream, &Wishes::default()) + OBSERVABILITY;
    let rate = "{burst: 1000000, per_second: 1000000}";
    write!(
        text,
        "control_plane:\n  listen: \"127.0.0.1:0\"\n  public_url: \"{ISSUER}\"\n  store: \"{store}\"\n  \
         limits: {{token_app: {rate}, api_account: {rate}, changes_manager: {rate}}}\n"
    )
    .unwrap();
    dir.write("portcullis.yaml", &text)
}

fn run(dir: &Scratch, store: &str, url: &str) {
    let rows = Filling::of(number("PORTCULLIS_TEST_MANY", 1_000_000));
    let upstream = Recorder::start();
    let config = config(dir, &upstream, store);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (workspace, owner) = runtime.block_on(Filling::begin(&config, url));
    let TestKey {
        public_pem: pem,
        private_pem,
        ..
    } = TestKey::p256();
    let other_pem = TestKey::p256().public_pem;
    let private = dir.write("client.pem", &private_pem);
    let mut known = vec![
        ("WORKSPACE_ID", workspace.clone()),
        ("OWNER_API_TOKEN", owner.clone()),
        ("PRIVATE_KEY_FILE", private.display().to_string()),
    ];
    let serve = Serve::start(&config);
    let env = env_of(&serve, &known);
    let key = json!({"name": "k", "pem": pem});
    let scopes = json!(["tracking_api:write"]);
    let app = env.change(
        "POST",
        "/apps",
        &json!({"name": "Sender", "scopes": scopes, "public_key": key}),
    );
    let source = env.change("POST", "/sources", &json!({"name": "Web", "kind": "http_api"}));
    let path = format!("/sources/{}", source["id"].as_str().unwrap());
    env.change("PUT", &format!("{path}/app"), &json!({"app_id": app["id"]}));
    env.change("PUT", &format!("{path}/enforcement"), &json!({"mode": "on"}));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    known.push(("CLIENT_ID", text(&app["id"])));
    known.push(("KEY_ID", text(&app["keys"][0]["id"])));
    known.push(("WRITE_KEY", text(&source["write_key"])));
    let token = env_of(&serve, &known).token("", "tracking_api:write");
    serve.stop();

    let began = Instant::now();
    runtime.block_on(rows.fill(url, &workspace, &pem, ISSUER));
    println!(
        "{} sources, {} apps, {} revocations, {} events; filled in {:.0?}",
        rows.sources,
        rows.apps,
        rows.revocations,
        rows.events,
        began.elapsed()
    );

    let began = Instant::now();
    let serve = Serve::start(&config);
    let env = env_of(&serve, &known);
    let first = event(&env, &token);
    let started = began.elapsed();
    assert_eq!(first.status(), 200, "{}", first.json());
    let (now, most) = memory(&serve.process);
    let over = if started > START_BOUND { "  OVER" } else { "" };
    println!("start to first decision {started:.2?}{over}; memory {now} MiB, at most {most} MiB");
    let mut world = World {
        cookie: sign_in(&env),
        serve,
        env,
        owner,
        samples: number("PORTCULLIS_TEST_SAMPLES", 200),
        rows,
        figures: Vec::new(),
        faults: Vec::new(),
    };
    let app = text(&app["id"]);
    lists(&mut world);
    changes_of_sources(&mut world, &app);
    changes_of_apps(&mut world, &pem, &other_pem);
    changes_of_members(&mut world);
    changes_of_tokens(&mut world, &app);
    console(&mut world);
    let (now, most) = memory(&world.serve.process);
    println!("memory at the end {now} MiB, at most {most} MiB");
    let over = world.figures.iter().filter(|(_, times)| is_over(times));
    let over: Vec<&str> = over.map(|(what, _)| what.as_str()).collect();
    println!("{} operations, over {BOUND:?}: {over:?}", world.figures.len());
    world.serve.stop();
    world.faults.dedup();
    assert!(world.faults.is_empty(), "{:#?}", world.faults);
}

#[test]
#[ignore = "a measurement, for a dist build on a quiet machine"]
fn on_sqlite() {
    let dir = Scratch::new();
    let path = dir.join("portcullis.db");
    println!("SQLite");
    run(
        &dir,
        "sqlite:portcullis.db",
        &format!("sqlite:{}", path.display()),
    );
}

#[test]
#[ignore = "a measurement, for a dist build on a quiet machine"]
fn on_postgres() {
    let dir = Scratch::new();
    // As a server is set up by its distribution, but for its memory.
    let cluster = Cluster::with(
        "fsync = on\nfull_page_writes = on\nautovacuum = on\nshared_buffers = 512MB\nmax_wal_size = 4GB",
    );
    let url = cluster.database_url();
    println!("PostgreSQL");
    run(&dir, &url, &url);
}
