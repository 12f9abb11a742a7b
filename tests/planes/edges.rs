//! Gateways that are fed by a control plane in another process: enrolled once, revocations in force everywhere before
//! the answer says so, and refusal of what is enforced once the control plane was away for `max_age`.
#![expect(
    clippy::disallowed_methods,
    reason = "what several processes do takes real time, and a hang must end"
)]

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::process::{DEADLINE, Process, portcullis};
use super::support::product::{
    CONTROL_PLANE, Env, OBSERVABILITY, Serve, Wishes, gateway, quickstart_data, served_env,
};
use super::support::recorder::Recorder;
use super::support::scratch::Scratch;
use super::support::secrets;
use super::support::web::{Request, get, post};

pub const MAX_AGE: Duration = Duration::from_secs(4);

/// A control plane alone, on the data of a quickstart, with its edge listener.
pub struct Fleet {
    pub control: Serve,
    pub env: Env,
    pub dir: Scratch,
    pub upstream: Recorder,
}

fn policy(rest: &str) -> String {
    format!("policy: {{max_age: {}s{rest}}}\n", MAX_AGE.as_secs())
}

impl Fleet {
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// The same with further keys of the edge listener's section.
    pub fn start_with(further: &str) -> Self {
        let dir = quickstart_data();
        let config = dir.write("control.yaml", &control_config("127.0.0.1:0", further));
        let control = Serve::start(&config);
        let env = served_env(dir.path(), &control);
        Self {
            control,
            env,
            dir,
            upstream: Recorder::start(),
        }
    }

    /// Where edges connect, of the control plane as it runs.
    pub fn edge_listener(&self) -> String {
        self.control
            .process
            .stderr
            .wait_for("the edge listener", |lines| {
                let records = lines
                    .iter()
                    .filter_map(|line| serde_json::from_str::<Value>(line).ok());
                let mut edges = records.filter(|record| record["listener"] == "edges");
                edges.next()?["address"].as_str().map(|at| format!("http://{at}"))
            })
    }

    pub fn admin(&self, args: &[&str]) -> String {
        let mut command = portcullis(["admin", "edges"]);
        command
            .args(args)
            .arg("--config")
            .arg(self.dir.join("control.yaml"));
        let done = Process::run(&mut command);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        done.stdout.trim().to_owned()
    }

    /// Enrols an edge and starts it.
    pub fn edge(&self, name: &str) -> Serve {
        let token = self.admin(&["join-token", "--name", name]);
        assert!(token.starts_with("pcj_"));
        secrets::note([token.as_str()]);
        fs::write(self.dir.join(&format!("{name}.join")), &token).unwrap();
        self.start_edge(name)
    }

    pub fn start_edge(&self, name: &str) -> Serve {
        let remote = format!(
            ", source: remote, control_planes: [\"{}\"], state: \"{name}\", join: \"file:{name}.join\"",
            self.edge_listener()
        );
        let config = gateway(&self.upstream, &Wishes::default()) + OBSERVABILITY + &policy(&remote);
        Serve::start(&self.dir.write(&format!("{name}.yaml"), &config))
    }

    /// Starts the control plane again, after it ended, with its edge listener at the same address.
    pub fn restart(&mut self, edges: &str) {
        self.start_again(&control_config(edges, ""));
    }

    /// The same with the issuer that it was before.
    pub fn restart_as(&mut self, edges: &str, issuer: &str) {
        self.start_again(&format!(
            "{}  public_url: \"{issuer}\"\n",
            control_config(edges, "")
        ));
    }

    fn start_again(&mut self, config: &str) {
        self.control = Serve::start(&self.dir.write("control.yaml", config));
        self.env = served_env(self.dir.path(), &self.control);
    }

    /// The answer of an edge to an event of the enforced source.
    pub fn verdict(&self, edge: &Serve, token: Option<&str>) -> (u16, String) {
        let body = json!({"event": "Hello", "userId": "u1", "writeKey": self.env.get("WRITE_KEY")});
        let url = format!("{}/v1/track", edge.gateway.as_deref().unwrap());
        let request = post(&url).json(&body);
        match token {
            Some(token) => request.bearer(token).send().verdict(),
            None => request.send().verdict(),
        }
    }

    pub fn api(&self, method: &'static str, path: &str) -> Request {
        Request::to(method, &format!("{}{path}", self.env.get("API_URL")))
            .bearer(self.env.get("OWNER_API_TOKEN"))
    }

    /// Revokes a token, and waits for the edges.
    pub fn revoke(&self, token: &str, timeout: &str) -> (u16, Value) {
        let path = format!(
            "/workspaces/{}/apps/{}/tokens/revoke?wait=edges&timeout={timeout}",
            self.env.get("WORKSPACE_ID"),
            self.env.get("CLIENT_ID")
        );
        let answer = self.api("POST", &path).json(&json!({"token": token})).send();
        assert!(answer.header("x-portcullis-policy-version").is_some());
        (answer.status(), answer.json())
    }
}

fn control_config(edges: &str, further: &str) -> String {
    format!(
        "version: 1\n{OBSERVABILITY}{}{CONTROL_PLANE}  edges: {{listen: \"{edges}\", heartbeat: 500ms{further}}}\n",
        policy("")
    )
}

/// Tries until `attempt` gives what is expected; the last answer is shown where it never does.
pub fn eventually<T: PartialEq + std::fmt::Debug>(expected: &T, mut attempt: impl FnMut() -> T) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let found = attempt();
        if found == *expected {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?}, never {expected:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn allowed() -> (u16, String) {
    (200, String::new())
}

pub fn denied(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

#[test]
fn revocation_is_refused_at_every_edge_once_the_answer_says_complete() {
    let fleet = Fleet::start();
    let edges = [fleet.edge("fra-1"), fleet.edge("ams-1")];
    for edge in &edges {
        eventually(&denied(401, "token_missing"), || fleet.verdict(edge, None));
    }
    for _ in 0..5 {
        let token = fleet.env.token("", "tracking_api:write");
        for edge in &edges {
            assert_eq!(fleet.verdict(edge, Some(&token)), allowed());
        }
        let (status, answer) = fleet.revoke(&token, "10s");
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["edges"]["complete"], true, "{answer}");
        assert_eq!(answer["edges"]["in_force"], 2, "{answer}");
        assert_eq!(answer["status"], "revoked");
        for edge in &edges {
            assert_eq!(fleet.verdict(edge, Some(&token)), denied(401, "token_revoked"));
        }
    }
}

#[test]
fn edge_without_its_control_plane_refuses_after_max_age_and_recovers() {
    let fleet = Fleet::start();
    let edge = fleet.edge("fra-1");
    let token = fleet.env.token("", "tracking_api:write");
    eventually(&allowed(), || fleet.verdict(&edge, Some(&token)));
    let at = fleet.edge_listener();
    let issuer = format!(
        "  public_url: \"{}\"\n",
        fleet.control.control.as_deref().unwrap()
    );
    let Fleet {
        control,
        env,
        dir,
        upstream,
    } = fleet;
    let stopped = Instant::now();
    control.stop();
    let fleet = |control: Serve, env: Env, dir: Scratch, upstream: Recorder| Fleet {
        control,
        env,
        dir,
        upstream,
    };
    // The last policy holds for a while.
    let probe = |token: Option<&str>| {
        let body = json!({"event": "Hello", "userId": "u1", "writeKey": env.get("WRITE_KEY")});
        let url = format!("{}/v1/track", edge.gateway.as_deref().unwrap());
        let request = post(&url).json(&body);
        token
            .map_or_else(|| post(&url).json(&body), |token| request.bearer(token))
            .send()
            .verdict()
    };
    eventually(&denied(503, "policy_stale"), || probe(Some(&token)));
    assert!(
        stopped.elapsed() <= MAX_AGE + Duration::from_millis(500),
        "{:?}",
        stopped.elapsed()
    );
    let address = at.trim_start_matches("http://").to_owned();
    let control = Serve::start(&dir.write("control.yaml", &(control_config(&address, "") + &issuer)));
    let again = served_env(dir.path(), &control);
    let fleet = fleet(control, again, dir, upstream);
    eventually(&allowed(), || fleet.verdict(&edge, Some(&token)));
    edge.stop();
}

#[test]
fn edge_that_resumes_learns_that_the_issuer_changed() {
    let fleet = Fleet::start();
    let edge = fleet.edge("fra-1");
    let token = fleet.env.token("", "tracking_api:write");
    eventually(&allowed(), || fleet.verdict(&edge, Some(&token)));
    let at = fleet.edge_listener();
    let Fleet {
        control,
        dir,
        upstream,
        ..
    } = fleet;
    control.stop();
    // On another port and without `public_url` the control plane is another issuer.
    let address = at.trim_start_matches("http://").to_owned();
    let control = Serve::start(&dir.write("control.yaml", &control_config(&address, "")));
    let env = served_env(dir.path(), &control);
    let fleet = Fleet {
        control,
        env,
        dir,
        upstream,
    };
    let token = fleet.env.token("", "tracking_api:write");
    eventually(&allowed(), || fleet.verdict(&edge, Some(&token)));
    edge.stop();
}

#[test]
fn restarted_edge_serves_its_stored_policy_without_the_control_plane() {
    let fleet = Fleet::start();
    let edge = fleet.edge("fra-1");
    let token = fleet.env.token("", "tracking_api:write");
    eventually(&allowed(), || fleet.verdict(&edge, Some(&token)));
    let unenforced = |edge: &Serve| {
        let body =
            json!({"event": "Hello", "userId": "u1", "writeKey": fleet.env.get("UNENFORCED_WRITE_KEY")});
        let url = format!("{}/v1/track", edge.gateway.as_deref().unwrap());
        post(&url).json(&body).send().verdict()
    };
    edge.stop();
    // Nothing listens there: no control plane can be reached.
    let text = fs::read_to_string(fleet.dir.join("fra-1.yaml")).unwrap();
    let text = text.replace(&fleet.edge_listener(), "http://127.0.0.1:9");
    fs::remove_file(fleet.dir.join("fra-1.join")).unwrap();
    let edge = Serve::start(&fleet.dir.write("fra-1.yaml", &text));
    assert_eq!(unenforced(&edge), allowed());
    // Ended in order, it counts as gone; so its stored policy does not count as current.
    assert_eq!(fleet.verdict(&edge, Some(&token)), denied(503, "policy_stale"));
    edge.stop();
}

#[test]
fn damaged_policy_is_fetched_anew_and_costs_no_identity() {
    let fleet = Fleet::start();
    let edge = fleet.edge("fra-1");
    let token = fleet.env.token("", "tracking_api:write");
    eventually(&allowed(), || fleet.verdict(&edge, Some(&token)));
    edge.stop();
    let file = fleet.dir.join("fra-1").join("policy.snapshot");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    fs::write(fleet.dir.join("fra-1").join("identity.json"), "{").unwrap();
    let edge = fleet.start_edge("fra-1");
    eventually(&allowed(), || fleet.verdict(&edge, Some(&token)));
    edge.stop();
}

#[test]
fn join_token_enrols_one_edge_and_revoked_edges_lapse() {
    let fleet = Fleet::start();
    let answer = fleet
        .api("POST", "/edges/join-tokens")
        .json(&json!({"name": "fra-1"}))
        .send();
    assert_eq!(answer.status(), 201);
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    secrets::note([token.as_str()]);
    fs::write(fleet.dir.join("fra-1.join"), &token).unwrap();
    let edge = fleet.start_edge("fra-1");
    let access = fleet.env.token("", "tracking_api:write");
    eventually(&allowed(), || fleet.verdict(&edge, Some(&access)));
    // The token is used up.
    let join = json!({"token": token, "public_key": "A".repeat(43)});
    let again = post(&format!("{}/edges/v1/join", fleet.edge_listener()))
        .json(&join)
        .send();
    assert_eq!(again.status(), 403, "{}", again.json());
    let listed = fleet.api("GET", "/edges").send().json();
    let listed = &listed["items"][0];
    assert_eq!(listed["name"], "fra-1");
    assert_eq!(listed["instances"][0]["state"], "current", "{listed}");
    let path = format!("/edges/{}", listed["id"].as_str().unwrap());
    assert_eq!(fleet.api("DELETE", &path).send().status(), 204);
    eventually(&denied(503, "policy_stale"), || {
        fleet.verdict(&edge, Some(&access))
    });
    edge.stop();
}

#[test]
fn wait_for_edges_counts_a_lapsed_instance_once_its_lease_is_over() {
    let fleet = Fleet::start();
    let edge = fleet.edge("fra-1");
    let token = fleet.env.token("", "tracking_api:write");
    eventually(&allowed(), || fleet.verdict(&edge, Some(&token)));
    edge.process.signal("STOP");
    let (status, answer) = fleet.revoke(&token, "100ms");
    assert_eq!(status, 202, "{answer}");
    assert_eq!(answer["edges"]["pending"], 1, "{answer}");
    let version = &answer["policy_version"];
    let path = format!("/policy/versions/{version}?wait=edges&timeout=10s");
    let began = Instant::now();
    let answer = fleet.api("GET", &path).send();
    assert_eq!(
        (answer.status(), answer.json()["edges"]["lapsed"].as_u64()),
        (200, Some(1))
    );
    assert!(began.elapsed() < MAX_AGE + Duration::from_secs(2));
    edge.process.signal("CONT");
    eventually(&denied(401, "token_revoked"), || {
        fleet.verdict(&edge, Some(&token))
    });
    let metrics = get(&format!("{}/metrics", edge.observability.as_deref().unwrap())).send();
    assert_eq!(metrics.status(), 200);
    edge.stop();
}
