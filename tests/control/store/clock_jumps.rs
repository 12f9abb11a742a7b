//! Clock jumps: no revocation is undone, and no row that revokes something is deleted too early.

use crate::support::{NOW, OPERATOR, TempDir, TestApp, TestControl, form, settings};
use portcullis::clock::guard::{ClockGuard, ClockReading, ClockState, KEPT_AFTER_END_S};
use portcullis::clock::{Clock, ManualClock};
use portcullis::control::{Control, Revoked, TokensOf};
use portcullis::domain::time::UnixSeconds;
use serde_json::json;
use std::time::Duration;

pub const HOUR: u64 = 3_600;

pub const DAY: u64 = 86_400;

async fn count(dir: &TempDir, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql)
        .fetch_one(&mut dir.sql().await)
        .await
        .unwrap()
}

/// Lets two days pass until [`NOW`], so that the control plane trusts its clock. From here on clocks jump and advance.
async fn settle(server: &TestControl) {
    server.clock.jump(UnixSeconds(NOW - 2 * DAY));
    server.control.purge().await;
    server.clock.advance(2 * DAY);
    server.control.purge().await;
    assert_eq!(server.control.clock_warning(), None);
}

#[tokio::test]
async fn clock_jump_revives_no_revoked_token() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    settle(&server).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let (before, during) = (app.token().await, app.token().await);
    let id = &app.details.app.id;
    let revoke = async |token: &str| {
        server
            .control
            .revocation
            .revoke_token(&OPERATOR, &tenant.id, id, token)
            .await
            .unwrap()
    };
    revoke(&before).await;
    server.clock.jump(UnixSeconds(NOW + 2 * DAY));
    server.clock.advance(15);
    // To a clock that is ahead the token looks expired. It is revoked all the same.
    assert!(matches!(revoke(&during).await, Revoked::Now { .. }));
    server.control.purge().await;
    let ahead = server.control.fleet.snapshot().await.unwrap();
    assert_eq!(ahead.revocations.len(), 2, "gateways go on refusing them");
    server.clock.jump(UnixSeconds(NOW + 15));
    server.control.purge().await;
    assert_eq!(
        server.control.fleet.snapshot().await.unwrap().revocations.len(),
        2
    );
    // Their own day passes on both clocks.
    server.clock.advance(DAY + 5 + KEPT_AFTER_END_S + HOUR);
    server.control.purge().await;
    assert_eq!(count(&dir, "SELECT count(*) FROM revocations").await, 0);
}

#[tokio::test]
async fn clock_jump_allows_no_assertion_replay() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    settle(&server).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let form = form(&app.assertion(), "");
    assert_eq!(server.post_token("/token", &form).await.status, 200);
    for ahead in [2 * HOUR, 3 * DAY] {
        server.clock.jump(UnixSeconds(NOW + ahead));
        server.control.purge().await;
        server.clock.jump(UnixSeconds(NOW + 1));
        let again = server.post_token("/token", &form).await;
        assert_eq!(again.status, 401, "{again:?}");
    }
}

#[tokio::test]
async fn clock_jump_delays_no_revocation_of_all_tokens() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    settle(&server).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let id = &app.details.app.id;
    let revoke = async || {
        let revoked = server
            .control
            .revocation
            .revoke_all(&OPERATOR, &tenant.id, TokensOf::App(id), None);
        revoked.await.unwrap().0
    };
    let ahead = NOW + 2 * DAY;
    server.clock.jump(UnixSeconds(ahead));
    let mut claims = app.claims();
    (claims["iat"], claims["exp"]) = (json!(ahead), json!(ahead + 60));
    let answer = server.ask(&app.key.sign(&app.header(), &claims), "").await;
    assert_eq!(answer.status, 200, "a client with the same clock");
    server.clock.jump(UnixSeconds(NOW + 15));
    // The token says that it was issued in two days; it must have ended then.
    assert!(revoke().await > ahead);
    // Nor has anybody to wait two days to revoke again.
    let first = revoke().await;
    assert!(revoke().await > first);
}

#[tokio::test]
async fn revoke_all_covers_tokens_issued_ahead_in_the_same_hour() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    settle(&server).await;
    let tenant = server.workspace().await;
    let (app, sibling) = (tenant.app().await, tenant.app().await);
    let (id, key) = (&app.details.app.id, &app.details.keys[0].id);
    let revoke = async |tokens| {
        let revoked = server
            .control
            .revocation
            .revoke_all(&OPERATOR, &tenant.id, tokens, None);
        revoked.await.unwrap().0
    };
    let ask_at = async |app: &TestApp<'_>, at: u64| {
        let mut claims = app.claims();
        (claims["iat"], claims["exp"]) = (json!(at), json!(at + 60));
        let answer = server.ask(&app.key.sign(&app.header(), &claims), "").await;
        assert_eq!(answer.status, 200, "a client with the same clock: {answer:?}");
    };
    // One hour: NOW is its first second.
    assert_eq!(NOW % 3_600, 0);
    for (now, ahead) in (NOW + 20..).zip([300, 900, 1_800]) {
        server.clock.jump(UnixSeconds(now + ahead));
        ask_at(&app, now + ahead).await;
        ask_at(&sibling, now + ahead).await;
        server.clock.jump(UnixSeconds(now));
        let tokens = match ahead {
            300 => TokensOf::Key(id, key),
            900 => TokensOf::App(id),
            _ => TokensOf::Workspace,
        };
        assert_eq!(revoke(tokens).await, now + ahead + 1, "{tokens:?}");
    }
}

#[tokio::test]
async fn clock_jump_expires_no_idempotency_key() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    settle(&server).await;
    let tenant = server.workspace().await;
    let target = format!("/api/v1/workspaces/{}/sources", tenant.id);
    let authorization = format!("Bearer {}", tenant.api_token);
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
        ("Idempotency-Key", "one-request"),
    ];
    let body = json!({"name": "one", "kind": "python"}).to_string();
    let send = async || server.send("POST", &target, &headers, body.as_bytes()).await;
    let first = send().await.json()["id"].clone();
    server.clock.jump(UnixSeconds(NOW + 5 * DAY));
    server.control.purge().await;
    assert_eq!(send().await.json()["id"], first);
}

#[tokio::test]
async fn clock_jump_deletes_no_signing_key_session_or_event() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    settle(&server).await;
    server.control.signing_keys.rotate(&OPERATOR).await.unwrap();
    server.clock.advance(2 * HOUR);
    server.control.signing_keys.keep().await.unwrap();
    let keys = || async {
        server
            .control
            .fleet
            .snapshot()
            .await
            .unwrap()
            .issuer
            .unwrap()
            .keys
            .len()
    };
    let (held, events) = (
        keys().await,
        count(&dir, "SELECT count(*) FROM audit_events").await,
    );
    server.clock.jump(UnixSeconds(NOW + 400 * DAY));
    server.control.purge().await;
    server.control.signing_keys.keep().await.unwrap();
    assert_eq!(
        keys().await,
        held,
        "none is dropped, and none made for the far future"
    );
    assert_eq!(count(&dir, "SELECT count(*) FROM audit_events").await, events);
}

#[tokio::test]
async fn restart_with_wrong_clock_deletes_nothing() {
    let dir = TempDir::new();
    let server = TestControl::start(&dir).await;
    settle(&server).await;
    let tenant = server.workspace().await;
    let app = tenant.app().await;
    let token = app.token().await;
    let id = app.details.app.id.clone();
    server
        .control
        .revocation
        .revoke_token(&OPERATOR, &tenant.id, &id, &token)
        .await
        .unwrap();
    server.stop().await;
    // Ahead by a year, for almost a day; then behind by a year.
    for (wall, warns) in [(NOW + 365 * DAY, false), (NOW - 365 * DAY, true)] {
        let clock = ManualClock::at(UnixSeconds(wall));
        let control = open_at(&dir, &clock).await;
        control.purge().await;
        clock.advance(DAY - HOUR);
        control.purge().await;
        assert_eq!(control.clock_warning().is_some(), warns);
        control.close().await;
        assert_eq!(count(&dir, "SELECT count(*) FROM revocations").await, 1);
    }
    // With a right clock it goes on as if nothing had been.
    let clock = ManualClock::at(UnixSeconds(NOW + 2 * DAY));
    let control = open_at(&dir, &clock).await;
    control.purge().await;
    assert_eq!(control.clock_warning(), None);
    clock.advance(DAY + KEPT_AFTER_END_S + HOUR);
    control.purge().await;
    assert_eq!(count(&dir, "SELECT count(*) FROM revocations").await, 0);
    control.close().await;
}

pub async fn open_at(dir: &TempDir, clock: &ManualClock) -> Control {
    Control::open(settings(dir.store()), Clock::Manual(clock.clone()))
        .await
        .unwrap()
}

#[test]
fn clock_that_differs_from_the_database_purges_nothing() {
    let mut guard = ClockGuard::new(UnixSeconds(NOW));
    let mut look = |wall: u64, uptime: u64, database: u64| {
        guard.look(&ClockReading {
            wall: UnixSeconds(wall),
            uptime: Duration::from_secs(uptime),
            database: Some(UnixSeconds(database)),
        })
    };
    assert_eq!(look(NOW, 0, NOW).passed, UnixSeconds(NOW));
    // This clock is ahead, and steadily so for a week; the database's is not.
    for day in 1..8 {
        let look = look(NOW + day * DAY + HOUR, day * DAY, NOW + day * DAY);
        assert_eq!(
            (look.state, look.passed),
            (ClockState::DiffersFromDatabase, UnixSeconds(0))
        );
    }
    // Set right, it is trusted after a day.
    look(NOW + 8 * DAY, 8 * DAY, NOW + 8 * DAY);
    let look = look(NOW + 9 * DAY, 9 * DAY, NOW + 9 * DAY);
    assert_eq!(
        (look.state, look.passed),
        (ClockState::Settled, UnixSeconds(NOW + 9 * DAY))
    );
}

#[tokio::test]
async fn database_clock_is_read() {
    // A process with the system's clock agrees with a database on the same machine.
    let dir = TempDir::new();
    let control = Control::open(settings(dir.store()), Clock::System).await.unwrap();
    control.purge().await;
    assert_eq!(control.clock_warning(), None);
    control.close().await;
}
