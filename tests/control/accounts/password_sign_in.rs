//! Sign-in with a password: responses, limits and audit events.

use crate::support::sign_in::{EMAIL, SAME_ORIGIN, Session, World, browser};

use portcullis::control::accounts::secret::Secret;
use portcullis::control::{ControlError, verify_trail};
use portcullis::domain::time::UnixSeconds;
use portcullis::store::Store;
use prometheus::Registry;
use serde_json::{Value, json};

use crate::support::{NOW, OPERATOR, TRAIL_AGE};

#[tokio::test]
async fn password_opens_a_session_that_the_management_api_takes() {
    let world = World::start().await;
    let answer = world
        .post_session(
            &json!({"email": " Ada@Example.com ", "password": world.password}),
            &[("User-Agent", "Browser/1.0")],
        )
        .await;
    let session = Session::of(&world.server, &answer);
    for cookie in answer.all("set-cookie") {
        assert!(
            cookie.contains("; Path=/; ") && cookie.ends_with("; HttpOnly; SameSite=Lax; Secure"),
            "{cookie}"
        );
    }
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let shown = session.call("GET", "/session", &[], "").await.json();
    assert_eq!(
        (&shown["email"], &shown["method"]),
        (&json!(EMAIL), &json!("password"))
    );
    assert_eq!(
        (&shown["user_agent"], &shown["address"]),
        (&json!("Browser/1.0"), &json!("127.0.0.1"))
    );
    assert_eq!(shown["csrf_token"], session.csrf);

    let path = format!("/workspaces/{}", world.owner.workspace);
    assert_eq!(session.call("GET", &path, &[], "").await.status, 200);
    let renamed = session
        .call("PATCH", &path, &[SAME_ORIGIN], r#"{"name":"New"}"#)
        .await;
    assert_eq!(renamed.json()["name"], "New");
    assert_eq!(
        session.call("GET", "/workspaces", &[], "").await.json()["items"][0]["name"],
        "New"
    );

    // What the browser holds is not what the store holds.
    let secret = session.cookie.split_once('=').unwrap().1;
    for file in ["store.db", "store.db-wal"] {
        let bytes = std::fs::read(world._dir.path().join(file)).unwrap_or_default();
        assert!(
            !bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes())
        );
    }
    let parsed = Secret::parse(secret).unwrap();
    assert!(!format!("{parsed:?}").contains(secret));
}

#[tokio::test]
async fn failed_sign_in_does_not_reveal_the_reason() {
    let world = World::start().await;
    let without = world
        .server
        .control
        .members
        .create_owner(&OPERATOR, &world.owner.workspace, "without@example.com")
        .await
        .unwrap();
    let registry = Registry::new();
    world.server.control.register_metrics(&registry).unwrap();
    let hashes = || {
        let families = registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == "portcullis_password_hashes_total");
        family.unwrap().get_metric()[0].get_counter().get_value()
    };
    let mut answers = Vec::new();
    for (email, password) in [
        (EMAIL, "not the password"),
        (without.email.as_str(), ""),
        (without.email.as_str(), "any password"),
        ("nobody@example.com", "any password"),
        ("no address", "any password"),
        (EMAIL, ""),
    ] {
        for _ in 0..3 {
            let before = hashes();
            let answer = world
                .post_session(&json!({"email": email, "password": password}), &[])
                .await;
            // It is what takes nearly all of the time, whatever the reason.
            assert!(hashes() - before > 0.5, "{email}");
            assert_eq!(answer.status, 401, "{email}");
            assert!(answer.all("set-cookie").is_empty());
            answers.push((answer.problem(), answer.body));
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test]
async fn guessing_is_limited_without_lockout() {
    let world = World::start().await;
    let at_home = world.try_from(EMAIL, &world.password, "192.0.2.1").await.unwrap();
    let known = at_home.browser.unwrap();

    // One address: ten guesses, then one a minute, the right one like any other.
    let mut refused = 0;
    for _ in 0..12 {
        match world.try_from(EMAIL, "a guess", "198.51.100.1").await {
            Err(ControlError::SignInRefused) => refused += 1,
            Err(ControlError::TooManyFailures(wait)) => assert!(wait.seconds() <= 60),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 10);
    let right = world.try_from(EMAIL, &world.password, "198.51.100.1").await;
    assert!(matches!(right, Err(ControlError::TooManyFailures(_))));
    // From anywhere else the person comes in, with a new browser, too.
    assert!(
        world
            .try_from(EMAIL, &world.password, "203.0.113.9")
            .await
            .is_ok()
    );

    // Many addresses: the account as a whole is held up, but not its own browsers.
    let mut guessed = refused;
    'guessing: for host in 2..30 {
        for _ in 0..10 {
            match world
                .try_from(EMAIL, "a guess", &format!("198.51.100.{host}"))
                .await
            {
                Err(ControlError::SignInRefused) => guessed += 1,
                Err(ControlError::TooManyFailures(_)) => break 'guessing,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(guessed, 100);
    let stranger = world.try_from(EMAIL, &world.password, "203.0.113.77").await;
    assert!(matches!(stranger, Err(ControlError::TooManyFailures(_))));
    let control = &world.server.control;
    let own = control
        .sessions
        .sign_in(
            EMAIL,
            &world.password,
            &browser("198.51.100.1", Some(known.clone())),
        )
        .await;
    assert!(own.unwrap().browser.is_none(), "the browser is known already");
    // A known browser is no way round for guesses, nor into other accounts.
    for _ in 0..10 {
        let guess = control
            .sessions
            .sign_in(EMAIL, "a guess", &browser("192.0.2.1", Some(known.clone())))
            .await;
        assert!(matches!(guess, Err(ControlError::SignInRefused)));
    }
    let guess = control
        .sessions
        .sign_in(EMAIL, &world.password, &browser("192.0.2.1", Some(known)))
        .await;
    assert!(matches!(guess, Err(ControlError::TooManyFailures(_))));
    // An address that does not exist is held up like one that does.
    for _ in 0..10 {
        let guess = world
            .try_from("nobody@example.com", "a guess", "192.0.2.50")
            .await;
        assert!(matches!(guess, Err(ControlError::SignInRefused)));
    }
    let guess = world
        .try_from("nobody@example.com", "a guess", "192.0.2.50")
        .await;
    assert!(matches!(guess, Err(ControlError::TooManyFailures(_))));
}

/// What the trail says of an account: action, address, resource's id and name, and what was there before or after.
type AccountEvent = (String, Option<String>, String, String, Value);

async fn account_events(world: &World) -> Vec<AccountEvent> {
    type Row = (
        String,
        Option<String>,
        String,
        String,
        Option<String>,
        Option<String>,
    );
    let mut sql = world._dir.sql().await;
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT action, address, resource_id, resource_name, changed_from, changed_to FROM audit_events \
         WHERE actor_id = 'sign-in' ORDER BY position",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    rows.into_iter()
        .map(|(action, address, id, name, from, to)| {
            let said = from.or(to).unwrap();
            (action, address, id, name, serde_json::from_str(&said).unwrap())
        })
        .collect()
}

/// What the trail says after the story below.
fn expected(account: &str) -> Vec<AccountEvent> {
    let event = |action: &str, from: &str, id: &str, name: &str, said: Value| {
        let text = str::to_owned;
        (text(action), Some(text(from)), text(id), text(name), said)
    };
    let own = |action: &str, said: Value| event(action, "127.0.0.1", account, EMAIL, said);
    let refused = |from: &str, id: &str, name: &str, attempts: u64| {
        let said = json!({"attempts": attempts, "first_at": NOW});
        event("account.sign_in_refused", from, id, name, said)
    };
    vec![
        own("account.signed_in", json!({"method": "password"})),
        refused("192.0.2.8", "", "", 2),
        refused("192.0.2.7", account, EMAIL, 3),
        own("account.signed_in", json!({"method": "password"})),
        own("account.signed_out", json!({"session": "another one"})),
        own("account.signed_out", json!({"session": "this one"})),
    ]
}

#[tokio::test]
async fn sign_ins_are_audited_without_a_policy_version() {
    let world = World::start().await;
    let control = &world.server.control;
    let version = control.fleet.snapshot().await.unwrap().version;
    let session = world.signed_in().await;
    for _ in 0..3 {
        assert!(
            world
                .try_from(EMAIL, "not the password", "192.0.2.7")
                .await
                .is_err()
        );
    }
    for email in ["a password, typed in the wrong place", "nobody@example.com"] {
        assert!(world.try_from(email, "any password", "192.0.2.8").await.is_err());
    }
    control.refused_sign_ins.flush_refusals().await;
    let other = world.signed_in().await;
    let path = format!("/sessions/{}", other.id);
    let ended = session.call("DELETE", &path, &[SAME_ORIGIN], "").await;
    assert_eq!(ended.status, 204);
    assert_eq!(
        session.call("DELETE", &path, &[SAME_ORIGIN], "").await.status,
        404
    );
    assert_eq!(
        session
            .call("DELETE", "/session", &[SAME_ORIGIN], "")
            .await
            .status,
        204
    );
    assert_eq!(control.fleet.snapshot().await.unwrap().version, version);

    let mut events = account_events(&world).await;
    // Those of nobody's and of an account are written in any order.
    events[1..3].sort_by_key(|event| event.2.clone());
    assert_eq!(events, expected(world.owner.account.as_str()));
    let store = Store::open_to_read(&world._dir.store()).await.unwrap();
    let report = verify_trail(&store, None, &TRAIL_AGE).await.unwrap();
    store.close().await;
    assert!(report.faults.is_empty(), "{:?}", report.faults);
}

#[tokio::test]
async fn rejected_sign_ins_do_not_fill_the_trail() {
    let world = World::start().await;
    let control = &world.server.control;
    for at in 0..66_u64 {
        // Slowly enough to stay below the limits on guessing, which this test is not about.
        world.server.clock.set(UnixSeconds(NOW + at / 8));
        let from = format!("192.0.2.{at}");
        assert!(
            world
                .try_from("nobody@example.com", "any password", &from)
                .await
                .is_err()
        );
        control.refused_sign_ins.flush_refusals().await;
    }
    let written = account_events(&world).await.len();
    assert_eq!(written, 60, "one each, until there were too many");
    world.server.clock.set(UnixSeconds(NOW + 120));
    control.refused_sign_ins.flush_refusals().await;
    let events = account_events(&world).await;
    assert_eq!(events.len(), written + 1);
    assert_eq!(events[written].4["attempts"], 6, "none is forgotten");
}
