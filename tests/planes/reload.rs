//! Changes of the config while requests are under way.

use std::fs;
use std::net::TcpStream;
use std::path::Path;

use super::support::load::{CountingUpstream, Load, series};
use super::support::process::{Process, eventually, portcullis};
use super::support::product::{
    CONTROL_PLANE, Env, NEW_CONTROL_PLANE, OBSERVABILITY, Serve, Wishes, World, gateway_to, quickstart_data,
    served_env,
};
use super::support::scratch::Scratch;
use super::support::web::get;

/// How many reloads happen under load; a number in this variable asks for more.
const RELOADS: (&str, usize) = ("PORTCULLIS_TEST_RELOADS", 15);

#[expect(clippy::disallowed_methods, reason = "the same test takes bigger counts")]
pub fn count((variable, default): (&str, usize)) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Both planes before an upstream that counts, and what a load of good requests needs.
pub struct Loaded {
    pub dir: Scratch,
    pub env: Env,
    pub serve: Serve,
    pub upstream: CountingUpstream,
    pub load: Load,
    pub config: String,
}

impl Loaded {
    pub fn start(more: &str) -> Self {
        let dir = quickstart_data();
        let load = Load::new();
        let upstream = CountingUpstream::start(&load.runtime);
        let config = gateway_to(upstream.address, &Wishes::default()) + OBSERVABILITY + CONTROL_PLANE + more;
        let serve = Serve::start(&dir.write("portcullis.yaml", &config));
        let env = served_env(dir.path(), &serve);
        Self {
            dir,
            env,
            serve,
            upstream,
            load,
            config,
        }
    }

    /// Replaces the config file as editors do: whole, in one moment.
    pub fn write_config(&self, text: &str) {
        let fresh = self.dir.write("portcullis.yaml.new", text);
        fs::rename(fresh, self.dir.join("portcullis.yaml")).unwrap();
    }
}

/// A request that is answered with 200, on a connection that is kept.
pub fn good_request(env: &Env, token: &str) -> Vec<u8> {
    let body = format!(
        r#"{{"batch":[{{"type":"track","event":"e"}}],"writeKey":"{}"}}"#,
        env.get("WRITE_KEY")
    );
    format!(
        "POST /v1/batch HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn reloads(serve: &Serve, result: &str) -> f64 {
    let all = series(&serve.metrics(), "portcullis_config_reload_total");
    all[&format!("result=\"{result}\"")]
}

#[test]
fn reloads_under_load_fail_no_request() {
    let mut world = Loaded::start("shutdown: {idle_grace: 2s}\n");
    let token = world.env.token("", "tracking_api:write");
    let to = Serve::address(world.serve.gateway.as_ref());
    world.load.keep_sending(8, to, &good_request(&world.env, &token));
    let wanted = count(RELOADS);
    for round in 0..wanted {
        // Each time another limit; a pool, a listener and an API that come and go.
        let mut text = world.config.replacen(
            "  upstreams:\n",
            &format!("  limits: {{body_bytes: {}B}}\n  upstreams:\n", 100_000 + round),
            1,
        );
        if round % 2 == 0 {
            let server = world.upstream.address;
            text = text
                .replacen(
                    "  upstreams:\n",
                    &format!("  upstreams:\n    other: {{servers: [\"{server}\"]}}\n"),
                    1,
                )
                .replacen("listeners: [", "listeners: [{address: \"localhost:0\"}, ", 1);
        }
        world.write_config(&text);
        let before = reloads(&world.serve, "ok");
        world.serve.process.signal("HUP");
        eventually("the config is read again", || {
            reloads(&world.serve, "ok") > before
        });
    }
    assert_eq!(reloads(&world.serve, "error"), 0.0);
    let seen = world.load.stop();
    seen.assert_none_failed();
    println!(
        "{wanted} reloads, {} requests, none failed",
        seen.with_status(200)
    );
    assert_eq!(seen.with_status(200), world.upstream.requests());
    assert!(seen.with_status(200) > 0);
    world.serve.stop();
}

#[test]
fn servers_of_a_pool_change_under_load_and_no_request_fails() {
    let mut world = Loaded::start("");
    let next = CountingUpstream::start(&world.load.runtime);
    let token = world.env.token("", "tracking_api:write");
    let to = Serve::address(world.serve.gateway.as_ref());
    world.load.keep_sending(8, to, &good_request(&world.env, &token));
    eventually("the first server is in use", || world.upstream.requests() > 100);
    let (from, to) = (world.upstream.address.to_string(), next.address.to_string());
    world.write_config(&world.config.replace(&from, &to));
    world.serve.process.signal("HUP");
    // Each client has had an answer of the new server by then, most likely many.
    eventually("the new server is in use", || next.requests() > 200);
    let before = world.upstream.requests();
    eventually("the new server goes on", || next.requests() > 500);
    assert_eq!(
        world.upstream.requests(),
        before,
        "the first server is still in use"
    );
    let seen = world.load.stop();
    seen.assert_none_failed();
    assert_eq!(seen.with_status(200), before + next.requests());
    world.serve.stop();
}

/// The records that say what a reload did, once there are this many.
fn records(serve: &Serve, message: &str, count: usize) -> Vec<String> {
    serve.process.stderr.wait_for(message, |lines| {
        let these: Vec<String> = lines
            .iter()
            .filter(|line| line.contains(message))
            .cloned()
            .collect();
        (these.len() >= count).then_some(these)
    })
}

#[test]
fn change_of_the_file_is_in_force_for_the_next_request_and_said_by_its_keys() {
    let world = World::start();
    let config = world.dir.join("portcullis.yaml");
    let before = fs::read_to_string(&config).unwrap();
    let change = |from: &str, to: &str| {
        assert!(before.contains(from), "{from}");
        world.dir.write("portcullis.yaml", &before.replacen(from, to, 1));
    };
    let status = || world.env.event("WRITE_KEY").send().status();
    assert_eq!(status(), 401);
    // No signal: the file is watched.
    change(
        "reauthenticate_status: 401",
        "reauthenticate_status: 401\n      unknown_sources: forward",
    );
    let said = records(&world.serve, "config reloaded", 1);
    assert!(
        said[0].contains("gateway.apis.tracking.unknown_sources"),
        "{said:?}"
    );
    let unknown = super::support::web::post(&format!("{}/v1/track", world.env.get("GATEWAY_URL")))
        .json(&serde_json::json!({"event": "e", "writeKey": "nobody-knows-this-key"}));
    assert_eq!(unknown.send().status(), 200);
    // What cannot be changed is named, and all else is taken over.
    change("  workers: 2\n", "  workers: 1\n  limits: {body_bytes: 64B}\n");
    let said = records(&world.serve, "keep their old values", 1);
    assert!(said[0].contains("gateway.workers"), "{said:?}");
    assert_eq!(world.env.event("WRITE_KEY").send().reason(), "body_too_large");
    world.serve.stop();
}

#[test]
fn config_with_a_mistake_changes_nothing() {
    let world = World::start();
    let config = world.dir.join("portcullis.yaml");
    let before = fs::read_to_string(&config).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = format!("listeners: [{{address: \"{}\"}}, ", taken.local_addr().unwrap());
    for (round, bad) in [
        before.replacen("upstream: api", "upstream: nowhere", 1),
        before.replacen(
            "  workers: 2\n",
            "  workers: 2\n  limits: {body_bytes: 64B}\n  nonsense: 1\n",
            1,
        ),
        // Found out only when it is tried: nothing of the rest may be in force then.
        before
            .replacen("  workers: 2\n", "  workers: 2\n  limits: {body_bytes: 64B}\n", 1)
            .replacen("listeners: [", &other, 1),
        String::new(),
    ]
    .into_iter()
    .enumerate()
    {
        world.dir.write("portcullis.yaml", &bad);
        world.serve.process.signal("HUP");
        records(&world.serve, "config refused", round + 1);
        assert_eq!(world.env.event("UNENFORCED_WRITE_KEY").send().status(), 200);
    }
    drop(taken);
    world.serve.stop();
}

#[test]
fn listener_comes_and_goes_without_the_others_noticing() {
    let world = World::start();
    let config = world.dir.join("portcullis.yaml");
    let before = fs::read_to_string(&config).unwrap();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let with = format!("listeners: [{{address: \"{address}\"}}, ");
    world
        .dir
        .write("portcullis.yaml", &before.replacen("listeners: [", &with, 1));
    eventually("the new listener accepts", || TcpStream::connect(address).is_ok());
    let url = format!("http://{address}/things");
    assert_eq!(get(&url).send().status(), 200);
    // A request under way on it is answered although it goes.
    world.upstream.hold();
    let seen = world.upstream.requests().len();
    let pending = get(&url).begin();
    world.upstream.wait_for(seen + 1);
    world.dir.write("portcullis.yaml", &before);
    eventually("the listener is gone", || TcpStream::connect(address).is_err());
    world.upstream.release();
    assert_eq!(pending.answer().map(|answer| answer.status()), Some(200));
    assert_eq!(
        get(&format!("{}/things", world.env.get("GATEWAY_URL")))
            .send()
            .status(),
        200
    );
    world.serve.stop();
}

#[test]
fn check_says_whose_certificate_it_is_and_refuses_a_pair_that_does_not_fit() {
    let dir = quickstart_data();
    let make = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![format!("{name}.test")]).unwrap();
        dir.write(&format!("{name}.pem"), &params.self_signed(&key).unwrap().pem());
        super::support::secrets::note(key.serialize_pem().lines().filter(|line| !line.starts_with('-')));
        dir.write(&format!("{name}.key"), &key.serialize_pem());
    };
    make("one");
    make("two");
    let config = |cert: &str, key: &str| {
        let tls = format!(", tls: {{certificates: [{{cert: {cert}.pem, key: {key}.key}}]}}}}]");
        let text = gateway_to("127.0.0.1:1".parse().unwrap(), &Wishes::default()) + NEW_CONTROL_PLANE;
        dir.write("tls.yaml", &text.replacen("}]", &tls, 1))
    };
    let check = |path: &Path| Process::run(portcullis(["check"]).arg(path));
    let good = check(&config("one", "one"));
    assert_eq!(good.code, Some(0), "{}", good.stderr);
    assert!(good.stdout.contains("for one.test"), "{}", good.stdout);
    let bad = check(&config("one", "two"));
    assert_eq!(bad.code, Some(1));
    assert!(
        bad.stderr.contains("does not belong to the certificate"),
        "{}",
        bad.stderr
    );
}
