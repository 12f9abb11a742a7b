//! The policy in force: changes through the feed, updates that are refused, staleness, the policy file.

use portcullis::domain::policy::{Freshness, WhenStale};
use portcullis::domain::time::UnixSeconds;
use portcullis::snapshot::{Change, Changes, RevocationRecord, SourceRecord, Update};

use serde_json::json;

use crate::forge::{self, FRESHNESS, ISSUER, NOW, app_id, write_key};
use crate::gateway::{
    ENFORCED, FORGE, Http, OBSERVED, OTHER, Setup, TestGateway, UNENFORCED, later, snapshot, token,
    token_with,
};
use crate::key_server::KeyServer;
use crate::scratch::Scratch;
use crate::upstream::StubUpstream;
use crate::wait::{until, within};

fn source(n: usize) -> SourceRecord {
    snapshot().sources[n].clone()
}

#[tokio::test]
async fn revocation_is_in_force_once_it_is_acknowledged() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let (one, other) = (
        FORGE.token_text(ENFORCED, "one"),
        FORGE.token_text(ENFORCED, "other"),
    );
    let with = |token: &str| Http::batch(ENFORCED).bearer(token);
    gateway.send(&with(&one)).await.assert_ok();
    let revoke = Change::Revoke(RevocationRecord {
        issuer: ISSUER.to_owned(),
        token_id: "one".to_owned(),
        expires_at: NOW.0 + 3_600,
    });
    gateway.change(2, vec![revoke]).await;
    gateway
        .send(&with(&one))
        .await
        .assert_denied(401, "token_revoked");
    gateway.send(&with(&other)).await.assert_ok();
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn enforcement_is_switched_at_once() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let switched = |enforcement: &str| {
        vec![Change::PutSource(SourceRecord {
            enforcement: enforcement.to_owned(),
            ..source(UNENFORCED)
        })]
    };
    let request = Http::batch(UNENFORCED);
    gateway.send(&request).await.assert_ok();
    gateway.change(2, switched("on")).await;
    gateway.send(&request).await.assert_denied(401, "token_missing");
    gateway.change(3, switched("observe")).await;
    gateway.send(&request).await.assert_ok();
    gateway.change(4, switched("off")).await;
    gateway.send(&request).await.assert_ok();
    let decisions: Vec<String> = upstream
        .received()
        .iter()
        .map(|request| request.one("X-Portcullis-Decision").to_owned())
        .collect();
    assert_eq!(decisions, ["unenforced", "observed", "unenforced"]);
}

#[tokio::test]
async fn connection_is_moved_at_once() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let of_other = Http::batch(ENFORCED).bearer(&token(OTHER));
    gateway
        .send(&of_other)
        .await
        .assert_denied(403, "app_not_connected");
    let moved = SourceRecord {
        app: Some(app_id(OTHER)),
        ..source(ENFORCED)
    };
    gateway.change(2, vec![Change::PutSource(moved)]).await;
    gateway.send(&of_other).await.assert_ok();
    gateway
        .send(&Http::good_batch(ENFORCED))
        .await
        .assert_denied(403, "app_not_connected");
}

#[tokio::test]
async fn removed_app_key_and_app_end_their_tokens_at_once() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
    let mut app = snapshot().apps[ENFORCED].clone();
    app.keys = Some(Vec::new());
    gateway.change(2, vec![Change::PutApp(app)]).await;
    gateway
        .send(&Http::good_batch(ENFORCED))
        .await
        .assert_denied(401, "token_revoked");
    gateway
        .change(3, vec![Change::RemoveApp { id: app_id(ENFORCED) }])
        .await;
    gateway
        .send(&Http::good_batch(ENFORCED))
        .await
        .assert_denied(401, "app_unknown");
    assert_eq!(upstream.received().len(), 1);
}

async fn assert_refused_and_asked_for(gateway: &TestGateway, changes: Changes) {
    let before = gateway.metric("portcullis_policy_version", &[]);
    gateway.publish(Update::Changes(changes)).await;
    within("a snapshot is asked for", gateway.publisher.snapshot_wanted()).await;
    let after = gateway.metric("portcullis_policy_version", &[]);
    assert!((before - after).abs() < f64::EPSILON, "{before} became {after}");
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
    gateway
        .send(&Http::batch(ENFORCED))
        .await
        .assert_denied(401, "token_missing");
}

#[tokio::test]
async fn change_that_makes_no_sense_is_refused_whole() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let off = Change::PutSource(SourceRecord {
        enforcement: "off".to_owned(),
        ..source(ENFORCED)
    });
    let bad = Change::PutSource(SourceRecord {
        enforcement: "sometimes".to_owned(),
        ..source(OTHER)
    });
    let changes = |version, changes: Vec<Change>| Changes {
        version,
        issued_at: NOW.0,
        changes,
    };
    assert_refused_and_asked_for(&gateway, changes(2, vec![off.clone(), bad])).await;
    // One version was missed, or comes again.
    assert_refused_and_asked_for(&gateway, changes(3, vec![off.clone()])).await;
    assert_refused_and_asked_for(&gateway, changes(1, vec![off])).await;
    // The snapshot that was asked for puts it right.
    let mut whole = snapshot();
    whole.version = 9;
    gateway.publish(Update::Snapshot(Box::new(whole))).await;
    gateway.assert_installed(9).await;
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
}

#[tokio::test]
async fn snapshot_that_makes_no_sense_leaves_the_policy() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let mut bad = snapshot();
    bad.version = 2;
    let twice = bad.sources[0].clone();
    bad.sources.push(twice);
    gateway.publish(Update::Snapshot(Box::new(bad))).await;
    within("a snapshot is asked for", gateway.publisher.snapshot_wanted()).await;
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
}

#[tokio::test]
async fn nothing_is_let_through_before_the_first_snapshot() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.snapshot = None;
    let gateway = setup.start().await;
    assert!(gateway.probe().ready().is_err());
    for request in [
        Http::good_batch(ENFORCED),
        Http::batch(UNENFORCED),
        Http::batch(UNENFORCED).basic(&write_key(UNENFORCED)),
    ] {
        gateway
            .send(&request)
            .await
            .assert_denied(503, "policy_unavailable");
    }
    upstream.assert_untouched();
    gateway.publish(Update::Snapshot(Box::new(snapshot()))).await;
    gateway.assert_installed(1).await;
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
    assert_eq!(gateway.probe().ready(), Ok(()));
}

#[tokio::test]
async fn policy_ages_until_it_is_confirmed() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let request = || Http::batch(ENFORCED).bearer(&token_with(ENFORCED, json!({"exp": NOW.0 + 500_000})));
    gateway.clock.set(later(FRESHNESS.max_age_s));
    gateway.send(&request()).await.assert_ok();
    gateway.clock.set(later(FRESHNESS.max_age_s + 1));
    gateway.send(&request()).await.assert_denied(503, "policy_stale");
    assert!(gateway.probe().ready().is_err());
    // A source that needs no token needs no fresh policy, and one that is only observed loses nothing.
    gateway.send(&Http::batch(UNENFORCED)).await.assert_ok();
    gateway.send(&Http::batch(OBSERVED)).await.assert_ok();
    let at = later(FRESHNESS.max_age_s + 1).0;
    gateway.publish(Update::Confirmed { version: 1, at }).await;
    gateway.change(2, Vec::new()).await;
    gateway.send(&request()).await.assert_ok();
}

/// Sets the clock with no time passing, and waits until the gateway has looked at it.
async fn jump(gateway: &TestGateway, now: UnixSeconds) {
    let jumps = || gateway.metric("portcullis_clock_jumps_total", &[("plane", "gateway")]);
    let before = jumps();
    gateway.clock.jump(now);
    until("the jump is seen", || jumps() > before).await;
}

#[tokio::test]
async fn clock_jump_revives_no_token_revoked_in_memory() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let revoked = FORGE.token_text(ENFORCED, "one");
    let revoke = Change::Revoke(RevocationRecord {
        issuer: ISSUER.to_owned(),
        token_id: "one".to_owned(),
        expires_at: NOW.0 + 3_600,
    });
    gateway.change(2, vec![revoke]).await;
    let held = gateway.metric("portcullis_revocations", &[]).to_string();
    for _ in 0..2 {
        jump(&gateway, later(10 * 86_400)).await;
        jump(&gateway, NOW).await;
    }
    assert_eq!(gateway.metric("portcullis_revocations", &[]).to_string(), held);
    gateway
        .send(&Http::batch(ENFORCED).bearer(&revoked))
        .await
        .assert_denied(401, "token_revoked");
    assert!(gateway.probe().clock_warning().is_some(), "operators are warned");
    assert_eq!(gateway.probe().ready(), Ok(()), "and it decides on");
}

#[tokio::test]
async fn clock_jump_makes_no_policy_stale_or_fresh() {
    let upstream = StubUpstream::start();
    let gateway = Setup::new(&upstream).start().await;
    let request = || Http::batch(ENFORCED).bearer(&token_with(ENFORCED, json!({"exp": NOW.0 + 500_000})));
    let ahead = later(2 * FRESHNESS.max_age_s);
    jump(&gateway, ahead).await;
    gateway.send(&request()).await.assert_ok();
    gateway
        .publish(Update::Confirmed {
            version: 1,
            at: ahead.0,
        })
        .await;
    jump(&gateway, NOW).await;
    gateway.clock.advance(FRESHNESS.max_age_s + 1);
    gateway.send(&request()).await.assert_denied(503, "policy_stale");
}

#[tokio::test]
async fn stale_policy_decides_on_where_the_operator_wants_that() {
    let upstream = StubUpstream::start();
    let mut setup = Setup::new(&upstream);
    setup.freshness = Freshness {
        max_age_s: 10,
        when_stale: WhenStale::Allow,
    };
    let gateway = setup.start().await;
    gateway.clock.set(later(1_000));
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
    gateway
        .send(&Http::batch(ENFORCED))
        .await
        .assert_denied(401, "token_missing");
}

fn policy_file(enforcement: &str) -> String {
    format!(
        r#"apps:
  - id: {app}
    workspace: ws-1
    scopes: ["{scope}"]
sources:
  - id: src-1
    workspace: ws-1
    write_key: {key}
    enforcement: "{enforcement}"
    app: {app}
"#,
        app = app_id(ENFORCED),
        scope = forge::SCOPE,
        key = write_key(ENFORCED),
    )
}

/// A gateway on a policy file, with an outside issuer that publishes the forge's key.
fn on_file(upstream: &StubUpstream, keys: &KeyServer) -> Setup {
    let mut setup = Setup::new(upstream);
    setup.issuers = vec![keys.issuer(ISSUER)];
    setup.snapshot = None;
    setup
}

#[tokio::test]
async fn policy_file_is_reloaded_when_it_changes() {
    let upstream = StubUpstream::start();
    let keys = KeyServer::start(&[FORGE.jwk()]);
    let folder = Scratch::new();
    let path = folder.write("policy.yaml", &policy_file("on"));
    let gateway = on_file(&upstream, &keys).start_on_file(&path).await.unwrap();
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
    gateway
        .send(&Http::batch(ENFORCED))
        .await
        .assert_denied(401, "token_missing");
    folder.write("policy.yaml", &policy_file("off"));
    until_status(&gateway, 200).await;
    // Editors write a new file and move it over the old one.
    let next = folder.write("policy.yaml.next", &policy_file("on"));
    std::fs::rename(next, &path).unwrap();
    until_status(&gateway, 401).await;
}

/// Resolves when a batch without a token is answered so.
async fn until_status(gateway: &TestGateway, status: u16) {
    let changed = async { while gateway.send(&Http::batch(ENFORCED)).await.status != status {} };
    within("the policy file was read again", changed).await;
}

#[tokio::test]
async fn broken_edit_of_the_policy_file_keeps_the_last_good_one() {
    let upstream = StubUpstream::start();
    let keys = KeyServer::start(&[FORGE.jwk()]);
    let folder = Scratch::new();
    let path = folder.write("policy.yaml", &policy_file("on"));
    let gateway = on_file(&upstream, &keys).start_on_file(&path).await.unwrap();
    let version = || gateway.metric("portcullis_policy_version", &[]);
    let before = version();
    folder.write("policy.yaml", "apps: [");
    folder.write("policy.yaml", &policy_file("sometimes"));
    gateway.send(&Http::good_batch(ENFORCED)).await.assert_ok();
    gateway
        .send(&Http::batch(ENFORCED))
        .await
        .assert_denied(401, "token_missing");
    assert!((version() - before).abs() < f64::EPSILON);
    // The next good edit is taken: the watch has not ended with the broken one.
    folder.write("policy.yaml", &policy_file("off"));
    until_status(&gateway, 200).await;
}

/// Nobody says of a policy that it is current when its file is gone, or is another one.
#[tokio::test]
async fn policy_ages_while_its_file_is_missing_or_refused() {
    let upstream = StubUpstream::start();
    let keys = KeyServer::start(&[FORGE.jwk()]);
    let folder = Scratch::new();
    let path = folder.write("policy.yaml", &policy_file("on"));
    let gateway = on_file(&upstream, &keys).start_on_file(&path).await.unwrap();
    // Later than the token's end would be another reason.
    let good = || Http::batch(ENFORCED);
    let mut at = 0;
    let is_good = || gateway.metric("portcullis_policy_file_last_load_successful", &[]) > 0.5;
    for broken in [None, Some("apps: ["), Some("")] {
        until("the file is counted as good", is_good).await;
        match broken {
            None => std::fs::remove_file(&path).unwrap(),
            Some(text) => drop(folder.write("policy.yaml", text)),
        }
        at += FRESHNESS.max_age_s + 1;
        gateway.clock.set(later(at));
        // Each other file of the folder makes the gateway look. The first looks may come before the change was seen.
        let aged = async { while gateway.send(&good()).await.status != 503 {} };
        within("the policy is stale", aged).await;
        let noticed = async {
            while is_good() {
                gateway.send(&good()).await;
            }
        };
        within("the file is counted as refused", noticed).await;
        for n in 0..40 {
            folder.write("other.yaml", &n.to_string());
            gateway.send(&good()).await.assert_denied(503, "policy_stale");
        }
        // The same content again is a file that was read, and the policy is current.
        folder.write("policy.yaml", &policy_file("on"));
        let fresh = async { while gateway.send(&good()).await.status != 401 {} };
        within("the policy is current", fresh).await;
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn policy_file_of_the_same_size_and_time_is_reloaded() {
    let upstream = StubUpstream::start();
    let keys = KeyServer::start(&[FORGE.jwk()]);
    let folder = Scratch::new();
    let (on, off) = (policy_file("on") + "\n", policy_file("off"));
    assert_eq!(on.len(), off.len());
    let path = folder.write("policy.yaml", &on);
    let written = std::fs::metadata(&path).unwrap().modified().unwrap();
    let gateway = on_file(&upstream, &keys).start_on_file(&path).await.unwrap();
    until_status(&gateway, 401).await;
    let next = folder.write("policy.yaml.next", &off);
    let file = std::fs::File::options().append(true).open(&next).unwrap();
    file.set_modified(written).unwrap();
    std::fs::rename(next, &path).unwrap();
    until_status(&gateway, 200).await;
}

#[tokio::test]
async fn broken_policy_file_is_no_start() {
    let upstream = StubUpstream::start();
    let keys = KeyServer::start(&[FORGE.jwk()]);
    let folder = Scratch::new();
    let path = folder.write("policy.yaml", &policy_file("sometimes"));
    let error = on_file(&upstream, &keys)
        .start_on_file(&path)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("policy.yaml:9:18"), "{error}");
    assert!(
        !error.contains(&write_key(ENFORCED)),
        "the write key is in the error"
    );
}
