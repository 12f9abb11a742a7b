//! Our own signing keys: published before they sign, kept until their last token is over, ended at once when they
//! must be, and encrypted in the store.

use super::encryption::{encryption_key, sealed_with};
use crate::support::gateway::Gateway;
use crate::support::{
    DEADLINE, NOW, OPERATOR, TempDir, TestApp, TestControl, header_of, on_postgres, settings, unique,
};
use portcullis::clock::Clock;
use portcullis::clock::guard::KEPT_AFTER_END_S;
use portcullis::control::{Actor, Control, ControlError, EndKeys, KeyState};
use portcullis::domain::access_token::VerifiedToken;
use portcullis::domain::ids::{AppId, KeyId, MemberId};
use portcullis::domain::policy::{Freshness, WhenStale};
use portcullis::domain::time::UnixSeconds;
use portcullis::snapshot;
use serde_json::json;

const DAY: u64 = 86_400;

const ROTATE_EVERY: u64 = 30 * DAY;

const AHEAD: u64 = 600;

/// The longest lifetime of a token, the leeway between clocks, and an hour: when a key's last token has expired.
const LAST_TOKEN: u64 = 30 * DAY + 5 + 3_600;

/// When the key is dropped.
const KEPT: u64 = LAST_TOKEN + KEPT_AFTER_END_S;

/// A token, asked for at this moment.
async fn token_at(server: &TestControl, app: &TestApp<'_>, now: u64) -> String {
    server.clock.set(UnixSeconds(now));
    let claims =
        json!({"sub": app.id(), "aud": server.issuer(), "iat": now - 5, "exp": now + 55, "jti": unique()});
    let answer = server.ask(&app.key.sign(&app.header(), &claims), "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

async fn tick_at(server: &TestControl, now: u64) {
    server.clock.set(UnixSeconds(now));
    server.control.signing_keys.keep().await.unwrap();
}

fn kid(token: &str) -> String {
    header_of(token)["kid"].as_str().unwrap().to_owned()
}

/// The ids of the keys in the key set, which are those that gateways receive.
async fn published(server: &TestControl) -> Vec<String> {
    let answer = server.send("GET", "/.well-known/jwks.json", &[], b"").await;
    let body = answer.json();
    let ids: Vec<String> = body["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect();
    let told = server
        .control
        .fleet
        .snapshot()
        .await
        .unwrap()
        .issuer
        .unwrap()
        .keys;
    let told: Vec<String> = told.into_iter().map(|key| key.kid.unwrap()).collect();
    assert_eq!(ids, told);
    ids
}

/// Whether a gateway that has the newest policy finds the signature good.
async fn verifies(server: &TestControl, token: &str) -> bool {
    let freshness = Freshness {
        max_age_s: 60,
        when_stale: WhenStale::Deny,
    };
    let snapshot = server.control.fleet.snapshot().await.unwrap();
    let policy = snapshot::compile(&snapshot, &[], freshness).unwrap();
    VerifiedToken::verify(token, &policy).is_ok()
}

#[tokio::test]
async fn next_key_is_published_first_and_old_key_kept_until_expiry() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let first = kid(&token_at(&server, &app, NOW).await);
    assert_eq!(published(&server).await, [first.as_str()]);

    let turn = NOW + ROTATE_EVERY;
    tick_at(&server, turn - AHEAD - 1).await;
    assert_eq!(published(&server).await.len(), 1, "not yet");
    tick_at(&server, turn - AHEAD).await;
    tick_at(&server, turn - AHEAD).await;
    let keys = published(&server).await;
    assert_eq!((keys.len(), &keys[0]), (2, &first), "published, and made once");
    let last_of_first = token_at(&server, &app, turn - 1).await;
    assert_eq!(kid(&last_of_first), first, "the next key does not sign yet");
    let of_second = token_at(&server, &app, turn).await;
    assert_eq!(kid(&of_second), keys[1], "and now it does, with nothing done");
    assert!(verifies(&server, &last_of_first).await && verifies(&server, &of_second).await);

    tick_at(&server, turn + KEPT - 1).await;
    assert_eq!(
        published(&server).await[0],
        first,
        "its last token may still live"
    );
    assert!(verifies(&server, &last_of_first).await);
    tick_at(&server, turn + KEPT).await;
    let left = published(&server).await;
    assert_eq!(
        (left.len(), &left[0]),
        (2, &keys[1]),
        "gone from the key set, the policy and the store"
    );
    assert!(!verifies(&server, &last_of_first).await);
    let states: Vec<_> = server.control.signing_keys.list(&OPERATOR).await.unwrap();
    assert_eq!(states.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), left);
}

#[tokio::test]
async fn manual_rotation_waits_for_cached_key_sets_to_expire() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let first = kid(&token_at(&server, &app, NOW).await);
    let keys = server.control.signing_keys.rotate(&OPERATOR).await.unwrap();
    let again = server.control.signing_keys.rotate(&OPERATOR).await.unwrap();
    assert_eq!(keys, again, "there is a next key already");
    let [old, next] = keys.as_slice() else {
        panic!("{keys:?}")
    };
    assert_eq!((old.id.as_str(), old.state), (first.as_str(), KeyState::Active));
    assert_eq!(
        (next.state, next.signs_from),
        (KeyState::Next, UnixSeconds(NOW + AHEAD))
    );
    assert_eq!(old.ends_at, Some(UnixSeconds(NOW + AHEAD + LAST_TOKEN)));
    assert_eq!(kid(&token_at(&server, &app, NOW + AHEAD - 1).await), first);
    assert_eq!(kid(&token_at(&server, &app, NOW + AHEAD).await), next.id.as_str());
    // The number of published keys stays bounded.
    let mut now = NOW + AHEAD;
    let refused = loop {
        match server.control.signing_keys.rotate(&OPERATOR).await {
            Ok(_) => {
                now += AHEAD;
                server.clock.set(UnixSeconds(now));
            }
            Err(error) => break error,
        }
    };
    assert!(refused.to_string().contains("too many signing keys"), "{refused}");
    assert_eq!(published(&server).await.len(), 16);
}

#[tokio::test]
async fn only_owners_of_every_workspace_manage_signing_keys() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let control = &server.control;
    let tenant = server.workspace().await;
    let owner = Actor::member(
        control.api_tokens.authenticate(&tenant.api_token).await.unwrap(),
        None,
    );
    assert!(control.signing_keys.can_manage(&owner).await.unwrap());
    let keys = control.signing_keys.rotate(&owner).await.unwrap();
    assert_eq!(keys.len(), 2);
    let next = EndKeys::One(keys[1].id.clone());
    assert_eq!(control.signing_keys.end(&owner, &next).await.unwrap().len(), 1);
    // What they make themselves they own as well.
    control
        .workspaces
        .create(&owner, "Another of theirs")
        .await
        .unwrap();
    assert!(control.signing_keys.can_manage(&owner).await.unwrap());

    // Somebody else's workspace has tokens too.
    let _other = server.workspace().await;
    assert!(!control.signing_keys.can_manage(&owner).await.unwrap());
    let before = control.signing_keys.list(&owner).await.unwrap();
    assert_eq!(
        before[0].live_tokens, None,
        "what others hold is not theirs to know"
    );
    for refused in [
        control.signing_keys.rotate(&owner).await.err(),
        control.signing_keys.end(&owner, &EndKeys::All).await.err(),
        control.signing_keys.end(&owner, &EndKeys::Active).await.err(),
    ] {
        assert!(
            matches!(refused, Some(ControlError::NotOwnerOfAll)),
            "{refused:?}"
        );
    }
    assert_eq!(control.signing_keys.list(&owner).await.unwrap(), before);

    let body =
        json!({"email": "reader@example.com", "roles": [{"role": "source_admin", "resources": "all"}]});
    let invited = tenant.call("POST", "/members", Some(body)).await;
    assert_eq!(invited.status, 201, "{invited:?}");
    let mut reader = control.api_tokens.authenticate(&tenant.api_token).await.unwrap();
    let id = MemberId::parse(invited.json()["id"].as_str().unwrap()).unwrap();
    reader.grants = control.members.get(&owner, &tenant.id, &id).await.unwrap().grants;
    let reader = Actor::member(reader, None);
    assert!(matches!(
        control.signing_keys.list(&reader).await,
        Err(ControlError::Forbidden(_))
    ));
    assert!(!control.signing_keys.can_manage(&reader).await.unwrap());
    assert!(control.signing_keys.end(&reader, &EndKeys::All).await.is_err());
}

#[tokio::test]
async fn live_tokens_are_counted_by_signing_key() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let control = &server.control;
    let counts = async || {
        let keys = control.signing_keys.list(&OPERATOR).await.unwrap();
        keys.iter()
            .map(|key| key.live_tokens.unwrap())
            .collect::<Vec<_>>()
    };
    let of_app = async || {
        let id = AppId::parse(app.id()).unwrap();
        control
            .search
            .live_tokens(&OPERATOR, &tenant.id, &id, None)
            .await
            .unwrap()
    };
    assert_eq!(counts().await, [0]);
    token_at(&server, &app, NOW).await;
    token_at(&server, &app, NOW).await;
    control.signing_keys.rotate(&OPERATOR).await.unwrap();
    // Within the same hour: which key signed is known, not guessed from the time.
    token_at(&server, &app, NOW + AHEAD).await;
    assert_eq!(counts().await, [2, 1]);
    assert_eq!(of_app().await, 3);
    control
        .signing_keys
        .end(&OPERATOR, &EndKeys::Active)
        .await
        .unwrap();
    assert_eq!(counts().await, [2, 0], "a new key, which signed nothing yet");
    assert_eq!(of_app().await, 2);
    let path = format!("/apps/{}/tokens/revoke-all", app.id());
    server.clock.set(UnixSeconds(NOW + 7_200));
    let ended = tenant.call("POST", &path, Some(json!({}))).await;
    assert_eq!(ended.status, 200, "{ended:?}");
    assert_eq!(counts().await, [0, 0]);
}

#[tokio::test]
async fn revoking_a_signing_key_revokes_only_its_tokens() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let of_first = token_at(&server, &app, NOW).await;
    server.control.signing_keys.rotate(&OPERATOR).await.unwrap();
    let of_second = token_at(&server, &app, NOW + AHEAD).await;

    // The key in use; there is no next one, so a new one takes over at once.
    let ended = server
        .control
        .signing_keys
        .end(&OPERATOR, &EndKeys::Active)
        .await
        .unwrap();
    assert_eq!(
        ended.iter().map(KeyId::as_str).collect::<Vec<_>>(),
        [kid(&of_second)]
    );
    let of_third = token_at(&server, &app, NOW + AHEAD).await;
    assert!(![kid(&of_first), kid(&of_second)].contains(&kid(&of_third)));
    assert!(verifies(&server, &of_first).await && verifies(&server, &of_third).await);
    assert!(!verifies(&server, &of_second).await);
    assert!(!published(&server).await.contains(&kid(&of_second)));

    // A next key is there already: it takes over ahead of its time, and everybody has it.
    let keys = server.control.signing_keys.rotate(&OPERATOR).await.unwrap();
    let next = keys.last().unwrap().id.clone();
    server
        .control
        .signing_keys
        .end(&OPERATOR, &EndKeys::Active)
        .await
        .unwrap();
    let of_next = token_at(&server, &app, NOW + AHEAD).await;
    assert_eq!(kid(&of_next), next.as_str());
    assert!(!verifies(&server, &of_third).await && verifies(&server, &of_next).await);

    // A retired key by its name, and one that nobody has.
    let retired = EndKeys::One(KeyId::parse(&kid(&of_first)).unwrap());
    server
        .control
        .signing_keys
        .end(&OPERATOR, &retired)
        .await
        .unwrap();
    assert!(!verifies(&server, &of_first).await && verifies(&server, &of_next).await);
    assert!(
        server
            .control
            .signing_keys
            .end(&OPERATOR, &retired)
            .await
            .is_err()
    );

    server
        .control
        .signing_keys
        .end(&OPERATOR, &EndKeys::All)
        .await
        .unwrap();
    assert!(!verifies(&server, &of_next).await);
    assert_eq!(published(&server).await.len(), 1);
    assert!(verifies(&server, &token_at(&server, &app, NOW + AHEAD).await).await);
    // The next key that an emergency took from before its time leaves the schedule whole.
    tick_at(&server, NOW + AHEAD + ROTATE_EVERY - AHEAD).await;
    assert_eq!(published(&server).await.len(), 2);
}

#[tokio::test]
async fn revoking_the_next_key_keeps_the_active_one() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let keys = server.control.signing_keys.rotate(&OPERATOR).await.unwrap();
    let next = EndKeys::One(keys[1].id.clone());
    server.control.signing_keys.end(&OPERATOR, &next).await.unwrap();
    let left = server.control.signing_keys.list(&OPERATOR).await.unwrap();
    assert_eq!((left.len(), left[0].state), (1, KeyState::Active));
    assert_eq!((left[0].signs_until, left[0].ends_at), (None, None));
}

#[tokio::test]
async fn processes_on_one_store_rotate_together() {
    if !on_postgres() {
        return;
    }
    let dir = TempDir::new();
    let (one, other) = (TestControl::start(&dir).await, TestControl::start(&dir).await);
    let tenant = one.workspace().await;
    let app = tenant.app().await;
    let elsewhere = TestApp {
        server: &other,
        details: app.details.clone(),
        key: app.key.clone(),
        key_id: app.key_id.clone(),
    };
    let first = kid(&token_at(&one, &app, NOW).await);
    assert_eq!(
        kid(&token_at(&other, &elsewhere, NOW).await),
        first,
        "and one first key"
    );
    let turn = NOW + ROTATE_EVERY;
    for server in [&one, &other] {
        server.clock.set(UnixSeconds(turn - AHEAD));
    }
    let (a, b) = tokio::join!(one.control.signing_keys.keep(), other.control.signing_keys.keep());
    a.and(b).unwrap();
    other.control.signing_keys.keep().await.unwrap();
    one.control.signing_keys.keep().await.unwrap();
    let keys = published(&one).await;
    assert_eq!((keys.len(), &keys), (2, &published(&other).await));
    for (server, app) in [(&one, &app), (&other, &elsewhere)] {
        assert_eq!(kid(&token_at(server, app, turn - 1).await), first);
        assert_eq!(kid(&token_at(server, app, turn).await), keys[1]);
    }
    // What one ends, the other does not sign with.
    one.control
        .signing_keys
        .end(&OPERATOR, &EndKeys::Active)
        .await
        .unwrap();
    other.control.signing_keys.keep().await.unwrap();
    assert!(verifies(&one, &token_at(&other, &elsewhere, turn).await).await);
}

#[tokio::test]
async fn admin_rotation_reaches_a_running_server() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let mut gateway = Gateway::attach(&server.control);
    gateway.take().await;
    let of_first = token_at(&server, &app, NOW).await;
    let mut settings = settings(dir.store());
    // Told of another address and audience, it still speaks for the server that runs.
    settings.public_url = "http://elsewhere.test".to_owned();
    settings.audience = Some("elsewhere".to_owned());
    let clock = Clock::Manual(server.clock.clone());
    let admin = Control::open_for_admin(settings.clone(), clock.clone())
        .await
        .unwrap();
    let keys = admin.signing_keys.rotate(&OPERATOR).await.unwrap();
    let next = keys[1].id.as_str();
    tick_at(&server, NOW).await;
    assert_eq!(published(&server).await, [kid(&of_first).as_str(), next]);
    assert_eq!(kid(&token_at(&server, &app, NOW + AHEAD).await), next);

    admin.signing_keys.end(&OPERATOR, &EndKeys::All).await.unwrap();
    tick_at(&server, NOW + AHEAD).await;
    let token = token_at(&server, &app, NOW + AHEAD).await;
    assert!(!verifies(&server, &of_first).await && verifies(&server, &token).await);
    let is_taken = |gateway: &Gateway| VerifiedToken::verify(&token, &gateway.policy).is_ok();
    let told = async {
        while !is_taken(&gateway) {
            gateway.take().await;
        }
    };
    tokio::time::timeout(DEADLINE, told).await.unwrap();
    admin.close().await;

    // What the server could not read is not made.
    settings.signing = sealed_with(Some(&encryption_key()), None);
    let refused = Control::open_for_admin(settings, clock).await.err().unwrap();
    assert!(
        refused.to_string().contains("restart `portcullis serve`"),
        "{refused}"
    );
}
