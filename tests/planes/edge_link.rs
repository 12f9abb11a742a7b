//! The link between an edge and its control plane under adverse conditions: large reports, a state folder that cannot be
//! written.

use std::fs;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::edges::{Fleet, allowed, denied, eventually};
use super::support::process::{Process, portcullis};
use super::support::secrets;
use super::support::web::{get, post};

/// An edge that speaks the protocol itself.
pub struct OwnEdge {
    edge: String,
    key: Ed25519KeyPair,
    root: String,
    session: String,
}

impl OwnEdge {
    /// Joins with a key of its own, and opens a session.
    pub fn join(fleet: &Fleet, name: &str) -> Self {
        let token = fleet.admin(&["join-token", "--name", name]);
        secrets::note([token.as_str()]);
        let root = format!("{}/edges/v1", fleet.edge_listener());
        let pkcs8 = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        let key = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let public_key = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
        let joined = call(&root, "/join", &json!({"token": token, "public_key": public_key}));
        let mut edge = Self {
            edge: joined["edge"].as_str().unwrap().to_owned(),
            key,
            root,
            session: String::new(),
        };
        edge.open_session();
        edge
    }

    /// Opens another session of the same instance.
    pub fn open_session(&mut self) {
        let nonce = self.nonce();
        // The id of an edge is of one alphabet with that of an instance, and long enough.
        let instance = self.edge.clone();
        let opened = self.try_session(&instance, &nonce, "").unwrap();
        opened["token"].as_str().unwrap().clone_into(&mut self.session);
        secrets::note([self.session.as_str()]);
    }

    fn nonce(&self) -> String {
        let nonce = call(&self.root, "/nonces", &Value::Null);
        nonce["nonce"].as_str().unwrap().to_owned()
    }

    /// Asks for a session. `spoil` is added to what is signed. The error is the status of the answer.
    fn try_session(&self, instance: &str, nonce: &str, spoil: &str) -> Result<Value, u16> {
        let edge = &self.edge;
        let text = format!("portcullis edge session\n{edge}\n{instance}\n{nonce}{spoil}");
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(text.as_bytes()).as_ref());
        let wanted = json!({
            "edge": edge, "instance": instance, "nonce": nonce, "signature": signature,
            "build": "test", "max_age_s": 3_600, "unbounded": false
        });
        let answer = post(&format!("{}/sessions", self.root)).json(&wanted).send();
        match answer.status() {
            200 => Ok(answer.json()),
            status => Err(status),
        }
    }

    /// Offers a new key of its own, and returns the status of the answer.
    fn offer_key(&self) -> u16 {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        let key = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let public_key = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
        let offered = post(&format!("{}/keys", self.root)).bearer(&self.session);
        offered.json(&json!({"public_key": public_key})).send().status()
    }

    /// Says that this position is in force, and returns the answer.
    pub fn beat(&self, position: &Value) -> Value {
        let answer = post(&format!("{}/beats", self.root))
            .bearer(&self.session)
            .json(&json!({"number": 1, "position": position}))
            .send();
        assert_eq!(answer.status(), 200);
        answer.json()
    }

    /// Sends a report with this many counts, and returns the status of the answer.
    fn report(&self, number: u64, counts: usize) -> u16 {
        let source = format!("src_{}", "0".repeat(32));
        let count = |at: usize| {
            json!({
                "source": source, "policy_version": 1, "verdict": "deny", "reason": "token_missing",
                "agent": format!("analytics-node-next/{at}"), "address": "192.0.2.1", "requests": 1
            })
        };
        let counts: Vec<Value> = (0..counts).map(count).collect();
        let report = json!({"policy_version": 1, "confirmed_at": 0, "counts": counts});
        post(&format!("{}/reports", self.root))
            .bearer(&self.session)
            .json(&json!({"number": number, "report": report}))
            .send()
            .status()
    }
}

fn call(root: &str, path: &str, body: &Value) -> Value {
    let answer = post(&format!("{root}{path}")).json(body).send();
    assert_eq!(answer.status(), 200, "{path}: {}", answer.json()["detail"]);
    answer.json()
}

#[test]
fn report_of_three_thousand_counts_is_taken() {
    let fleet = Fleet::start();
    let edge = OwnEdge::join(&fleet, "own-1");
    assert_eq!(edge.report(1, 3_000), 204);
    // Sent again, it counts once.
    assert_eq!(edge.report(1, 3_000), 204);
}

#[test]
fn report_with_more_counts_than_a_gateway_makes_is_refused() {
    let fleet = Fleet::start();
    let edge = OwnEdge::join(&fleet, "own-1");
    assert_eq!(edge.report(1, 4_096), 204);
    assert_eq!(edge.report(2, 4_097), 422);
}

#[test]
fn session_is_refused_for_an_instance_of_another_edge() {
    let fleet = Fleet::start();
    let [one, other] = ["own-1", "own-2"].map(|name| OwnEdge::join(&fleet, name));
    let instance = "A".repeat(22);
    assert!(one.try_session(&instance, &one.nonce(), "").is_ok());
    let refused = other.try_session(&instance, &other.nonce(), "");
    assert_eq!(refused.err(), Some(401));
    assert!(one.try_session(&instance, &one.nonce(), "").is_ok());
}

#[test]
fn nonce_is_used_up_only_by_the_signature_of_its_edge() {
    let fleet = Fleet::start();
    let edge = OwnEdge::join(&fleet, "own-1");
    let (instance, nonce) = ("A".repeat(22), edge.nonce());
    let open = |spoil| edge.try_session(&instance, &nonce, spoil).err();
    assert_eq!(open("spoiled"), Some(401));
    assert_eq!(open(""), None);
    assert_eq!(open(""), Some(401));
}

#[test]
fn new_key_is_taken_only_once_an_operator_asked_for_it() {
    let fleet = Fleet::start();
    let edge = OwnEdge::join(&fleet, "own-1");
    assert_eq!(edge.offer_key(), 422);
    fleet.admin(&["rotate", &edge.edge]);
    assert_eq!(edge.offer_key(), 204);
}

#[test]
fn edge_that_cannot_write_goes_on_in_memory_without_a_lease_on_disk() {
    let fleet = Fleet::start();
    let mut edge = fleet.edge("fra-1");
    let state = fleet.dir.join("fra-1");
    let tokens = [(); 3].map(|()| fleet.env.token("", "tracking_api:write"));
    eventually(&allowed(), || fleet.verdict(&edge, Some(&tokens[0])));
    eventually(&true, || state.join("lease.json").exists());
    // The next change finds a folder where its file was.
    fs::remove_file(state.join("policy.changes")).unwrap();
    fs::create_dir(state.join("policy.changes")).unwrap();
    for token in &tokens[..2] {
        let (status, answer) = fleet.revoke(token, "10s");
        assert_eq!(
            (status, &answer["edges"]["in_force"]),
            (200, &json!(1)),
            "{answer}"
        );
        assert_eq!(fleet.verdict(&edge, Some(token)), denied(401, "token_revoked"));
        assert!(!state.join("lease.json").exists());
    }
    assert_eq!(fleet.verdict(&edge, Some(&tokens[2])), allowed());
    // After a crash the older policy on disk does not count as current.
    let at = fleet.edge_listener();
    edge.process.signal("KILL");
    edge.process.wait();
    fs::remove_dir(state.join("policy.changes")).unwrap();
    fs::write(state.join("policy.changes"), "").unwrap();
    let text = fs::read_to_string(fleet.dir.join("fra-1.yaml")).unwrap();
    let text = text.replace(&at, "http://127.0.0.1:9");
    edge = super::support::product::Serve::start(&fleet.dir.write("fra-1.yaml", &text));
    for token in &tokens {
        assert_eq!(fleet.verdict(&edge, Some(token)), denied(503, "policy_stale"));
    }
    edge.stop();
}

#[test]
fn edge_that_reconnects_counts_until_its_lease_ends() {
    let mut fleet = Fleet::start();
    let mut edge = OwnEdge::join(&fleet, "own-1");
    let newest = edge.beat(&Value::Null)["newest"].clone();
    assert_eq!(edge.beat(&newest)["newest"], newest);
    // Another process does not know that this one renewed the lease.
    let address = fleet.edge_listener().trim_start_matches("http://").to_owned();
    fleet.control.process.signal("KILL");
    fleet.control.process.wait();
    fleet.restart(&address);
    edge.open_session();
    let token = fleet.env.token("", "tracking_api:write");
    let (status, answer) = fleet.revoke(&token, "100ms");
    assert_eq!(
        (status, &answer["edges"]["pending"]),
        (202, &json!(1)),
        "{answer}"
    );
}

#[test]
fn restored_store_gets_lost_revocations_back_from_an_edge() {
    let mut fleet = Fleet::start();
    let issuer = fleet.control.control.clone().unwrap();
    let edge = fleet.edge("fra-1");
    let [lost, other] = [(); 2].map(|()| fleet.env.token("", "tracking_api:write"));
    eventually(&allowed(), || fleet.verdict(&edge, Some(&lost)));
    let store = fleet.dir.join("portcullis.db");
    let copy = fleet.dir.join("yesterday.db");
    let mut backup = portcullis(["admin", "backup", "--config"]);
    backup.arg(fleet.dir.join("control.yaml")).arg("--to").arg(&copy);
    assert_eq!(Process::run(&mut backup).code, Some(0));
    let (status, answer) = fleet.revoke(&lost, "10s");
    assert_eq!(status, 200, "{answer}");
    // The store goes back to what it was before.
    let address = fleet.edge_listener().trim_start_matches("http://").to_owned();
    fleet.control.process.signal("KILL");
    fleet.control.process.wait();
    for name in ["portcullis.db-wal", "portcullis.db-shm"] {
        let _ = fs::remove_file(fleet.dir.join(name));
    }
    fs::copy(&copy, &store).unwrap();
    fleet.restart_as(&address, &issuer);
    // The edge takes a snapshot of the restored store; what it knew holds there, too.
    let metrics = format!("{}/metrics", edge.observability.as_deref().unwrap());
    eventually(&true, || {
        let text = String::from_utf8(get(&metrics).send().body).unwrap();
        !text.contains("portcullis_policy_resyncs_total{cause=\"feed\"} 0")
    });
    eventually(&allowed(), || fleet.verdict(&edge, Some(&other)));
    assert_eq!(fleet.verdict(&edge, Some(&lost)), denied(401, "token_revoked"));
    // An edge that never had it gets it from the restored store.
    let another = fleet.edge("ams-1");
    eventually(&allowed(), || fleet.verdict(&another, Some(&other)));
    assert_eq!(fleet.verdict(&another, Some(&lost)), denied(401, "token_revoked"));
    edge.stop();
    another.stop();
}
