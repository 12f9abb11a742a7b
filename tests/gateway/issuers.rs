//! Outside issuers: their keys are there before the first request, survive outages, rotate, and no
//! issuer makes another one's requests wait.

use std::time::Duration;

use portcullis::clock::instant;
use portcullis::snapshot::{AppRecord, Snapshot, SourceRecord};
use serde_json::{Value, json};

use crate::forge::{self, Forge, KEY_ID};
use crate::gateway::{ENFORCED, FORGE, Http, Setup, TestGateway, snapshot};
use crate::key_server::{KeyServer, issuer_at, named, uri};
use crate::upstream::{Reply, ReservedPort, StubUpstream};
use crate::wait::within;

const OUTSIDE: &str = "https://outside.test";
const OTHER: &str = "https://other.test";

/// App and source of the enforced number belong to `issuer`.
fn policy_of(issuer: &str) -> Snapshot {
    let own = snapshot();
    Snapshot {
        apps: vec![AppRecord {
            issuer: issuer.to_owned(),
            keys: None,
            ..own.apps[ENFORCED].clone()
        }],
        sources: vec![SourceRecord {
            ..own.sources[ENFORCED].clone()
        }],
        ..own
    }
}

fn token_of(forge: &Forge, issuer: &str, key_id: &str) -> String {
    let mut claims = forge::claims(ENFORCED, "token-1");
    claims["iss"] = Value::from(issuer);
    forge.sign(&json!({"alg": "RS256", "kid": key_id}), &claims)
}

fn request(forge: &Forge, key_id: &str) -> Http {
    Http::batch(ENFORCED).bearer(&token_of(forge, OUTSIDE, key_id))
}

async fn start(upstream: &StubUpstream, keys: &KeyServer) -> TestGateway {
    let mut setup = Setup::new(upstream);
    setup.issuers = vec![keys.issuer(OUTSIDE)];
    setup.snapshot = Some(policy_of(OUTSIDE));
    setup.start().await
}

#[tokio::test]
async fn keys_are_fetched_before_the_first_request() {
    let upstream = StubUpstream::start();
    let keys = KeyServer::start(&[FORGE.jwk()]);
    let gateway = start(&upstream, &keys).await;
    assert_eq!(keys.fetches(), 1);
    gateway.send(&request(&FORGE, KEY_ID)).await.assert_ok();
    assert_eq!(keys.fetches(), 1);
    assert_eq!(
        upstream.only().one("X-Portcullis-App-Id"),
        forge::app_id(ENFORCED)
    );
}

#[tokio::test]
async fn keys_of_one_issuer_do_not_verify_tokens_of_another() {
    let upstream = StubUpstream::start();
    let (own, others) = (
        KeyServer::start(&[FORGE.jwk()]),
        KeyServer::start(&[Forge::new().jwk()]),
    );
    let mut setup = Setup::new(&upstream);
    setup.issuers = vec![own.issuer(OUTSIDE), others.issuer(OTHER)];
    setup.snapshot = Some(policy_of(OUTSIDE));
    let gateway = setup.start().await;
    let forged = Http::batch(ENFORCED).bearer(&token_of(&FORGE, OTHER, KEY_ID));
    gateway
        .send(&forged)
        .await
        .assert_denied(401, "token_signature_invalid");
    upstream.assert_untouched();
}

#[tokio::test]
async fn issuer_down_at_start_is_unavailable_and_recovers() {
    let upstream = StubUpstream::start();
    let port = ReservedPort::new();
    let mut setup = Setup::new(&upstream);
    setup.issuers = vec![issuer_at(port.address(), OUTSIDE)];
    uri(&mut setup.issuers[0]).wait = Duration::from_millis(50);
    setup.snapshot = Some(policy_of(OUTSIDE));
    let gateway = setup.start().await;
    let answer = gateway.send(&request(&FORGE, KEY_ID)).await;
    answer.assert_denied(503, "keys_unavailable");
    assert_eq!(answer.all("Retry-After").len(), 1);
    assert_eq!(answer.all("WWW-Authenticate"), [""; 0]);
    upstream.assert_untouched();
    let _keys = KeyServer::start_on(port, &[FORGE.jwk()]);
    let recovered = async { while gateway.send(&request(&FORGE, KEY_ID)).await.status != 200 {} };
    within("the keys were fetched at last", recovered).await;
}

#[tokio::test]
async fn last_good_keys_outlive_their_server() {
    let upstream = StubUpstream::start();
    let keys = KeyServer::start(&[FORGE.jwk()]);
    let mut setup = Setup::new(&upstream);
    setup.issuers = vec![keys.issuer(OUTSIDE)];
    // Fetched all the time, so that the outage is noticed many times over.
    uri(&mut setup.issuers[0]).refresh = Duration::from_millis(10);
    setup.snapshot = Some(policy_of(OUTSIDE));
    let gateway = setup.start().await;
    let failures = || {
        gateway.metric(
            "portcullis_jwks_fetch_total",
            &[("issuer", OUTSIDE), ("result", "error")],
        )
    };
    let last_success = || {
        let metric = "portcullis_jwks_last_success_timestamp_seconds";
        gateway.metric(metric, &[("issuer", OUTSIDE)])
    };
    let began = last_success();
    assert!(began > 0.0, "{began}");
    for garbage in [
        "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ngarbage",
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    ] {
        let before = failures();
        keys.answer(Reply::text(garbage));
        crate::wait::until("another fetch failed", || failures() > before).await;
        gateway.send(&request(&FORGE, KEY_ID)).await.assert_ok();
    }
    let before = failures();
    let port = keys.stop().await;
    gateway.clock.advance(1);
    crate::wait::until("a fetch failed on a dead server", || failures() > before + 1.0).await;
    assert!((last_success() - began).abs() < 0.5);
    gateway.send(&request(&FORGE, KEY_ID)).await.assert_ok();
    // It comes back on the same port with another key, and the old one is trusted no longer.
    let next = Forge::new();
    let _keys = KeyServer::start_on(port, &[named(&next, "next")]);
    let recovered = async { while gateway.send(&request(&next, "next")).await.status != 200 {} };
    within("the new keys were fetched", recovered).await;
    assert!((last_success() - began - 1.0).abs() < 0.5);
    gateway
        .send(&request(&FORGE, KEY_ID))
        .await
        .assert_denied(401, "token_key_unknown");
}

#[tokio::test]
async fn keys_that_are_withdrawn_end_their_tokens() {
    let upstream = StubUpstream::start();
    let keys = KeyServer::start(&[FORGE.jwk()]);
    let mut setup = Setup::new(&upstream);
    setup.issuers = vec![keys.issuer(OUTSIDE)];
    uri(&mut setup.issuers[0]).refresh = Duration::from_millis(10);
    setup.snapshot = Some(policy_of(OUTSIDE));
    let gateway = setup.start().await;
    gateway.send(&request(&FORGE, KEY_ID)).await.assert_ok();
    // Nothing at all, and nothing that is a key to us.
    for empty in [r#"{"keys":[]}"#, r#"{"keys":[{"kty":"future","kid":"a"}]}"#] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{empty}",
            empty.len()
        );
        keys.answer(Reply::text(&answer));
        let ended = async { while gateway.send(&request(&FORGE, KEY_ID)).await.status == 200 {} };
        within("the tokens ended", ended).await;
        let before = upstream.received().len();
        gateway
            .send(&request(&FORGE, KEY_ID))
            .await
            .assert_denied(401, "token_key_unknown");
        assert_eq!(upstream.received().len(), before);
        keys.publish(&[FORGE.jwk()]);
        let again = async { while gateway.send(&request(&FORGE, KEY_ID)).await.status != 200 {} };
        within("the keys are back", again).await;
    }
}

#[tokio::test]
async fn one_empty_answer_between_good_ones_ends_nothing() {
    let upstream = StubUpstream::start();
    let full = json!({ "keys": [FORGE.jwk()] }).to_string();
    let answered = std::sync::atomic::AtomicUsize::new(0);
    let server = StubUpstream::answering(move |_| {
        let nth = answered.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let set = if nth % 3 == 1 {
            r#"{"keys":[]}"#
        } else {
            full.as_str()
        };
        Reply::text(&format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{set}",
            set.len()
        ))
    });
    let mut setup = Setup::new(&upstream);
    setup.issuers = vec![issuer_at(server.address(), OUTSIDE)];
    uri(&mut setup.issuers[0]).refresh = Duration::from_millis(10);
    setup.snapshot = Some(policy_of(OUTSIDE));
    let gateway = setup.start().await;
    while server.received().len() < 12 {
        gateway.send(&request(&FORGE, KEY_ID)).await.assert_ok();
    }
}

#[tokio::test]
async fn rotated_key_is_fetched_when_it_is_first_seen() {
    let upstream = StubUpstream::start();
    let keys = KeyServer::start(&[FORGE.jwk()]);
    let mut setup = Setup::new(&upstream);
    setup.issuers = vec![keys.issuer(OUTSIDE)];
    uri(&mut setup.issuers[0]).cooldown = Duration::ZERO;
    setup.snapshot = Some(policy_of(OUTSIDE));
    let gateway = setup.start().await;
    let next = Forge::new();
    keys.publish(&[FORGE.jwk(), named(&next, "next")]);
    gateway.send(&request(&next, "next")).await.assert_ok();
    gateway.send(&request(&FORGE, KEY_ID)).await.assert_ok();
    assert_eq!(keys.fetches(), 2);
}

#[tokio::test]
async fn flood_of_unknown_keys_causes_one_fetch_a_cooldown() {
    let upstream = StubUpstream::start();
    let keys = KeyServer::start(&[FORGE.jwk()]);
    let gateway = start(&upstream, &keys).await;
    let mut flood = tokio::task::JoinSet::new();
    let address = gateway.address();
    for n in 0..40 {
        let bytes = request(&FORGE, &format!("unknown-{n}")).bytes();
        flood.spawn(async move { crate::client::exchange(address, &bytes).await });
    }
    while let Some(answer) = flood.join_next().await {
        answer.unwrap().assert_denied(401, "token_key_unknown");
    }
    // The cool-down began with the fetch at the start, and is longer than this test.
    assert_eq!(keys.fetches(), 1);
    gateway.send(&request(&FORGE, KEY_ID)).await.assert_ok();
    upstream.only();
}

#[tokio::test]
async fn flood_of_unknown_keys_after_the_cooldown_shares_one_fetch() {
    let upstream = StubUpstream::start();
    let keys = KeyServer::start(&[FORGE.jwk()]);
    let mut setup = Setup::new(&upstream);
    setup.issuers = vec![keys.issuer(OUTSIDE)];
    let uri = uri(&mut setup.issuers[0]);
    uri.cooldown = Duration::from_millis(400);
    uri.fetch_timeout = Duration::from_secs(10);
    setup.snapshot = Some(policy_of(OUTSIDE));
    let began = instant();
    let gateway = setup.start().await;
    let next = Forge::new();
    keys.publish(&[named(&next, "next")]);
    // Asked without a pause, the fetch comes once the cool-down is over, and not before.
    let found = async { while gateway.send(&request(&next, "next")).await.status != 200 {} };
    within("the new key was found", found).await;
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert_eq!(keys.fetches(), 2);
}

#[tokio::test]
async fn hanging_issuer_delays_only_its_own_requests() {
    let upstream = StubUpstream::start();
    let (well, hanging) = (KeyServer::start(&[FORGE.jwk()]), KeyServer::start(&[]));
    hanging.answer(Reply::Hang);
    let mut setup = Setup::new(&upstream);
    setup.issuers = vec![hanging.issuer(OTHER), well.issuer(OUTSIDE)];
    let slow = uri(&mut setup.issuers[0]);
    // Each fetch hangs for good, within what this test can see.
    slow.fetch_timeout = Duration::from_millis(300);
    slow.cooldown = Duration::ZERO;
    slow.wait = Duration::from_millis(100);
    setup.snapshot = Some(policy_of(OUTSIDE));
    let gateway = setup.start().await;
    let mut waiting = tokio::task::JoinSet::new();
    let address = gateway.address();
    let bytes = Http::batch(ENFORCED)
        .bearer(&token_of(&FORGE, OTHER, KEY_ID))
        .bytes();
    for _ in 0..5 {
        let bytes = bytes.clone();
        waiting.spawn(async move { crate::client::exchange(address, &bytes).await });
    }
    hanging.until_fetched(1).await;
    gateway.send(&request(&FORGE, KEY_ID)).await.assert_ok();
    while let Some(answer) = waiting.join_next().await {
        answer.unwrap().assert_denied(503, "keys_unavailable");
    }
    upstream.only();
}

#[tokio::test]
async fn request_never_waits_longer_for_keys_than_configured() {
    let upstream = StubUpstream::start();
    let keys = KeyServer::start(&[FORGE.jwk()]);
    let mut setup = Setup::new(&upstream);
    setup.issuers = vec![keys.issuer(OUTSIDE)];
    let uri = uri(&mut setup.issuers[0]);
    uri.cooldown = Duration::ZERO;
    uri.fetch_timeout = Duration::from_secs(3_600);
    uri.wait = Duration::from_millis(50);
    setup.snapshot = Some(policy_of(OUTSIDE));
    let gateway = setup.start().await;
    keys.answer(Reply::Hang);
    // The deadline of every wait in these tests is far below the hour that the fetch may take.
    for _ in 0..3 {
        gateway
            .send(&request(&FORGE, "unknown"))
            .await
            .assert_denied(401, "token_key_unknown");
    }
    assert_eq!(keys.fetches(), 2, "one fetch at a time");
    gateway.send(&request(&FORGE, KEY_ID)).await.assert_ok();
}

#[tokio::test]
async fn odd_key_does_not_take_down_the_others() {
    let upstream = StubUpstream::start();
    let keys = KeyServer::start(&[]);
    let odd = json!({"keys": [
        {"kty": "future", "kid": "a"}, {"kid": 7}, "text", {"kty": "RSA", "kid": "b", "n": "AQAB", "e": "AQAB"},
        FORGE.jwk(),
    ]})
    .to_string();
    keys.answer(Reply::text(&format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{odd}",
        odd.len()
    )));
    let gateway = start(&upstream, &keys).await;
    gateway.send(&request(&FORGE, KEY_ID)).await.assert_ok();
}
