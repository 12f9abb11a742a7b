//! Key sets entry by entry, from a URL and from a file alike: no entry costs another one, and none keeps a key alive
//! that its issuer has withdrawn.

use std::path::PathBuf;

use portcullis::config::{KeyOrigin, OutsideIssuer};
use portcullis::domain::key::Algorithm;
use portcullis::snapshot::{AppRecord, Snapshot, SourceRecord};
use serde_json::{Value, json};

use crate::client::Answer;
use crate::forge::{self, Forge};
use crate::gateway::{ENFORCED, FORGE, Http, Setup, TestGateway, snapshot};
use crate::key_server::{KeyServer, uri};
use crate::scratch::Scratch;
use crate::upstream::{Reply, StubUpstream};
use crate::wait::within;

const OUTSIDE: &str = "https://outside.test";

/// App and source of the enforced number belong to the outside issuer.
fn policy() -> Snapshot {
    let own = snapshot();
    Snapshot {
        apps: vec![AppRecord {
            issuer: OUTSIDE.to_owned(),
            keys: None,
            ..own.apps[ENFORCED].clone()
        }],
        sources: vec![SourceRecord {
            ..own.sources[ENFORCED].clone()
        }],
        ..own
    }
}

/// Where the issuer publishes its keys.
enum Place {
    Server(KeyServer),
    File(Scratch, PathBuf),
}

impl Place {
    fn both() -> [Self; 2] {
        let folder = Scratch::new();
        let path = folder.join("keys.json");
        [Self::Server(KeyServer::start(&[])), Self::File(folder, path)]
    }

    fn publish(&self, keys: &[Value]) {
        self.publish_text(&json!({ "keys": keys }).to_string());
    }

    fn publish_text(&self, text: &str) {
        match self {
            Self::Server(server) => server.answer(Reply::text(&format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            ))),
            // As editors and config managers do: whole, in one moment.
            Self::File(folder, path) => {
                let next = folder.write("keys.json.next", text);
                std::fs::rename(next, path).unwrap();
            }
        }
    }

    fn issuer(&self) -> OutsideIssuer {
        match self {
            Self::Server(server) => {
                let mut issuer = server.issuer(OUTSIDE);
                // Fetched all the time, so that a change is seen.
                uri(&mut issuer).refresh = std::time::Duration::from_millis(20);
                issuer
            }
            Self::File(_, path) => OutsideIssuer {
                keys: KeyOrigin::File(path.clone()),
                ..KeyServer::start(&[]).issuer(OUTSIDE)
            },
        }
    }

    async fn start(&self, upstream: &StubUpstream, algorithms: &[Algorithm]) -> TestGateway {
        let mut setup = Setup::new(upstream);
        let mut issuer = self.issuer();
        issuer.algorithms = algorithms.to_vec();
        setup.issuers = vec![issuer];
        setup.snapshot = Some(policy());
        setup.start().await
    }
}

/// A key as an entry of a set, with other members.
fn entry(forge: &Forge, kid: &str, changed: Value) -> Value {
    let mut key = serde_json::to_value(forge.jwk()).unwrap();
    key["kid"] = json!(kid);
    crate::gateway::merge(&mut key, changed);
    key
}

async fn send(gateway: &TestGateway, forge: &Forge, kid: &str, algorithm: &str) -> Answer {
    let mut claims = forge::claims(ENFORCED, "token-1");
    claims["iss"] = json!(OUTSIDE);
    let token = forge.sign_as(&json!({"alg": algorithm, "kid": kid}), &claims, algorithm);
    gateway.send(&Http::batch(ENFORCED).bearer(&token)).await
}

async fn assert_taken(gateway: &TestGateway, forge: &Forge, kid: &str, algorithm: &str) {
    let answer = send(gateway, forge, kid, algorithm).await;
    assert_eq!(answer.status, 200, "{kid} {algorithm}: {answer:?}");
}

/// Until tokens by this key are answered so.
async fn until(gateway: &TestGateway, forge: &Forge, kid: &str, verdict: (u16, &str)) {
    let wanted = (verdict.0, verdict.1.to_owned());
    let changed = async { while send(gateway, forge, kid, "RS256").await.verdict() != wanted {} };
    within(&format!("{kid} is answered {wanted:?}"), changed).await;
}

const ALL: [Algorithm; 4] = Algorithm::ALL;
const UNKNOWN: (u16, &str) = (401, "token_key_unknown");
const TAKEN: (u16, &str) = (200, "");

#[tokio::test]
async fn duplicate_entries_are_one_key() {
    for place in Place::both() {
        let upstream = StubUpstream::start();
        let key = entry(&FORGE, "a", json!({}));
        place.publish(&[key.clone(), key.clone(), entry(&FORGE, "b", json!({})), key]);
        let gateway = place.start(&upstream, &[Algorithm::Rs256]).await;
        assert_taken(&gateway, &FORGE, "a", "RS256").await;
        assert_taken(&gateway, &FORGE, "b", "RS256").await;
    }
}

#[tokio::test]
async fn keys_of_two_kinds_may_share_an_id() {
    let elliptic = Forge::of(Algorithm::Es256);
    for place in Place::both() {
        let upstream = StubUpstream::start();
        place.publish(&[entry(&FORGE, "a", json!({})), entry(&elliptic, "a", json!({}))]);
        let gateway = place.start(&upstream, &ALL).await;
        assert_taken(&gateway, &FORGE, "a", "RS256").await;
        assert_taken(&gateway, &elliptic, "a", "ES256").await;
    }
}

#[tokio::test]
async fn one_key_may_be_published_with_two_algorithms() {
    for place in Place::both() {
        let upstream = StubUpstream::start();
        place.publish(&[
            entry(&FORGE, "a", json!({"alg": "RS256"})),
            entry(&FORGE, "a", json!({"alg": "PS256"})),
            entry(&FORGE, "any", json!({"alg": null})),
            entry(&FORGE, "one", json!({"alg": "RS256"})),
        ]);
        let gateway = place.start(&upstream, &ALL).await;
        for (kid, algorithm) in [("a", "RS256"), ("a", "PS256"), ("any", "RS256"), ("any", "PS256")] {
            assert_taken(&gateway, &FORGE, kid, algorithm).await;
        }
        let pinned = send(&gateway, &FORGE, "one", "PS256").await;
        pinned.assert_denied(401, "token_signature_invalid");
    }
}

#[tokio::test]
async fn two_keys_with_one_id_are_both_tried_and_a_third_is_not() {
    let (second, third) = (Forge::new(), Forge::new());
    for place in Place::both() {
        let upstream = StubUpstream::start();
        place.publish(&[
            entry(&FORGE, "a", json!({})),
            entry(&second, "a", json!({})),
            entry(&third, "a", json!({})),
            entry(&third, "c", json!({})),
        ]);
        let gateway = place.start(&upstream, &[Algorithm::Rs256]).await;
        assert_taken(&gateway, &FORGE, "a", "RS256").await;
        assert_taken(&gateway, &second, "a", "RS256").await;
        assert_taken(&gateway, &third, "c", "RS256").await;
        let left_out = send(&gateway, &third, "a", "RS256").await;
        left_out.assert_denied(401, "token_signature_invalid");
    }
}

#[tokio::test]
async fn unusable_entries_cost_the_others_nothing() {
    let short = "AQAB";
    for place in Place::both() {
        let upstream = StubUpstream::start();
        place.publish(&[
            json!({"kty": "future", "kid": "a"}),
            json!({"kid": 7}),
            json!("text"),
            json!(null),
            json!({"kty": "oct", "kid": "o", "k": "c2VjcmV0"}),
            entry(&FORGE, "enc", json!({"use": "enc"})),
            entry(&FORGE, "512", json!({"alg": "RS512"})),
            entry(&FORGE, "short", json!({"n": short})),
            entry(&FORGE, "garbage", json!({"n": "§§"})),
            entry(&FORGE, "gone", json!({"kid": null})),
            entry(&FORGE, "", json!({})),
            entry(&FORGE, "good", json!({})),
        ]);
        let gateway = place.start(&upstream, &[Algorithm::Rs256]).await;
        assert_taken(&gateway, &FORGE, "good", "RS256").await;
        for kid in ["enc", "512", "short", "garbage"] {
            send(&gateway, &FORGE, kid, "RS256")
                .await
                .assert_denied(401, UNKNOWN.1);
        }
    }
}

#[tokio::test]
async fn spellings_that_stand_for_one_key_are_taken() {
    let n = serde_json::to_value(FORGE.jwk()).unwrap()["n"]
        .as_str()
        .unwrap()
        .to_owned();
    let standard = n.replace('-', "+").replace('_', "/");
    let odd = ["a#b", "a b", "ключ", "{\"x\":1}", &"k".repeat(256)];
    for place in Place::both() {
        let upstream = StubUpstream::start();
        let mut keys = vec![
            entry(&FORGE, "padded", json!({"n": format!("{n}==")})),
            entry(&FORGE, "standard", json!({ "n": standard })),
            entry(&FORGE, "upper", json!({"use": "SIG"})),
        ];
        keys.extend(odd.map(|kid| entry(&FORGE, kid, json!({}))));
        place.publish(&keys);
        let gateway = place.start(&upstream, &[Algorithm::Rs256]).await;
        for kid in ["padded", "standard", "upper"].iter().chain(&odd) {
            assert_taken(&gateway, &FORGE, kid, "RS256").await;
        }
    }
}

#[tokio::test]
async fn thousand_keys_are_used_among_any_number_that_cannot_be() {
    let ballast = "A".repeat(5_000);
    for place in Place::both() {
        let upstream = StubUpstream::start();
        let mut keys: Vec<Value> = (0..1_000)
            .map(|n| entry(&Forge::of(Algorithm::EdDsa), &format!("k{n}"), json!({})))
            .collect();
        keys.extend((0..200).map(|n| entry(&FORGE, &format!("e{n}"), json!({"use": "enc"}))));
        keys.extend((0..60).map(|n| json!({"kty": "RSA", "kid": format!("x{n}"), "x5c": [ballast]})));
        keys.push(entry(&FORGE, "last", json!({ "x5c": [ballast] })));
        place.publish(&keys);
        let gateway = place.start(&upstream, &ALL).await;
        assert_taken(&gateway, &FORGE, "last", "RS256").await;
    }
}

#[tokio::test]
async fn withdrawn_key_ends_whatever_else_the_set_holds() {
    let next = Forge::new();
    for place in Place::both() {
        let upstream = StubUpstream::start();
        place.publish(&[entry(&FORGE, "a", json!({})), entry(&next, "b", json!({}))]);
        let gateway = place.start(&upstream, &[Algorithm::Rs256]).await;
        assert_taken(&gateway, &FORGE, "a", "RS256").await;
        // What used to void the whole set, and so kept the withdrawn key: a duplicate, and one that is no key.
        let duplicate = entry(&next, "b", json!({}));
        place.publish(&[duplicate.clone(), duplicate, json!({"kty": "RSA", "kid": "b"})]);
        until(&gateway, &FORGE, "a", UNKNOWN).await;
        assert_taken(&gateway, &next, "b", "RS256").await;
        // A mistake is no withdrawal.
        place.publish_text("{\"keys\": [");
        place.publish_text("");
        assert_taken(&gateway, &next, "b", "RS256").await;
        place.publish(&[entry(&FORGE, "c", json!({}))]);
        until(&gateway, &FORGE, "c", TAKEN).await;
        until(&gateway, &next, "b", UNKNOWN).await;
        place.publish(&[]);
        until(&gateway, &FORGE, "c", UNKNOWN).await;
        place.publish(&[entry(&FORGE, "c", json!({}))]);
        until(&gateway, &FORGE, "c", TAKEN).await;
    }
}

#[tokio::test]
async fn missing_key_file_keeps_the_keys_and_its_return_is_seen() {
    let upstream = StubUpstream::start();
    let [_, place] = Place::both();
    let Place::File(_, path) = &place else {
        panic!("no file")
    };
    place.publish(&[entry(&FORGE, "a", json!({}))]);
    let gateway = place.start(&upstream, &[Algorithm::Rs256]).await;
    std::fs::remove_file(path).unwrap();
    assert_taken(&gateway, &FORGE, "a", "RS256").await;
    let next = Forge::new();
    place.publish(&[entry(&next, "b", json!({}))]);
    until(&gateway, &next, "b", TAKEN).await;
    until(&gateway, &FORGE, "a", UNKNOWN).await;
}
